"""Whether the `invoke` that was typed is the clone's own. An old Python must read this file."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import invoke

NEEDED = ("dotenv", "packaging", "rich")
"""What the tasks import; the system's own `invoke` knows none of it."""

PYTHON, INVOKE = (3, 11), 3
"""The oldest of each; of Invoke, its major version."""

INSTALL = 25
"""errors.Code.INSTALL: the errors need a newer Python than this file."""


def refuse_another_invoke() -> None:
    """Say it in one message: otherwise a module is not found, or a line is no valid syntax."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    old = sys.version_info[:2] < PYTHON or int(invoke.__version__.split(".")[0]) < INVOKE
    if missing or old:
        raise invoke.Exit(
            "error: this `invoke` is not the one of .venv, and lacks what the lab needs "
            f"({sys.executable})\n"
            "  fix: source .venv/bin/activate, or put `python3 bootstrap.py` in front",
            code=INSTALL,
        )
