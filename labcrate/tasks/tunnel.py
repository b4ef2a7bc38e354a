"""tunnel: the links of a lab on another machine, made to work on this one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from invoke import Context, Exit

from labcrate import environment, output, process
from labcrate.clone.place import find_clone
from labcrate.errors import Code, LabError
from labcrate.lab.far_lab import FAILED, Place, ask_far_lab, parse_place
from labcrate.lab.tunnel import Forward, Tunnel, choose_forwards
from labcrate.tasks.base import finish, lab_task
from labcrate.tasks.words import Takes


@lab_task(
    Takes(words="machine"),
    machine="user@host, or user@host:folder; without a folder, that of this clone",
    up="start the lab over there first",
    port="the port of the sshd over there, where ssh's own settings do not say it",
)
def tunnel(
    c: Context,  # noqa: ARG001
    machine: Sequence[str] = (),
    up: bool = False,
    port: str = "",
) -> None:
    """Reach a lab on another machine by ssh: invoke tunnel user@host"""
    clone = find_clone()
    if len(machine) != 1:
        raise LabError(
            "name one machine",
            fix="invoke tunnel user@host, or user@host:folder",
            code=Code.SETTINGS,
        )
    there = parse_place(machine[0], clone, port)
    found = ask_far_lab(there)
    if up:
        start_there(there)
        found = ask_far_lab(there)
    if not found.up and not process.is_dry():
        again = shlex.join(("invoke", "tunnel", machine[0], *(("--port", port) if port else ())))
        raise LabError(
            f"the lab at {there} is not up",
            fix=f"{again} --up (starts it over there)",
            code=Code.NOT_UP,
        )
    forwards = choose_forwards(found.links)
    hold_open(there, forwards)


def start_there(there: Place) -> None:
    """`invoke up` over there, with what it says. At a terminal, Ctrl-C reaches it."""
    terminal = "-t" if environment.is_terminal() else "-T"
    command = there.ssh(terminal, "-o", "ClearAllForwardings=yes", script=there.invoke("up"))
    returncode = process.attach(command)
    if returncode == FAILED:
        raise LabError(
            f"the connection to {there.login} ended before the lab there was up",
            fix="the same command again",
            code=Code.TUNNEL,
        )
    finish(returncode)


def hold_open(there: Place, forwards: Mapping[str, Forward]) -> None:
    """The tunnel, until Ctrl-C, which leaves the lab over there as it is."""
    try:
        Tunnel(place=there, forwards=forwards.values()).hold(lambda: announce_here(forwards))
    except KeyboardInterrupt:
        raise Exit(
            "the tunnel is closed; the lab over there runs on", code=Code.INTERRUPTED
        ) from None


def announce_here(forwards: Mapping[str, Forward]) -> None:
    """The links for a browser of this machine; no log or file gets the token."""
    shows = environment.is_read_at_once()
    for name, one in forwards.items():
        output.row(name, one.link if shows else one.link.partition("?")[0])
    if not shows:
        output.row("", "without the token, because this is no terminal")
    output.row("stop", "Ctrl-C (closes the tunnel; the lab over there runs on)")
