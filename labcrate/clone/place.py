"""Where the clone is. A value that is handed on; nothing depends on where this package lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from labcrate.errors import Code, LabError

MARK = Path("compose", "compose.yaml")
"""The file that makes a folder a lab."""


@dataclass(frozen=True, kw_only=True)
class Clone:
    """One clone of the template. here: where the user stands, which typed paths start from."""

    root: Path
    here: Path

    @property
    def env_file(self) -> Path:
        return self.root / ".env"

    @property
    def example_file(self) -> Path:
        return self.root / ".env.example"

    @property
    def state(self) -> Path:
        """What the tasks keep beside .env: git ignores it, only its owner reads it."""
        return self.root / ".labcrate"

    @property
    def docker(self) -> Path:
        return self.root / "docker"

    @property
    def compose(self) -> Path:
        return self.root / "compose"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def tests(self) -> Path:
        """The tests that run in the container."""
        return self.root / "tests"

    @property
    def tools_lock(self) -> Path:
        """The pinned tools of this host, which bootstrap.py installs."""
        return self.root / "requirements.lock"

    @property
    def project_file(self) -> Path:
        return self.root / "pyproject.toml"


AWKWARD = re.compile(r'[:,"%\x00-\x1f\x7f]')
"""What the folder of a clone may not be named with. Python's venv and the engine's mounts split a
path at `:`, Compose's builds at `,` and at a double quote, and it reads `%` as a part of an address
(Compose 2.40 and Buildx 0.29, tried)."""


def refuse_awkward_path(clone: Clone) -> None:
    """Say it at once: otherwise the first build fails, in words about something else.

    A lab that was built elsewhere and moved goes on, so only `setup` and builds ask.
    """
    found = AWKWARD.search(str(clone.root))
    if found:
        raise LabError(
            f"the path of this clone holds {found[0]!r}, which builds cannot: {str(clone.root)!r}",
            fix='move the clone to a folder without any of : , " % in its path',
            code=Code.FOLDER,
        )


def find_clone(start: Path | None = None) -> Clone:
    """The clone that a folder (the current one) lies in.

    Invoke finds tasks.py from a sub-folder but stays there, so the way up is looked for.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / MARK).is_file():
            return Clone(root=folder, here=here)
    raise LabError(
        f"this folder is not in a lab: {here} (no {MARK} here or above)",
        fix="cd into your clone, then run the same command again",
        code=Code.FOLDER,
    )
