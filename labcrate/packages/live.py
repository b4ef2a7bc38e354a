"""The running lab's packages: what is there, changed at once, and put back when a change fails."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from labcrate import output, process
from labcrate.errors import Code, LabError
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.images import build_failure
from labcrate.lab.inside import ask_image, ask_lab
from labcrate.lab.snapshot import Snapshot
from labcrate.packages.transaction import LOCAL, replace_file

if TYPE_CHECKING:
    from labcrate.packages.locks import Pin

INSIDE = "/tmp/docker"  # noqa: S108 - the container's own
"""Where docker/ is seen while something is installed; local archives are named by this path."""

UNREADABLE = "unreadable: "
"""How inside.py names a distribution whose files are broken, on stderr."""

NOTE = "live.json"
"""The file of .labcrate that says how to put the running lab back, while a change is under way."""

LOCK = "packages.lock"

INSTALL_S = 300.0
"""Seconds for one live install: some hundred megabytes at a slow index."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """One distribution. url: where it came from, if not from an index; needs: names."""

    version: str
    url: str
    needs: tuple[str, ...]
    requested: bool


def in_lab(snapshot: Snapshot) -> dict[str, Installed]:
    """What the running lab holds; empty only where none runs. LabError: it gave no answer."""
    if snapshot.jupyter is None:
        return {}
    answer = ask_lab(snapshot.lab, "installed")
    fix = "invoke status (shows whether it is healthy); or leave the running lab out: --no-live"
    return _parse(answer, "the running lab", fix, Code.UNHEALTHY)


def in_image(snapshot: Snapshot) -> dict[str, Installed]:
    """What the lab's image holds; empty only where there is none. LabError: it gave no answer."""
    if JUPYTER not in snapshot.images:
        return {}
    answer = ask_image(snapshot.lab, "installed")
    return _parse(answer, "the lab's image", "invoke build, then the same command", Code.BUILD)


def _parse(answer: process.Result, who: str, fix: str, code: Code) -> dict[str, Installed]:
    problem = f"{who} did not say what is installed in it"
    if not answer.ok:
        said = answer.text.strip() or f"exit code {answer.returncode}"
        raise LabError(f"{problem}: {said}", fix=fix, code=code)
    try:
        found: dict[str, dict[str, Any]] = json.loads(answer.stdout)
    except ValueError:
        raise LabError(f"{problem}: {answer.stdout[:200]!r}", fix=fix, code=code) from None
    for line in answer.stderr.splitlines():
        if line.startswith(UNREADABLE):
            broken = output.printable(line.removeprefix(UNREADABLE))
            output.say_error(f"Left out, because its files in {who} are broken: {broken}")
    return {
        output.printable(name): Installed(
            # Code in the lab writes it: a terminal must not act on it.
            version=output.printable(one["version"]),
            url=one["url"],
            needs=tuple(one["needs"]),
            requested=one["requested"],
        )
        for name, one in found.items()
    }


def installed_by_hand(
    running: Mapping[str, Installed], image: Mapping[str, Installed]
) -> list[str]:
    """Names that only the running lab has, or has in another version."""
    return sorted(n for n in running if n not in image or image[n].version != running[n].version)


def requirements_by_hand(running: Mapping[str, Installed], names: Sequence[str]) -> dict[str, str]:
    """Of these, what somebody asked for by name, and not what that needed: name -> requirement."""
    asked = [name for name in names if running[name].requested] or list(names)
    return {n: f"{n} @ {running[n].url}" if running[n].url else n for n in asked}


@dataclass(frozen=True, kw_only=True)
class Undo:
    """Names to remove from the running lab, and requirements to install there."""

    remove: tuple[str, ...]
    install: tuple[str, ...]


def drop_note(lab: Lab) -> None:
    (lab.clone.state / NOTE).unlink(missing_ok=True)


