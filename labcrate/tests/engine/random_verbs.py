"""Random verbs in two clones, a copy and a foreign project's neighbourhood: nobody else loses.

A sequence is one to four acts of one of the labs: verbs with exported variables of other projects,
verbs killed half way, folders renamed. After each sequence all the others are byte for byte as they
were. `nox -s fuzz` runs 500 sequences. No other session does: what chance finds is for whoever
looks for it, and not for whoever waits for CI.
"""

from __future__ import annotations

import difflib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from clone import Lab, clean_environ, said
from conftest import small_lab
from faultlog import Happened
from test_clean import Foreigner
from test_safety import Project

from labcrate.errors import Code

SEQUENCES = int(os.environ.get("LAB_SEQUENCES", "6"))
SEED = int(os.environ.get("LAB_SEED", "0")) or random.randrange(1, 10**6)

VERBS = (
    "up", "up", "up --force", "up --no-build", "down", "down --force", "build", "status", "url",
    "doctor", "run true", "run --detach sleep 600", "packages", "setup --yes", "clean --dry-run",
    "clean --yes", "clean --yes --force --images", "clean --yes --force --volumes",
    "clean --yes --force --cache", "clean --all --yes --force",
)  # fmt: skip
EXPECTED = {0, *map(int, Code)}
STATE = "{{.Id}} {{.State.StartedAt}} {{.State.Status}} {{.Image}}"
KEEP = "notebooks/mine é.txt"


@dataclass
class Neighbours:
    """The labs by name, the foreign projects, and what was done so far."""

    folder: Path
    labs: dict[str, Lab]
    project: Project
    foreigner: Foreigner
    dice: random.Random
    history: list[str] = field(default_factory=list)

    def seen(self, but: str) -> dict[str, str]:
        """What the others have: containers since when, images, volumes, networks, their files."""
        found = {name: lab_things(lab) for name, lab in self.labs.items() if name != but}
        return {**found, "the other project": self.project.runs()}


def lab_things(lab: Lab) -> str:
    """All that the engine has of a lab, and the user's file."""
    label = f"label=dev.labcrate.project={lab.project}"
    listed = lab.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).stdout.split()
    shown = [lab.docker("inspect", "--format", STATE, *listed).stdout] if listed else []
    for kind in ("image", "volume", "network"):
        shown.append(lab.docker(kind, "ls", "--quiet", "--filter", label).stdout)
    return "\n".join([*shown, (lab.root / KEEP).read_text()])


@pytest.fixture
def neighbours(tmp_path: Path) -> Iterator[Neighbours]:
    labs = {name: small_lab(tmp_path / name) for name in ("one", "two")}
    for name, lab in labs.items():
        (lab.root / KEEP).write_text(f"the user's {name}")
    one = labs["one"]
    places = {name: tmp_path / name for name in ("project", "foreign")}
    for place in places.values():
        place.mkdir()
    foreigner = Foreigner(one, places["foreign"])
    # Not the labs' base image: the last clone's `clean --all` could not remove that.
    project = Project(one, places["project"], foreigner.name)
    try:
        yield Neighbours(tmp_path, labs, project, foreigner, random.Random(SEED))
    finally:
        project.remove()
        foreigner.remove()
        for lab in labs.values():
            lab.invoke("clean", "--all", "--yes", "--force", check=False)


@pytest.mark.attack(
    "random verbs in two clones and a copy, killed, renamed, with foreign variables"
)
def test_random_verbs_touch_nobody_else(neighbours: Neighbours, happened: Happened) -> None:
    before = neighbours.foreigner.seen()
    for number in range(SEQUENCES):
        play(neighbours, number)
        print(neighbours.history[-1], flush=True)
        if number % 25 == 24:
            unchanged(neighbours, before)
    for name, lab in neighbours.labs.items():
        lab.invoke("setup", "--yes")
        lab.invoke("clean", "--all", "--yes", "--force")
        assert lab.left_over() == {}, why(neighbours)
        assert (lab.root / KEEP).exists(), f"{name}: {why(neighbours)}"
    unchanged(neighbours, before)
    happened(f"the others are as they were after each of {SEQUENCES} sequences", SEQUENCES)


def unchanged(neighbours: Neighbours, before: dict[str, str]) -> None:
    """The foreign project's things are as they were; if not, the lines that differ are shown."""
    for kind, now in neighbours.foreigner.seen().items():
        lines = difflib.unified_diff(before[kind].splitlines(), now.splitlines(), lineterm="", n=8)
        assert now == before[kind], "\n".join((why(neighbours), kind, *lines))


