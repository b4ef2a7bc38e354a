"""The system's `invoke`, typed in a clone without its .venv."""

from __future__ import annotations

import ast
import sys

import invoke
import pytest
from clone import ROOT

from labcrate.errors import Code
from labcrate.tasks import interpreter
from labcrate.tasks.interpreter import refuse_another_invoke

NO_PROBLEM = {"missing": "", "python": (3, 11, 0), "version": "3.0.3"}


def typed(patch: pytest.MonkeyPatch, **changes: object) -> None:
    told = {**NO_PROBLEM, **changes}
    patch.setattr(interpreter, "find_spec", lambda name: None if name == told["missing"] else name)
    patch.setattr(sys, "version_info", told["python"])
    patch.setattr(invoke, "__version__", told["version"])


def test_the_clones_own_is_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_another_invoke()
    typed(monkeypatch)
    refuse_another_invoke()


@pytest.mark.parametrize(
    "change", [{"missing": "dotenv"}, {"python": (3, 9, 2)}, {"version": "2.2.0"}]
)
def test_another_one_is_one_message(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    typed(monkeypatch, **change)
    with pytest.raises(invoke.Exit, match="`invoke` is not the one") as caught:
        refuse_another_invoke()
    assert caught.value.code == interpreter.INSTALL == Code.INSTALL
    assert "fix: source .venv/bin/activate" in str(caught.value.message)


def test_it_comes_before_everything_that_it_looks_for() -> None:
    """And in words of Python 3.7: a later one must not be needed to say that it is."""
    folder = ROOT / "labcrate" / "tasks"
    text = (folder / "interpreter.py").read_text()
    ast.parse(text, feature_version=(3, 7))
    assert "labcrate" not in {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    lines = (folder / "__init__.py").read_text().splitlines()
    call = lines.index("refuse_another_invoke()")
    before = [line for line in lines[:call] if line.startswith(("import", "from"))]
    allowed = ("from __future__", "import copy", "from typing", "from invoke")
    assert all(line.startswith((*allowed, "from labcrate.tasks.interpreter")) for line in before)
