"""The locks serve arm64, too. It needs the package index, and no engine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from clone import ROOT

from labcrate.packages.locks import PYTHON
from labcrate.packages.sources import UV
from labcrate.packages.tools import HOST_PYTHON

ARM64, MUSL = "aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl"
LOCKS = sorted((ROOT / "docker").glob("*.lock"))
TOOLS = (ROOT / "requirements.lock", ROOT / "labcrate" / "tests" / "requirements.lock")


def ready(lock: Path, python: str, platform: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Whether each pin has a wheel for that platform; uv asks the index, and fetches none."""
    alone = ("--no-deps", "--no-build", "--require-hashes", "--target", str(folder))
    target = ("--python-version", python, "--python-platform", platform)
    command = (*UV, "pip", "install", "--dry-run", *alone, *target, "--requirement", str(lock))
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_of_the_images_has_wheels_for_arm64(lock: Path, tmp_path: Path) -> None:
    done = ready(lock, PYTHON, ARM64, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("lock", TOOLS, ids=lambda path: path.parent.name)
def test_the_tools_have_wheels_for_arm64(lock: Path, tmp_path: Path) -> None:
    done = ready(lock, HOST_PYTHON, ARM64, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_platform_without_wheels_fails(tmp_path: Path) -> None:
    """PyTorch has none for musl: so these tests can fail."""
    done = ready(ROOT / "docker" / "torch.lock", PYTHON, MUSL, tmp_path)
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert "no wheels with a matching platform tag" in told
