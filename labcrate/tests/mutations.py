"""Protections taken out, one at a time, and the test that must then fail.

`nox -s mutations` runs it and writes docs/mutations.md; with `-- tenth`, as CI does, it tries a
tenth of them, drawn by chance, and writes nothing; other words choose by what is protected. Each
change of protections.toml is made in a copy of the working tree; the same test must pass in a copy
without it. A unit test checks that each one still fits the source.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clone import ROOT, copy_tree

from labcrate.clone.env_file import read_env

HERE = Path("labcrate", "tests")
PAGE = ROOT / "labcrate" / "docs" / "mutations.md"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """what: the protection, and whom it keeps out. old occurs once in file; with new in its place,
    test must fail."""

    whom: str
    what: str
    file: str
    old: str
    new: str
    test: str

    @property
    def path(self) -> str:
        return str(HERE / self.test)


def read_mutations() -> tuple[Mutation, ...]:
    text = (ROOT / HERE / "protections.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["protection"]
    return tuple(Mutation(whom=row.pop("from"), **row) for row in rows)


MUTATIONS = read_mutations()


def tables() -> str:
    """The part of docs/security.md that lists them: a table for each of whom they keep out."""
    lines: list[str] = []
    for whom in dict.fromkeys(mutation.whom for mutation in MUTATIONS):
        lines += [f"### From {whom}", "", "| protection | test |", "|---|---|"]
        lines += [f"| {m.what} | `{m.test}` |" for m in MUTATIONS if m.whom == whom]
        lines.append("")
    return "\n".join(lines)


def tree(folder: Path) -> Path:
    """A copy that tests can run in: a repository, with the base image that this checkout has."""
    copy_tree(folder)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    own = read_env(ROOT / ".env").get("BASE_IMAGE", "") if (ROOT / ".env").exists() else ""
    (folder / ".env").touch(mode=0o600)
    (folder / ".env").write_text(f"BASE_IMAGE={own}\n" if own else "")
    return folder


def pytest_in(folder: Path, tests: Sequence[str]) -> str:
    """pytest's last line, such as `1 failed, 2 passed in 3.2s`."""
    plugins = ("-p", "no:cacheprovider")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            "labcrate/pyproject.toml",
            "-q",
            "-x",
            *plugins,
            *tests,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if re.search(r"\d+ error", done.stdout):
        print(done.stdout, flush=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr


def mutate(folder: Path, mutation: Mutation) -> None:
    path = folder / mutation.file
    text = path.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.what}: the source has changed"
    path.write_text(text.replace(mutation.old, mutation.new))


def tried(mutation: Mutation) -> tuple[bool, float]:
    """Whether the test noticed, and how long it took in seconds."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="labcrate-mutation-") as name:
        folder = tree(Path(name) / "tree")
        mutate(folder, mutation)
        last = pytest_in(folder, [mutation.path])
    print(f"{mutation.what}: {last}", flush=True)
    # An error before the test, or none run at all, would be no proof.
    return bool(re.search(r"\d+ failed", last)), time.monotonic() - started


def page(rows: Sequence[tuple[Mutation, float]]) -> str:
    lines = [
        "# Protections taken out",
        "",
        "Written by `nox -s mutations`: each change was made in a copy of the tree, and the test "
        "named failed; without it, the same test passed. [security.md](security.md) says from whom "
        "each one protects.",
        "",
        "| protection | in | what was changed | test that failed | s |",
        "|---|---|---|---|--:|",
    ]
    for mutation, seconds in rows:
        change = f"{shown(mutation.old)} → {shown(mutation.new) or 'nothing'}"
        cells = (mutation.what, f"`{mutation.file}`", change, f"`{mutation.test}`")
        lines.append("| " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join([*lines, ""])


def shown(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"`{flat}`" if flat else ""


def chosen(words: str) -> list[Mutation]:
    """All of them, a tenth by chance, or those whose description holds the words."""
    if words == "tenth":
        return random.sample(MUTATIONS, -(-len(MUTATIONS) // 10))
    return [mutation for mutation in MUTATIONS if words in mutation.what]


def main(words: str = "") -> int:
    if words == "tables":
        print(tables(), end="")
        return 0
    wanted = chosen(words)
    with tempfile.TemporaryDirectory(prefix="labcrate-mutation-") as name:
        folder = tree(Path(name) / "tree")
        last = pytest_in(folder, sorted({m.path for m in wanted}))
    print(f"without any: {last}", flush=True)
    if "passed" not in last or re.search(r"failed|error", last):
        return 1
    results = [(mutation, *tried(mutation)) for mutation in wanted]
    survived = [mutation.what for mutation, noticed, _ in results if not noticed]
    if survived:
        print("No test noticed: " + "; ".join(survived))
        return 1
    if not words:
        PAGE.write_text(page([(mutation, seconds) for mutation, _, seconds in results]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
