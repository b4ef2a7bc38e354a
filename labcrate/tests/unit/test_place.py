"""Where the clone is, from wherever a task is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from labcrate.clone.place import Clone, find_clone, refuse_awkward_path
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


@pytest.mark.parametrize("name", ["a:b", "a,b", 'a"b', "100%", "a\nb"])
def test_a_path_that_builds_cannot_is_refused_by_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    with pytest.raises(LabError, match="which builds cannot") as caught:
        refuse_awkward_path(Clone(root=root, here=root))
    assert caught.value.code is Code.FOLDER
    assert "move the clone" in caught.value.fix
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("name", ["a b", "a'b", "$HOME", "${X}", "a\\b", "tést (1)", "a;b", "a&b"])
def test_other_paths_are_fine(tmp_path: Path, name: str) -> None:
    refuse_awkward_path(Clone(root=tmp_path / name, here=tmp_path))
