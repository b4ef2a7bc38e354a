"""What rebuilds leave in the build cache, kept within bounds."""

from __future__ import annotations

from contextlib import suppress

from rich.filesize import decimal

from labcrate import output, process
from labcrate.clean.removal import remove_things
from labcrate.clean.survey import Lot, unneeded_cache
from labcrate.errors import LabError
from labcrate.lab.snapshot import Snapshot

LIMIT_BYTES = 10 * 10**9
"""What may stay for the next build though no image needs it: one and a half images. An added
package leaves 0.3 GB, which is the final stage as it was before."""


def bound_cache(snapshot: Snapshot) -> None:
    """After a build: remove the lab's steps that no image needs, once they are too many.

    Downloads stay. Nothing is an error here: what was built is built.
    """
    lab = snapshot.lab
    if process.is_dry():
        return
    lot = Lot(clone=lab.clone, project=lab.project, model=snapshot.model)
    with suppress(LabError):
        spare = unneeded_cache(lot)
        size = sum(thing.size for thing in spare)
        if size > LIMIT_BYTES:
            output.say(f"The build cache holds {decimal(size)} that no image needs any more.")
            remove_things(lab.clone, spare)
