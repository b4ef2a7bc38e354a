"""A lab on another machine, asked with this machine's own `ssh`.

What the two machines say to each other goes through ssh. So the token is in no argument list, and
it crosses no network unencrypted.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labcrate import environment, known, process
from labcrate.clone.place import MARK, Clone
from labcrate.clone.ports import LAST_PORT
from labcrate.errors import Code, LabError
from labcrate.output import printable

SSH = ("ssh", "-o", "ConnectTimeout=15", "-o", "RemoteCommand=none")
"""RemoteCommand: with one in the user's own settings, ssh refuses every other command."""

ANSWER_S = 120.0
"""Seconds for an answer from there. The user may have to type a password meanwhile."""

NO_FOLDER, NO_CLONE, NO_TOOLS = 91, 92, 93
"""What the script over there ends with where it finds no lab; no task ends with these."""

FAILED = 255
"""What ssh itself ends with: the connection failed, and not the command."""

FIRST = "python3 bootstrap.py invoke setup --yes up"
"""The first command in a clone, which makes .venv."""

TYPED = re.compile(
    r"""(?P<login>
          (?:(?!-)[^:\s/]+@)?                                # the user
          (?:\[(?P<six>[\da-fA-F:.]+)\]|(?!-)[^@:\s/\[\]]+)   # the machine
        )
        (?::(?!//)(?P<folder>.*))?""",
    re.VERBOSE,
)
"""No part begins with `-`: ssh would read it as an option, and some of those run commands here."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A clone on another machine.

    login: as ssh takes it. folder: absolute, or from the home over there. port: sshd's; "": what
    ssh's own settings say.
    """

    login: str
    folder: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.login}:{self.folder}"

    @property
    def by_hand(self) -> str:
        """What to type for a login there."""
        return f"ssh -p {self.port} {self.login}" if self.port else f"ssh {self.login}"

    def ssh(self, *flags: str, script: str = "") -> tuple[str, ...]:
        """The argument list of ssh. Whatever shell the account there has, `sh` runs the script."""
        port = ("-p", self.port) if self.port else ()
        command = (f"sh -c {shlex.quote(script)}",) if script else ()
        return (*SSH, *flags, *port, self.login, *command)

    def invoke(self, *words: str) -> str:
        """The script for the machine over there that runs a task in the clone."""
        folder = self.folder if self.folder.startswith("/") else f"./{self.folder}"
        return (
            f"cd -- {shlex.quote(folder)} 2>/dev/null || exit {NO_FOLDER}; "
            f"[ -f {MARK} ] || exit {NO_CLONE}; [ -x .venv/bin/python ] || exit {NO_TOOLS}; "
            # Nobody sits there who would need to be told how to get in by ssh.
            f"unset SSH_CONNECTION; exec .venv/bin/python -m invoke {shlex.join(words)}"
        )


@dataclass(frozen=True, kw_only=True)
class FarLab:
    """What a lab over there says of itself. links: by service, as that machine would open them."""

    up: bool
    links: Mapping[str, str]


def parse_place(typed: str, clone: Clone, port: str = "") -> Place:
    """The place that `user@host[:folder]` names; without a folder, that of this clone."""
    found = TYPED.fullmatch(typed)
    if not found or not typed.isprintable():
        raise LabError(
            f"this names no machine: {typed!r}",
            fix="invoke tunnel user@host, or user@host:folder",
            code=Code.SETTINGS,
        )
    if port and not (port.isdecimal() and 0 < int(port) <= LAST_PORT):
        raise LabError(
            f"--port {port!r} is no port",
            fix=f"give a number from 1 to {LAST_PORT}, or none: ssh's own settings then say it",
            code=Code.SETTINGS,
        )
    # Only in front of a folder does an IPv6 address need brackets, and ssh wants none.
    login = found["login"].replace(f"[{found['six']}]", found["six"] or "")
    return Place(login=login, folder=far_folder(found["folder"] or "", clone), port=port)


def far_folder(typed: str, clone: Clone) -> str:
    """A folder as the script over there goes into it, from the home: no shell expands a `~`."""
    if typed in ("~", "~/"):
        return "."
    if typed:
        return typed.removeprefix("~/")
    home = Path("~").expanduser().resolve()
    return str(clone.root.relative_to(home) if clone.root.is_relative_to(home) else clone.root)


def ask_far_lab(place: Place) -> FarLab:
    """The lab over there. LabError: why it cannot be asked, and what changes that."""
    if not environment.command_path("ssh"):
        raise LabError(
            "there is no `ssh` command on this machine",
            fix="install it (on Debian and Ubuntu: sudo apt-get install openssh-client)",
            code=Code.TUNNEL,
        )
    # A forward in the user's own settings could fail, and the question needs none.
    flags = ("-T", "-o", "ClearAllForwardings=yes")
    command = place.ssh(*flags, script=place.invoke("url", "--json"))
    answer = process.ask(command, timeout_s=ANSWER_S)
    found = parse_answer(answer.stdout) if answer.ok else None
    if found is None:
        raise unasked(place, answer)
    return found


def parse_answer(said: str) -> FarLab | None:
    """The lab in what was said over there; the account's own greeting may stand around it."""
    for line in reversed(said.splitlines()):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and isinstance(told.get("links"), dict):
            links = {printable(str(k)): printable(str(v)) for k, v in told["links"].items()}
            return FarLab(up=told.get("up") is True, links=links)
    return None


def unasked(place: Place, answer: process.Result) -> LabError:
    """Why there was no answer."""
    login, folder = place.login, place.folder
    if answer.returncode == FAILED:
        return ssh_failed(place, answer.stderr)
    if answer.returncode == process.TIMED_OUT:
        return LabError(
            f"{login} did not answer within {ANSWER_S:g} s",
            fix=f"{place.by_hand}, and see what keeps it busy",
            code=Code.TUNNEL,
        )
    if answer.returncode in (NO_FOLDER, NO_CLONE):
        what = "folder" if answer.returncode == NO_FOLDER else "lab in the folder"
        return LabError(
            f"there is no {what} {folder!r} on {login}",
            fix=f"name the clone's folder there, from your home: invoke tunnel {login}:FOLDER",
            code=Code.FOLDER,
        )
    if answer.returncode == NO_TOOLS:
        first = shlex.quote(f"cd {shlex.quote(folder)} && {FIRST}")
        return LabError(
            f"the clone {folder!r} on {login} has no .venv: nothing was started in it yet",
            fix=f"{place.by_hand} -t {first}",
            code=Code.TUNNEL,
        )
    said = "\n".join(map(printable, (answer.stderr.strip() or answer.stdout).splitlines()))
    old = "--json" in said
    return LabError(
        f"the lab at {place} gives no links" + (f":\n{said}" if said else ""),
        fix=f"{'update the lab there' if old else 'do there what it says'}: {place.by_hand}",
        code=Code.TUNNEL,
    )


def ssh_failed(place: Place, said: str) -> LabError:
    """Why ssh gave up, from what it said."""
    lines = [printable(line) for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    found = known.recognise(said, "ssh")
    if found is None:
        fix = f"try it by hand: {place.by_hand}"
        return LabError(f"ssh to {place.login} failed", why=last, fix=fix, code=Code.TUNNEL)
    problem = f"{place.login}: {found.problem}"
    return LabError(problem, why=last, fix=found.fix, code=found.code)
