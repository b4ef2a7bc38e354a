"""image/guard.py as it runs in TensorBoard's image, here without TensorBoard."""

from __future__ import annotations

import runpy
import sys
import types
from typing import Any

import pytest

from labcrate.lab.images import PARTS


def guard_script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What guard.py defines; the libraries that its image alone has are empty."""
    for name in ("absl", "tensorboard", "tensorboard.plugins"):
        module = types.ModuleType(name)
        for part in ("app", "default", "main_lib", "program", "base_plugin"):
            setattr(module, part, None)
        monkeypatch.setitem(sys.modules, name, module)
    return runpy.run_path(str(PARTS / "guard.py"), run_name="guard")
