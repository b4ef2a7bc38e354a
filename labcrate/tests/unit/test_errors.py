"""The one error a user sees."""

from __future__ import annotations

from clone import ROOT

from labcrate import errors
from labcrate.errors import Code, LabError


def test_an_error_says_what_why_and_the_fix() -> None:
    error = LabError("the port is taken", fix="choose another", code=Code.PORT_TAKEN, why="by you")
    assert str(error) == "error: the port is taken\n  why: by you\n  fix: choose another"


def test_codes_fit_an_exit_status_and_collide_with_none() -> None:
    taken_by_shells = {0, 1, 2, 124, 125, 126, 127}
    assert all(0 < code < 256 for code in Code)
    assert not taken_by_shells & set(Code)
    assert len({code.meaning for code in Code}) == len(Code)


def test_the_document_is_current() -> None:
    """Written with: python -m labcrate.errors > labcrate/docs/exit-codes.md"""
    page = ROOT / "labcrate" / "docs" / "exit-codes.md"
    assert page.read_text() == errors.exit_codes()
