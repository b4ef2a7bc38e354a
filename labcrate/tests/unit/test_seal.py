"""The last step of the base: open to what is added, closed to what would be replaced."""

from __future__ import annotations

import runpy
import stat
from pathlib import Path
from typing import Any

import pytest

from labcrate.lab.images import PARTS


@pytest.fixture
def seal() -> dict[str, Any]:
    return runpy.run_path(str(PARTS / "seal.py"), run_name="seal")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_open_is_sticky(seal: dict[str, Any], tmp_path: Path) -> None:
    """Anybody may add a file there, and nobody removes or renames another's."""
    (tmp_path / "share" / "jupyter").mkdir(parents=True)
    (tmp_path / "share" / "link").symlink_to(tmp_path)
    before = mode(tmp_path)
    seal["open_folders"](tmp_path / "share")
    assert {mode(tmp_path / "share"), mode(tmp_path / "share" / "jupyter")} == {0o1777}
    assert mode(tmp_path) == before


def test_a_package_stays_closed_and_a_shared_namespace_is_open(
    seal: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "torch").mkdir(mode=0o755)
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "nvidia" / "cublas").mkdir(parents=True, mode=0o755)
    (tmp_path / "nvidia" / "cublas" / "__init__.py").touch()
    for name in ("torch", "nvidia"):
        seal["open_namespace"](tmp_path / name)
    assert mode(tmp_path / "torch") == mode(tmp_path / "nvidia" / "cublas") == 0o755
    assert mode(tmp_path / "nvidia") == 0o1777
