"""The pages that the tests write: their rows and the tests they name must agree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import faultlog
import mutations
import pytest
from clone import ROOT
from faultlog import Row

ENGINE = ROOT / "labcrate" / "tests" / "engine"
DOCS = ROOT / "labcrate" / "docs"
PAGES = {"faults.md": ("fault", "attack"), "load.md": ("load",)}


def marked(kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(test, what it tries) of each test of tests/engine that carries such a mark."""
    for path in sorted(ENGINE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) in {
                    f"pytest.mark.{kind}" for kind in kinds
                }:
                    assert isinstance(node, ast.FunctionDef)
                    yield f"{path.name}::{node.name}", ast.literal_eval(mark.args[0])


@pytest.mark.parametrize("name", PAGES)
def test_every_row_has_its_test_and_every_test_its_row(name: str) -> None:
    text = (DOCS / name).read_text()
    assert sorted(faultlog.rows_of(text)) == sorted(marked(PAGES[name]))
    assert "FAILED" not in text


def test_the_markers_cover_the_files_of_faults() -> None:
    """In these files every test is one: a row cannot be forgotten."""
    whole = ("test_faults", "test_door", "test_exposure", "test_inside", "test_token", "test_clean")
    named = {test for test, _ in marked(faultlog.KINDS)}
    for path in (ENGINE / f"{name}.py" for name in (*whole, "test_killed", "test_load")):
        body = ast.parse(path.read_text()).body
        tests = [n.name for n in body if isinstance(n, ast.FunctionDef) and n.name[:5] == "test_"]
        assert [test for test in tests if f"{path.name}::{test}" not in named] == []


def test_a_page_says_what_happened() -> None:
    row = Row(
        test="test_x.py::test_y", kind="fault", tried="a | b", times=3, happened=["one", "two"]
    )
    text = faultlog.document([row], ("fault", "attack"))
    assert "1 tests, 3 tries" in text
    assert "| a \\| b | 3 | one; two | 0.0 | `test_x.py::test_y` |" in text
    row.outcome = "failed"
    assert "**FAILED** one" in faultlog.document([row], ("fault",))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no /tmp/pytest-1/x here", "no … here"),
        ("lab-lab-t-st-1-1e7c79-jupyter", "lab-jupyter"),
        ("taken by process 4321 (python)", "taken by process N (python)"),
        ("BIND_ADDRESS=192.0.2.2, not 127.0.0.1", "BIND_ADDRESS=ADDRESS, not 127.0.0.1"),
        ("JUPYTER_PORT=8889 is taken", "JUPYTER_PORT=N is taken"),
    ],
)
def test_a_page_names_nobodys_machine(text: str, shown: str) -> None:
    assert faultlog.anonymous(text) == shown


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda m: m.what)
def test_every_mutation_still_fits(mutation: mutations.Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    path, _, name = mutation.path.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()


def test_every_protection_is_listed_once() -> None:
    """security.md says what is protected from whom; a protection without a test is none."""
    text = (DOCS / "security.md").read_text()
    shown = text.partition("<!-- protections -->\n")[2].partition("<!-- /protections -->")[0]
    assert shown == mutations.tables()
    names = [mutation.what for mutation in mutations.MUTATIONS]
    assert len(set(names)) == len(names)


def test_the_page_of_mutations_is_current() -> None:
    """Written by: nox -s mutations"""
    text = (DOCS / "mutations.md").read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()]
    assert rows[6:] == [mutation.what for mutation in mutations.MUTATIONS]
