"""How much an owner of a lab carries outside of labcrate/: little enough to read.

The example notebooks count apart. They are lessons that an owner reads once, one at a time, and
deletes when he likes; nothing in the lab needs them. So each has a limit of its own.
"""

from __future__ import annotations

import fnmatch
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import ROOT

MOST = 900
"""Lines, the example notebooks, locks, license and pictures not counted."""

MOST_OF_A_NOTEBOOK = 250
"""Lines of the cells of one example notebook."""

EXAMPLES = "notebooks/0*.ipynb"

MOST_OF_A_FILE = 40
"""Lines of tasks.py and noxfile.py, which import their verbs and sessions."""

LEFT_OUT = ("*.lock", "LICENSE", "*.png", "*.svg")
"""Nobody reads them, or nobody wrote them for the lab."""

SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())


def listed() -> list[str]:
    """The files of a clone, new ones too, none that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = (name for name in done.stdout.split("\0") if name)
    return sorted(name for name in names if (ROOT / name).is_file())


def is_excluded(name: str) -> bool:
    """Whether copier leaves a file behind: it, or a folder that it lies in, is named."""
    parts = [name, *map(str, Path(name).parents)]
    return any(
        fnmatch.fnmatch(part, pattern.removeprefix("**/"))
        for pattern in SETTINGS["_exclude"]
        for part in (*parts, *Path(name).parts)
    )


def owners_files() -> list[str]:
    kept = [name for name in listed() if not name.startswith("labcrate/") and not is_excluded(name)]
    return [name for name in kept if not any(fnmatch.fnmatch(Path(name).name, p) for p in LEFT_OUT)]


def lines_of(path: Path) -> int:
    """Lines of a text; of a notebook, those of its cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return len(text.splitlines())
    cells = json.loads(text)["cells"]
    return sum(len("".join(cell["source"]).splitlines()) for cell in cells)


def is_example(name: str) -> bool:
    return fnmatch.fnmatch(name, EXAMPLES)


def test_an_owner_carries_few_lines() -> None:
    counted = {name: lines_of(ROOT / name) for name in owners_files() if not is_example(name)}
    most = sorted(counted.items(), key=lambda one: -one[1])[:8]
    assert sum(counted.values()) <= MOST, most


@pytest.mark.parametrize("name", [name for name in owners_files() if is_example(name)])
def test_an_example_notebook_is_short(name: str) -> None:
    assert lines_of(ROOT / name) <= MOST_OF_A_NOTEBOOK


def test_only_the_examples_count_apart() -> None:
    assert is_example("notebooks/02-few-shot-news.ipynb")
    assert not is_example("notebooks/mine.ipynb")
    assert not is_example("src/example.py")


def test_the_files_that_count_are_those_of_a_lab() -> None:
    names = set(owners_files())
    carried = {"tasks.py", "noxfile.py", "bootstrap.py", "README.md", ".env.example"}
    carried |= {"compose/compose.yaml", "docker/Dockerfile", "notebooks/01-quickstart.ipynb"}
    assert carried <= names
    assert not {"copier.yml", ".ci/run", ".github/workflows/ci.yml", "docker/base.lock"} & names
    assert [name for name in names if name.startswith("labcrate")] == []


@pytest.mark.parametrize("name", ["tasks.py", "noxfile.py"])
def test_an_owners_tasks_and_sessions_are_short(name: str) -> None:
    assert lines_of(ROOT / name) <= MOST_OF_A_FILE


def test_a_notebook_counts_by_its_cells(tmp_path: Path) -> None:
    cells = [{"source": ["a\n", "b"]}, {"source": "c\nd\ne"}]
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": cells}, indent=4))
    assert lines_of(tmp_path / "x.ipynb") == 5
