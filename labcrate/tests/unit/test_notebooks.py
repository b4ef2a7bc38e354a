"""Committed notebooks are valid and carry no output."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from clone import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))


def test_there_is_a_first_one() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["01-quickstart.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_clean(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"] >= 5) == (4, True)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
    for cell in code:
        compile("".join(cell["source"]), path.name, "exec")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_names_no_place_of_its_own(path: Path) -> None:
    """ROOT_DIR and TENSORBOARD_DIR say where a lab's folders are; an owner may move them."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "".join(line for one in cells if one["cell_type"] == "code" for line in one["source"])
    assert re.findall(r"""["'](?:~/|/(?:lab|home|root|tmp|mnt|opt)\b)""", code) == []
