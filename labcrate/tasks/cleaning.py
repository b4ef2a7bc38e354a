"""clean: show what the lab left on the engine, ask, and remove it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from invoke import Context
from rich.filesize import decimal

from labcrate import output, process
from labcrate.clean.another import refuse_living_lab
from labcrate.clean.removal import Wish, plan_removal, remove_things
from labcrate.clean.survey import (
    Lot,
    Thing,
    engine_bytes,
    other_clones,
    survey,
    unneeded_cache,
)
from labcrate.clone.settings import Settings
from labcrate.engine.engine import find_engine, require_engine
from labcrate.errors import Code, LabError
from labcrate.lab.compose import Lab, resolve_model
from labcrate.lab.containers import all_containers
from labcrate.lab.work import lab_work
from labcrate.tasks.base import agreed, alone, lab_task
from labcrate.tasks.sparing import refuse_busy, tell_work


@lab_task(
    images="the images too",
    cache="downloads and build steps kept for the next build, too",
    volumes="the home volume (model caches, JupyterLab's own settings), too",
    all_="all of it",
    lab="another lab's things instead: one whose clone was deleted, or an earlier name of yours",
    force="also what is at work: kernels that compute, programs, runs",
    dry_run="show the plan and stop",
    yes="do not ask",
)
def clean(
    c: Context,  # noqa: ARG001
    images: bool = False,
    cache: bool = False,
    volumes: bool = False,
    all_: bool = False,
    lab: str = "",
    force: bool = False,
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Remove what this clone left on the engine; not your files."""
    wish = Wish(images=images or all_, volumes=volumes or all_, cache=cache or all_)
    with alone("clean") as settings:
        engine = require_engine(find_engine())
        if lab:
            refuse_living_lab(lab)
        model = resolve_model(Lab(settings=settings))
        lot = Lot(clone=settings.clone, project=lab or settings.project, model=model)
        others = other_clones(lot.project)
        before = survey(lot, others)
        plan = plan_removal(before, wish)
        sharers = others if wish.cache else set()
        show_plan(lot, before, plan, wish, sharers)
        if dry_run or not (plan or sharers):
            return
        again = f"invoke clean --lab {lab}" if lab else "invoke clean"
        tell_losses(settings, lot.project, again, force)
        refusal = LabError(
            "nothing was removed, because nobody agreed", fix=f"{again} --yes", code=Code.CLEAN
        )
        if not agreed(yes, f"Remove these {len(plan)} things?", "Nothing was removed.", refusal):
            return
        held = engine_bytes(engine)
        failures = remove_things(settings.clone, plan)
        if sharers:
            unneeded = unneeded_cache(lot)
            failures += remove_things(settings.clone, unneeded)
            plan += unneeded
        if not process.is_dry():
            left = {thing.ref for thing in survey(lot, others)}
            gone = [thing for thing in plan if thing.ref not in left]
            report_clean(gone, wish, held - engine_bytes(engine), failures)


def tell_losses(settings: Settings, project: str, again: str, force: bool) -> None:
    """Say what ends with the lab's containers; an error where something in them computes."""
    work = lab_work(Lab(settings=replace(settings, project=project)), all_containers())
    refuse_busy(work, f"`clean` would stop {project}", f"{again} --force", force)
    tell_work(work, f"the containers of {project} go")


def show_plan(
    lot: Lot, before: Sequence[Thing], plan: Sequence[Thing], wish: Wish, sharers: Collection[str]
) -> None:
    """The plan as a table, one row a kind of thing where there are many.

    sharers: the labs that share layers and build cache with this one, where the cache is to go.
    """
    rows: list[tuple[str, str, str, str]] = [
        (thing.kind, thing.name, decimal(thing.size), "yes" if thing in plan else "stays")
        for thing in before
        if thing.kind != "cache"
    ]
    records = [thing for thing in before if thing.kind == "cache"]
    if records:
        size = decimal(sum(thing.size for thing in records))
        going = "yes" if wish.cache else "stays"
        rows.append(("cache", f"{len(records)} records of build steps", size, going))
    shared = "images share layers: less comes back than the sum"
    headings = ("what", "name", "size", "goes")
    output.table(headings, rows, title=f"clean {lot.project}", caption=shared)
    if sharers:
        names = ", ".join(sorted(sharers))
        output.say(f"Of the build cache, downloads and what the images of {names} hold stay.")
    elif not plan:
        output.say("Nothing to remove.")


def report_clean(gone: Sequence[Thing], wish: Wish, freed: int, failures: Sequence[str]) -> None:
    """What was removed, and how many bytes the engine's disk got back by it.

    freed: bytes; other processes that write at the same time can make it less than nothing.
    """
    output.say(f"Removed {len(gone)} things; {decimal(max(0, freed))} came back.")
    if any(thing.kind == "image" for thing in gone) and not wish.cache:
        output.say("The build cache still holds the layers of the images, for the next build.")
    if failures:
        raise LabError(
            "some would not go:\n  " + "\n  ".join(failures),
            fix="stop what uses them, then run `invoke clean` again",
            code=Code.CLEAN,
        )
