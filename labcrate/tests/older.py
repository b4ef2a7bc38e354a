"""An older state of the template, for the tests of an update: real where git has one."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from clone import ROOT, copy_tree
from owner import git

CHANGED_SINCE = {
    "README.md": "A template",
    "tasks.py": '"""',
    "labcrate/sessions.py": '"""',
    "docker/base.in": "#",
    "docker/Dockerfile": "#",
    "compose/compose.yaml": "#",
    ".gitignore": "#",
}
"""Files that a made-up older state has with other words in the first line that begins so."""

GONE_SINCE = "labcrate/old_room.py"
"""A file that only the made-up older state has."""


def first_commit() -> str:
    """The oldest commit with a copier.yml; "" where that is the newest, or there is none."""
    added = ("log", "--diff-filter=A", "--format=%H", "--", "copier.yml")
    found = git(ROOT, *added).split()
    return "" if not found or found[-1] == git(ROOT, "rev-parse", "HEAD").strip() else found[-1]


def older_state(target: Path) -> Path:
    """The files of the oldest state that copier can update from."""
    commit = first_commit()
    if not commit:
        return turn_back(copy_tree(target))
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(target, filter="data")
    return target


def turn_back(root: Path) -> Path:
    """Make the working tree older by some lines and a file."""
    for name, start in CHANGED_SINCE.items():
        path = root / name
        lines = path.read_text().splitlines()
        where = next(at for at, line in enumerate(lines) if line.startswith(start))
        end = '"""' if start == '"""' and lines[where].endswith('"""') else ""
        lines[where] = f"{start} Older words.{end}"
        path.write_text("\n".join(lines) + "\n")
    (root / GONE_SINCE).write_text('"""What the template had once."""\n')
    return root
