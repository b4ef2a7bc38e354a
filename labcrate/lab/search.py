"""The search page: the model folder that it serves, and whether that is what its meta.json says.

image/search_index.py checks the same as the service starts, by hand or after a reboot. Here it is
checked before anything is built, so that the reason is the task's own error.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError

FORMAT = 1
"""Of the folder, as meta.json names it; image/search_index.py has the same."""

META = "meta.json"
FILES = ("encoder.onnx", "tokenizer.json", "articles.jsonl", "vectors.npy")
NOTEBOOK = "notebooks/03-export-and-search.ipynb"


def model_folder(settings: Settings) -> Path:
    return settings.root_dir / "models" / "search"


def require_model(settings: Settings) -> None:
    """A model that the search page can serve; an error with the fix where there is none."""
    folder = model_folder(settings)
    if not folder.is_dir():
        raise LabError(
            f"there is no model to search with: {folder} is missing",
            fix=f"run notebook 03 ({NOTEBOOK}) in the lab, then: invoke serve",
            code=Code.NO_MODEL,
        )
    if reason := model_problem(folder):
        raise LabError(
            f"the model in {folder} is refused: {reason}",
            fix=f"run notebook 03 ({NOTEBOOK}) again, then: invoke serve",
            code=Code.NO_MODEL,
        )


def model_problem(folder: Path) -> str:
    """Why a folder cannot be served; "" where it can."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        told, found = dict(meta["sha256"]), meta["format"]
    except FileNotFoundError:
        return f"there is no {META}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{META} cannot be read ({type(error).__name__})"
    if found != FORMAT:
        return f"{META} has format {found}, and the page reads format {FORMAT}"
    for name in FILES:
        if not (folder / name).is_file():
            return f"{name} is missing"
        if file_digest(folder / name) != told.get(name):
            return f"{name} has another digest than {META} says"
    return ""


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
