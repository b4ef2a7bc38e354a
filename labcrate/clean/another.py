"""`clean --lab NAME`: another lab's things, where its clone is not there to clean them itself."""

from __future__ import annotations

import re
from pathlib import Path

from labcrate.clone.env_file import read_env
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.lab.containers import all_containers


def refuse_living_lab(lab: str) -> None:
    """Refuse a name that is none, and one of a lab whose clone still exists.

    Whoever works in that clone must see the plan, not somebody in another folder.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", lab):
        raise LabError(
            f"{lab!r} is not the name of a lab",
            fix="invoke doctor (names the labs whose clone is gone)",
            code=Code.CLEAN,
        )
    for folder in sorted(folders_of(lab)):
        if is_at_home(lab, folder):
            raise LabError(
                f"the lab {lab} has a clone that is still there: {folder}",
                fix=f"run `invoke clean` in {folder}",
                code=Code.CLEAN,
            )


def folders_of(lab: str) -> set[Path]:
    """The clones that a lab's containers were started from."""
    found = (one.folder for one in all_containers() if lab in (one.project, one.lab))
    return {Path(folder).parent for folder in found if folder}


def is_at_home(lab: str, folder: Path) -> bool:
    """Whether a folder is the lab's clone: it exists, and its .env does not name another lab.

    A renamed lab leaves containers of its old name. A file that this user cannot read counts as a
    yes: it is somebody else's.
    """
    clone = Clone(root=folder, here=folder)
    try:
        clone.compose.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        return read_env(clone.env_file).get("COMPOSE_PROJECT_NAME", lab) == lab
    except (OSError, LabError):
        return True
