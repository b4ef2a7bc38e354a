"""The template's owner owns it: all rows of docs/owner.md, done in copies and then tested by nox.

Acts that do not touch the same thing are done in one copy, as an owner does more than one, too.

The copies have one project's name: they share its images and its home volume, as one clone does
that changes over time, and each begins with the files as copier leaves them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from acts import ACTS, GROUPS
from conftest import remove_lab, share_base
from owner import Owner, append, copy_files, owner_copy


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    """The files of an owner who has done nothing yet but `setup`."""
    made = Owner(owner_copy(tmp_path_factory.mktemp("owner") / "fresh"))
    share_base(made.root)
    # Half a minute of g++ in each run of the tests, which have to pass without it, too.
    append(made.root / "lab.env", "TORCHDYNAMO_DISABLE=1\n")
    (made.root / "lab.env").chmod(0o600)
    made.invoke("setup", "--yes")
    try:
        yield made
    finally:
        remove_lab(made)


@pytest.fixture
def own(fresh: Owner, request: pytest.FixtureRequest) -> Iterator[Owner]:
    """A copy for one act."""
    made = copy_files(fresh.root, fresh.root.parent / request.node.callspec.id / "lab")
    # One name on purpose, so that images and home volume are shared: it is no copy of `fresh`.
    (made.root / ".labcrate" / "place").unlink()
    try:
        yield made
    finally:
        if "containers" in made.left_over():
            made.invoke("down")


@pytest.mark.parametrize("names", GROUPS.values(), ids=GROUPS)
def test_owner_acts(names: Sequence[str], own: Owner) -> None:
    with ExitStack() as acts:
        for name in names:
            acts.enter_context(ACTS[name](own))
        own.nox()
