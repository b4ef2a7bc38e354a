"""What an owner may do: one small function for each row of docs/owner.md.

An act does its thing in a copy, yields while the owner's test command runs, and then checks that
the thing has its effect.
"""

from acts import files, images, services
from acts.register import ACTS, Act

__all__ = ["ACTS", "Act", "files", "images", "services"]
