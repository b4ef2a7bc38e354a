"""What the steps of the images promise: hashes, and no network where none is needed."""

from __future__ import annotations

import re

import pytest
from clone import ROOT
from dockerfiles import DOCKERFILE, STAGES_FILE, run_steps

SCRIPT = ROOT / "labcrate" / "image" / "install-torch"
STEPS = [*run_steps(DOCKERFILE.read_text(encoding="utf-8")), SCRIPT.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    "name", ["uv.lock", "tensorboard.lock", "search.lock", "torch.lock", "base.lock"]
)
def test_what_a_lock_names_is_installed_by_hash(name: str) -> None:
    lines = [
        line for step in STEPS for line in re.split(r"&& |\) ", step) if f"/tmp/{name}" in line
    ]
    installs = [
        line for line in lines if re.search(r"\binstall ", line) and "--constraint" not in line
    ]
    assert [line for line in installs if "--require-hashes" not in line] == []
    assert installs


@pytest.mark.parametrize(
    "name",
    ["uv.lock", "tensorboard.lock", "search.lock", "torch.lock", "base.lock", "packages.lock"],
)
def test_each_line_of_a_lock_has_a_hash(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (DOCKERFILE.parent / name).read_text(encoding="utf-8"))
    pins = [one for one in entries if "==" in one.partition("\n")[0] and not one.startswith("#")]
    assert [one.partition("\n")[0] for one in pins if "--hash=sha256:" not in one] == []
    assert pins or name == "packages.lock"


def test_the_check_of_a_new_image_has_no_network() -> None:
    text = STAGES_FILE.read_text(encoding="utf-8")
    step = text.partition("AS verifier")[2]
    assert "RUN --network=none " in step
