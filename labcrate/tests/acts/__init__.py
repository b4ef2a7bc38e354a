"""What an owner may do: one small function for each row of docs/owner.md.

An act does its thing in a copy, yields while the owner's test command runs, and then checks that
the thing has its effect.
"""

import pytest

pytest.register_assert_rewrite("acts.files", "acts.images", "acts.services")

from acts import files, images, services  # noqa: E402
from acts.register import ACTS, Act  # noqa: E402

__all__ = ["ACTS", "GROUPS", "Act", "files", "images", "services"]

TOGETHER = {
    "files": (
        "delete-quickstart",
        "own-readme",
        "own-task",
        "own-session",
        "own-workflow",
        "own-package-in-src",
        "own-tests",
    ),
    "compose": ("own-variable", "extra-mount", "second-notebooks", "settings"),
    "image": ("add-package", "git-package", "dockerfile-copy", "dockerfile-run"),
    "fewer": ("run-quickstart", "remove-transformers", "own-ci"),
}
"""What is done in one copy, because it does not touch the same thing: an owner does more than one,
too. Each group costs half a minute."""

ALONE = {name: (name,) for name in ACTS if not any(name in group for group in TOGETHER.values())}

GROUPS = dict(
    sorted({**TOGETHER, **ALONE}.items(), key=lambda group: list(ACTS).index(group[1][0]))
)
"""All acts, each in one group, in their own order: the last one ends with `clean --all`."""
