"""Locks made anew: the user's, the base's, and that of the tools on this host."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from labcrate import output, process
from labcrate.clone.place import Clone
from labcrate.lab.snapshot import Snapshot
from labcrate.packages.candidate import candidate_folder
from labcrate.packages.change import carry_through
from labcrate.packages.explain import resolution_failure
from labcrate.packages.locks import (
    BELOW,
    PYTHON,
    Pin,
    changed_pins,
    lock_header,
    locked_here,
    parsed_lines,
    pins_of,
    unmet_requirements,
)
from labcrate.packages.phases import Changed, Options, Phases
from labcrate.packages.sources import UV
from labcrate.packages.transaction import replace_file

HOST_PYTHON = "3.11"
"""The oldest Python that the tools run on."""

EXCLUDED = {"base": ("rfc3987-syntax",), "search": ("huggingface-hub",)}
"""What a lock leaves out though a package asks for it.

rfc3987-syntax: jsonschema knows the format `iri` through it alone, and its import builds a grammar,
which took a third of the processor time of each start of JupyterLab. huggingface-hub: tokenizers
imports it for downloads alone, and it brings 30 MB.
"""

COMPILE_S = 300.0
"""Seconds for one lock: the base's reads the metadata of some hundred packages."""


def refresh_locks(snapshot: Snapshot, everything: bool, phases: Phases) -> Changed:
    """Newer versions of what the user added; with everything, of the base's locks first."""
    names = [name for name in locked_here(snapshot.lab.clone.docker) if name != "packages"]
    if process.is_dry():
        for name in [*(names if everything else ()), "packages"]:
            output.say(f"docker/{name}.lock would be made anew from docker/{name}.in")
        return Changed()
    with candidate_folder(snapshot.lab) as candidate:
        if everything:
            with phases("compile", "the locks of the base and of the other images"):
                for name in names:
                    compile_lock(candidate, name)
        options = Options(live=False, upgrade=True, settle=True)
        return carry_through(snapshot, candidate, options, phases)


@contextmanager
def excluded_packages(name: str) -> Iterator[tuple[str, ...]]:
    """uv's option for what a lock leaves out, which takes a file."""
    if name not in EXCLUDED:
        yield ()
        return
    with NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(EXCLUDED[name]) + "\n")
        file.flush()
        yield ("--excludes", file.name)


def compile_lock(folder: Path, name: str) -> None:
    """One lock of the base, for every platform that the base's Python runs on."""
    source = (folder / f"{name}.in").read_text(encoding="utf-8")
    parsed_lines(source, f"docker/{name}.in")
    below = [part for lower in BELOW[name] for part in ("-c", f"{lower}.lock")]
    with excluded_packages(name) as left_out:
        lock = _compile(f"{name}.in", PYTHON, [*below, *left_out, f"{name}.in"], folder, None)
    text = lock_header(f"{name}.in", source) + lock
    (folder / f"{name}.lock").write_text(text, encoding="utf-8")


def _compile(what: str, python: str, arguments: list[str], folder: Path, stdin: str | None) -> str:
    """The lock that uv makes for every platform. A question: it changes no file of the clone."""
    form = ("--universal", "--python-version", python, "--generate-hashes")
    plain = ("--quiet", "--no-header", "--no-annotate")
    command = (*UV, "pip", "compile", *form, *plain, *arguments)
    done = process.ask(command, cwd=folder, stdin=stdin, timeout_s=COMPILE_S)
    if not done.ok:
        raise resolution_failure(what, done.stderr, {}, {})
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class ToolLock:
    """The tools of this host, as one lock pins them. below: the lock that it builds on."""

    source: str
    wanted: tuple[str, ...]
    path: Path
    below: Path | None = None

    @property
    def pins(self) -> dict[str, Pin]:
        return pins_of(self.path.read_text(encoding="utf-8"), self.path.name)


def tool_locks(clone: Clone) -> list[ToolLock]:
    """The owner's lock, and in a clone of the template itself that of its own tests."""
    text = clone.project_file.read_text(encoding="utf-8")
    wanted = tuple(tomllib.loads(text)["project"]["dependencies"])
    found = [ToolLock(source=clone.project_file.name, wanted=wanted, path=clone.tools_lock)]
    tests = clone.root / "labcrate" / "tests" / clone.tools_lock.name
    if tests.exists():
        machinery = (clone.root / "labcrate" / "pyproject.toml").read_text(encoding="utf-8")
        dev = tuple(tomllib.loads(machinery)["dependency-groups"]["dev"])
        source = "labcrate/pyproject.toml"
        found.append(ToolLock(source=source, wanted=dev, path=tests, below=clone.tools_lock))
    return found


def stale_tools(clone: Clone) -> Iterator[str]:
    """What is wrong between the lists of tools and their locks."""
    for one in tool_locks(clone):
        wanted = parsed_lines("\n".join(one.wanted), one.source)
        where = one.path.relative_to(clone.root)
        yield from (f"{where}: {problem}" for problem in unmet_requirements(wanted, one.pins))


def refresh_tools(clone: Clone) -> tuple[tuple[str, str, str], ...]:
    """Newer versions of the tools on this host; bootstrap.py installs them at its next call.

    Rows as in Changed. A dry run says what would move, and writes nothing.
    """
    rows: list[tuple[str, str, str]] = []
    for one in tool_locks(clone):
        below = ["-c", str(one.below)] if one.below else []
        lock = _compile(one.source, HOST_PYTHON, [*below, "-"], clone.root, "\n".join(one.wanted))
        moved = changed_pins(one.pins, pins_of(lock))
        if moved and not process.is_dry():
            replace_file(one.path, lock)
        rows += moved
    return tuple(rows)
