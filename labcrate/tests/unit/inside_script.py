"""image/inside.py, which runs in images, as a module: it needs the standard library alone."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from labcrate.lab.images import PARTS


@pytest.fixture
def inside() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inside", PARTS / "inside.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
