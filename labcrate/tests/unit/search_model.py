"""A folder of the form of the search page's model, for tests that load nothing of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from labcrate.lab import search


def write_model(folder: Path, **changes: Any) -> Path:
    """changes: what meta.json says otherwise."""
    folder.mkdir(exist_ok=True)
    for name in search.FILES:
        (folder / name).write_text(name)
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in search.FILES}
    meta = {"format": 1, "dimensions": 4, "max_tokens": 8, "sha256": digests, **changes}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
