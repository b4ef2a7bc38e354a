"""What an owner may do: one small function for each row of docs/owner.md.

An act does its thing in a copy, yields while the owner's test command runs, and then checks that
the thing has its effect.
"""

import pytest

pytest.register_assert_rewrite("acts.files", "acts.images", "acts.services")

from acts import files, images, services  # noqa: E402
from acts.register import ACTS, Act  # noqa: E402

__all__ = ["ACTS", "Act", "files", "images", "services"]
