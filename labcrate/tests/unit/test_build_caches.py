"""Which builds share a cache: a step that runs a package's code has one of its clone's own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from clone import ROOT
from dockerfiles import DOCKERFILES, run_steps

PACKAGES = r"--mount=type=cache,id=(labcrate-(?:uv|pip)[^,]*),"


def cached_steps() -> Iterator[tuple[str, str, str]]:
    """(id, stage, step) of each build step that has a cache of packages."""
    for path in DOCKERFILES:
        for stage in re.split(r"^FROM ", path.read_text(), flags=re.MULTILINE)[1:]:
            for step in run_steps(stage):
                if found := re.search(PACKAGES, step):
                    yield found[1], stage.partition(f"\n{step}")[0], step


STEPS = list(cached_steps())
OF_ONE_CLONE = [one for one in STEPS if "${" in one[0]]
SHARED = [one for one in STEPS if "${" not in one[0]]


def test_each_kind_of_step_is_there() -> None:
    assert [ident for ident, _, _ in SHARED] == ["labcrate-pip", *["labcrate-uv"] * 5]
    named = "labcrate-uv-${LAB_NAME}-${LAB_UID}"
    assert [ident for ident, _, _ in OF_ONE_CLONE] == [named] * 3


@pytest.mark.parametrize(("ident", "before", "step"), SHARED)
def test_a_step_with_a_shared_cache_runs_no_packages_code(
    ident: str, before: str, step: str
) -> None:
    """A source archive's build could write into it, and another clone would install that."""
    if "sh /parts/install-torch" in step:
        step = (ROOT / "labcrate" / "image" / "install-torch").read_text()
    installs = re.findall(r"pip install (.*?)(?:;;|&&|$)", step, re.DOTALL)
    assert installs, (ident, before)
    for install in installs:
        assert "--only-binary :all:" in install or "--no-build " in install


@pytest.mark.parametrize(("ident", "before", "step"), OF_ONE_CLONE)
def test_a_step_that_may_run_it_has_a_cache_of_its_clone(
    ident: str, before: str, step: str
) -> None:
    """Where the argument is not declared, BuildKit makes nothing of it, and all clones share."""
    assert re.search(r"^ARG LAB_NAME=unnamed$", before, re.MULTILINE), step
    assert "UV_CACHE_DIR=/var/cache/uv" in step or "install-packages" in step, ident


def test_no_other_step_runs_a_packages_code_with_a_cache() -> None:
    texts = "".join(path.read_text() for path in DOCKERFILES)
    ids = set(re.findall(r"type=cache,id=([^,]+),", texts))
    assert ids == {ident for ident, _, _ in STEPS} | {"labcrate-apt", "labcrate-apt-lists"}
