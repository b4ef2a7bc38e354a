"""What a container's health check said: a line of JSON from image/healthy.py.

Code in the lab can forge it, so nothing of it is used that has another form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from labcrate.output import printable

BASE_URL = re.compile(r"/([\w.~%-]+/)+")
FOLDER = re.compile(r"/[\w./-]+")
LONGEST = 200
"""Characters of a reason that are shown."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """base_url: JupyterLab's, with a slash at both ends. refused: the setting of Jupyter with
    which it cannot be reached. wrong: else why it does not answer. Both are "" where it is healthy.
    cannot_write: folders in the container in which the lab's user cannot make files.
    """

    base_url: str = "/"
    refused: str = ""
    wrong: str = ""
    cannot_write: tuple[str, ...] = ()


NOTHING_SAID = Health()


def parse_health(said: str) -> Health:
    """The meaning of what a check printed; an owner's own check may print anything."""
    try:
        told = json.loads(said)
    except ValueError:
        return NOTHING_SAID
    if not isinstance(told, dict):
        return NOTHING_SAID
    base, closed = told.get("base_url"), told.get("cannot_write")
    return Health(
        base_url=base if isinstance(base, str) and BASE_URL.fullmatch(base) else "/",
        refused=_reason(told.get("refused")),
        wrong=_reason(told.get("wrong")),
        cannot_write=_folders(closed) if isinstance(closed, list) else (),
    )


def _reason(told: object) -> str:
    return printable(told)[:LONGEST] if isinstance(told, str) else ""


def _folders(told: Sequence[object]) -> tuple[str, ...]:
    return tuple(one for one in told if isinstance(one, str) and FOLDER.fullmatch(one))
