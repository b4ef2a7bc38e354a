"""The running lab's packages: what is there, changed at once, and put back when a change fails."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labcrate import shell, stack, transaction
from labcrate.errors import LabError
from labcrate.locks import Pin
from labcrate.shell import ROOT
from labcrate.stack import Stack

INSIDE = "/tmp/docker"  # noqa: S108 - the container's own
"""Where docker/ is seen while something is installed; local archives are named by this path."""

SCRIPT = ROOT / "docker" / "inside.py"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """One distribution. url: where it came from, if not from an index; needs: names."""

    version: str
    url: str
    needs: tuple[str, ...]
    requested: bool


def _installed(answer: shell.Result) -> dict[str, Installed]:
    found = json.loads(answer.stdout) if answer.ok else {}
    return {
        name: Installed(
            version=one["version"],
            url=one["url"],
            needs=tuple(one["needs"]),
            requested=one["requested"],
        )
        for name, one in found.items()
    }


def ask(lab: Stack, *arguments: str) -> shell.Result:
    """What docker/inside.py answers in the running lab."""
    command = lab.compose("exec", "--no-TTY", "jupyter", "python", "-", *arguments)
    return shell.capture(command, stdin=SCRIPT.read_text(), timeout_s=60)


def in_lab(lab: Stack) -> dict[str, Installed]:
    """What the running lab holds; empty where none runs."""
    return _installed(ask(lab, "installed"))


def in_image(lab: Stack) -> dict[str, Installed]:
    """What the lab's image holds; empty where there is none."""
    run = ("docker", "run", "--rm", "--interactive", "--init", "--network", "none", lab.image())
    command = (*run, "python", "-", "installed")
    return _installed(shell.capture(command, stdin=SCRIPT.read_text(), timeout_s=60))


def by_hand(live: Mapping[str, Installed], image: Mapping[str, Installed]) -> list[str]:
    """Names that only the running lab has, or has in another version."""
    return sorted(n for n in live if n not in image or image[n].version != live[n].version)


def named(live: Mapping[str, Installed], names: Sequence[str]) -> dict[str, str]:
    """Of these, what somebody asked for by name, and not what that needed: name -> requirement."""
    asked = [name for name in names if live[name].requested] or list(names)
    return {name: f"{name} @ {live[name].url}" if live[name].url else name for name in asked}


@dataclass(kw_only=True)
class Live:
    """One change of the running lab. touched: names that it installs or removes."""

    lab: Stack
    before: Mapping[str, Installed]
    touched: tuple[str, ...] = ()

    def bring(self, candidate: Path, changed: Iterable[str], after: Mapping[str, Pin]) -> None:
        """Install what changed or is missing, remove what is gone; what is loaded stays loaded."""
        missing = (name for name in after if name not in self.before)
        names = list(dict.fromkeys((*changed, *missing)))
        wanted = [after[name] for name in names if name in after]
        gone = [name for name in names if name not in after and name in self.before]
        self.touched = (*(pin.name for pin in wanted), *gone)
        if any(INSIDE in pin.where for pin in wanted):
            self._ask("exec", "--no-TTY", "jupyter", "mkdir", "-p", INSIDE)
            self._ask("cp", str(candidate / transaction.LOCAL), f"jupyter:{INSIDE}")
        if wanted:
            self._uv("install", "--no-deps", "-r", "-", stdin="\n".join(p.text for p in wanted))
        if gone:
            self._uv("uninstall", *gone)

    def put_back(self) -> None:
        """As it was before; said aloud where that fails."""
        fresh = [name for name in self.touched if name not in self.before]
        older = [f"{n}=={self.before[n].version}" for n in self.touched if n in self.before]
        try:
            if fresh:
                self._uv("uninstall", *fresh)
            if older:
                self._uv("install", "--no-deps", *older)
        except LabError as error:
            print(f"The running lab keeps what was tried, until it starts anew. {error}")

    def _uv(self, *arguments: str, stdin: str = "") -> None:
        self._ask("exec", "--no-TTY", "jupyter", "uv", "pip", *arguments, stdin=stdin)

    def _ask(self, *arguments: str, stdin: str = "") -> None:
        done = shell.capture(self.lab.compose(*arguments), stdin=stdin, timeout_s=300)
        if not done.ok:
            raise stack.build_failure(done.text.strip(), "the running lab does not take it")
