"""docs/owner.md lists what the tests do as an owner, all of it and nothing else."""

from __future__ import annotations

import re

import pytest
from acts import ACTS, GROUPS
from clone import ROOT

ROW = re.compile(r"^\| ([a-z-]+) \|.*\| `test_owner_acts\[([a-z-]+)\]` \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str]]:
    """(ID, ID of the test) of each row of the table."""
    return ROW.findall((ROOT / "labcrate" / "docs" / "owner.md").read_text())


def test_each_act_has_a_row_and_each_row_an_act(rows: list[tuple[str, str]]) -> None:
    assert sorted(name for name, _ in rows) == sorted(ACTS)


def test_each_act_is_tried_once(rows: list[tuple[str, str]]) -> None:
    tried = [name for group in GROUPS.values() for name in group]
    assert sorted(tried) == sorted(ACTS)
    assert dict(rows) == {name: group for group, names in GROUPS.items() for name in names}
