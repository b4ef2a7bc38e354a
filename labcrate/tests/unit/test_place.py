"""Where the clone is, from wherever a task is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from labcrate.clone.place import Clone, find_clone
from labcrate.errors import Code, LabError


def test_the_way_up_is_looked_for(clone: Clone) -> None:
    below = clone.root / "notebooks"
    assert find_clone(below) == Clone(root=clone.root, here=below)


def test_the_current_folder_counts(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root / "src")
    assert find_clone().root == clone.root


def test_another_folder_is_no_lab(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no compose/compose\.yaml here or above") as caught:
        find_clone(tmp_path)
    assert caught.value.code is Code.FOLDER


def test_everything_hangs_on_the_root(clone: Clone) -> None:
    names = [".env", ".env.example", ".labcrate", "reports", "requirements.lock", "pyproject.toml"]
    paths = [clone.env_file, clone.example_file, clone.state, clone.reports]
    assert [*paths, clone.tools_lock, clone.project_file] == [clone.root / name for name in names]