def recover_live(lab: Lab) -> bool:
    """Put the running lab back after a change that was killed; whether there was anything to do.

    Where the lock is the change's own, the change was kept. Another container never had it.
    """
    path = lab.clone.state / NOTE
    if not path.exists():
        return False
    note = json.loads(path.read_text(encoding="utf-8"))
    kept = (lab.clone.docker / LOCK).read_text(encoding="utf-8") == note["lock"]
    done = False
    if not kept:
        now = lab.ask("ps", "--quiet", "--no-trunc", "--status", "running", JUPYTER)
        if not now.ok:
            return False
        if now.stdout.strip() == note["container"]:
            undo = Undo(remove=tuple(note["remove"]), install=tuple(note["install"]))
            done = Live(lab=lab, before={}).do(undo)
    drop_note(lab)
    return done


@dataclass(kw_only=True)
class Live:
    """One change of the running lab. container: its id; touched: what it installs or removes.

    Before anything is touched, a note of how to put it back is written: this process may be killed.
    """

    lab: Lab
    before: Mapping[str, Installed]
    container: str = ""
    touched: tuple[str, ...] = ()
    given_up: bool = False
    at_work: Lock = field(default_factory=Lock)

    def bring(self, candidate: Path, changed: Iterable[str], after: Mapping[str, Pin]) -> None:
        """Install what changed or is missing, remove what is gone; what is loaded stays loaded."""
        with self.at_work:
            if not self.given_up:
                self._bring(candidate, changed, after)

    def _bring(self, candidate: Path, changed: Iterable[str], after: Mapping[str, Pin]) -> None:
        missing = (name for name in after if name not in self.before)
        names = list(dict.fromkeys((*changed, *missing)))
        wanted = [after[name] for name in names if name in after]
        gone = [name for name in names if name not in after and name in self.before]
        self.touched = (*(pin.name for pin in wanted), *gone)
        self._note(candidate)
        if any(INSIDE in pin.where for pin in wanted):
            self._provide(candidate)
        if wanted:
            self._uv("install", "--no-deps", "-r", "-", stdin="\n".join(p.text for p in wanted))
        if gone:
            self._uv("uninstall", *gone)

    def _note(self, candidate: Path) -> None:
        """Note how to put this container back, and the lock whose arrival ends the need to."""
        lock = (candidate / LOCK).read_text(encoding="utf-8")
        note = {"container": self.container, "lock": lock, **asdict(self.undo())}
        replace_file(self.lab.clone.state / NOTE, json.dumps(note))

    def undo(self) -> Undo:
        """What puts the running lab back."""
        fresh = [name for name in self.touched if name not in self.before]
        older = [self._requirement(name) for name in self.touched if name in self.before]
        return Undo(remove=tuple(fresh), install=tuple(older))

    def put_back(self) -> None:
        """As it was before; says so where that fails. Waits for an install that is under way."""
        with self.at_work:
            self.given_up = True
            self.do(self.undo())
        drop_note(self.lab)

    def do(self, undo: Undo) -> bool:
        """Whether it is as it was before; says so where that fails."""
        try:
            if undo.remove:
                self._uv("uninstall", *undo.remove)
            if any(INSIDE in requirement for requirement in undo.install):
                self._provide(self.lab.clone.docker)
            if undo.install:
                self._uv("install", "--no-deps", *undo.install)
        except LabError as error:
            output.say_always(f"The running lab keeps what was tried until it starts anew. {error}")
            return False
        return True

    def _requirement(self, name: str) -> str:
        one = self.before[name]
        return f"{name} @ {one.url}" if one.url else f"{name}=={one.version}"

    def _provide(self, docker: Path) -> None:
        """Put a docker/'s local archives where the lab's own metadata says they are."""
        self._do("exec", "--no-TTY", JUPYTER, "mkdir", "-p", INSIDE)
        self._do("cp", str(docker / LOCAL), f"{JUPYTER}:{INSIDE}")

    def _uv(self, *arguments: str, stdin: str = "") -> None:
        self._do("exec", "--no-TTY", JUPYTER, "uv", "pip", *arguments, stdin=stdin)

    def _do(self, *arguments: str, stdin: str = "") -> None:
        done = self.lab.change(*arguments, timeout_s=INSTALL_S, stdin=stdin)
        if not done.ok:
            raise build_failure(done.text.strip(), "the running lab does not accept it")