def play(neighbours: Neighbours, number: int) -> None:
    """One sequence of one lab; the others must not notice."""
    dice = neighbours.dice
    name = dice.choice(sorted(neighbours.labs))
    lab = neighbours.labs[name]
    before, done = neighbours.seen(name), [f"{number}: {name}"]
    neighbours.history.append("")
    for _ in range(dice.randint(1, 4)):
        act = dice.choices((verb, killed, renamed, copied), (12, 4, 1, 1))[0]
        done.append(act(neighbours, lab))
        neighbours.history[-1] = "; ".join(done)
    if "copy" in neighbours.labs and name != "copy":
        # It may have been made in this very sequence.
        before.setdefault("copy", lab_things(neighbours.labs["copy"]))
    after = neighbours.seen(name)
    assert {key: after[key] for key in before} == before, why(neighbours)
    assert (lab.root / KEEP).exists(), why(neighbours)


def exported(neighbours: Neighbours) -> dict[str, str]:
    """Variables that a shell may have for another project; mostly none."""
    other = neighbours.project
    lab = neighbours.dice.choice(list(neighbours.labs.values()))
    return neighbours.dice.choices(
        (
            {},
            {"COMPOSE_PROJECT_NAME": other.name},
            {"COMPOSE_PROJECT_NAME": other.name, "COMPOSE_FILE": str(other.file)},
            {"COMPOSE_PROJECT_NAME": lab.project, "JUPYTER_TOKEN": "x" * 40},
            {"COMPOSE_ENV_FILES": str(lab.root / ".env")},
        ),
        (6, 1, 1, 1, 1),
    )[0]


def verb(neighbours: Neighbours, lab: Lab) -> str:
    words, environ = neighbours.dice.choice(VERBS), exported(neighbours)
    shell = Lab(root=lab.root, environ={**lab.environ, **environ})
    done = shell.invoke(*words.split(), check=False)
    line = f"{words} {sorted(environ) or ''} -> {done.returncode}"
    assert done.returncode in EXPECTED, f"{why(neighbours)}\n{line}:\n{said(done)}"
    assert "Traceback" not in said(done), f"{why(neighbours)}\n{line}:\n{said(done)}"
    return line


def killed(neighbours: Neighbours, lab: Lab) -> str:
    words, seconds = neighbours.dice.choice(VERBS), neighbours.dice.uniform(0.2, 4.0)
    command = [sys.executable, "-m", "invoke", *words.split()]
    environ = {**clean_environ(), **lab.environ, **exported(neighbours)}
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(
        command, cwd=lab.root, env=environ, stdin=quiet, stdout=quiet, stderr=quiet,
        start_new_session=True,
    )  # fmt: skip
    time.sleep(seconds)
    child.kill()
    child.wait()
    # Compose, which it had started, goes on for a while, on this lab.
    while subprocess.run(["pgrep", "--session", str(child.pid)], stdout=quiet).returncode == 0:
        time.sleep(0.1)
    return f"{words} killed after {seconds:.1f} s"


def renamed(neighbours: Neighbours, lab: Lab) -> str:
    lab.root = lab.root.rename(neighbours.folder / f"moved-{len(neighbours.history)}-{time.time()}")
    return "moved"


def copied(neighbours: Neighbours, lab: Lab) -> str:
    """A copy of this clone, once; it is set up by chance, later."""
    if "copy" in neighbours.labs or lab.root.name == "copy":
        return "no second copy"
    copy = Lab(root=neighbours.folder / "copy", environ=lab.environ)
    shutil.copytree(lab.root, copy.root, symlinks=True)
    for words in ("up", "down", "clean --all --yes --force"):
        done = copy.invoke(*words.split(), check=False)
        assert done.returncode == Code.SETTINGS, f"{why(neighbours)}\n{said(done)}"
    copy.invoke("setup", "--yes")
    neighbours.labs["copy"] = copy
    return "copied"


def why(neighbours: Neighbours) -> str:
    """What to type to see it again, and what was done last."""
    last = "\n".join(neighbours.history[-8:])
    return f"LAB_SEED={SEED} LAB_SEQUENCES={SEQUENCES}; the last sequences:\n{last}\n"
