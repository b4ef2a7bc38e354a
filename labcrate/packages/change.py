"""`invoke add-package` and its kin: resolve, try live, build, verify, and only then keep.

Resolving happens inside the base image, against what is really installed there. All that the base
holds is a constraint, and so is what the lock had, so that neither moves unasked.

Every function takes the lab's snapshot, with the clone's lock held. A dry run says what it would
do, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from labcrate import output, process
from labcrate.lab.built import layer_bytes
from labcrate.lab.snapshot import Snapshot
from labcrate.packages import settled
from labcrate.packages.candidate import (
    build_candidate,
    candidate_folder,
    keep_candidate,
    resolve_candidate,
)
from labcrate.packages.live import Live, drop_note, in_lab
from labcrate.packages.locks import Pin, changed_pins, lock_header, pins_of
from labcrate.packages.phases import Changed, Options, Phases
from labcrate.packages.requested import Wanted
from labcrate.packages.sources import (
    asked_lines,
    locked_pins,
    rewrite_lines,
    stage_wanted,
    system_packages,
)
from labcrate.packages.transaction import drop_unused_archives

NO_VERSIONS: Mapping[str, str] = {}


def add_packages(
    snapshot: Snapshot,
    wanted: Sequence[Wanted],
    options: Options,
    phases: Phases,
    hold: Mapping[str, str] = NO_VERSIONS,
) -> Changed:
    """Add requirements to packages.in, for good. hold: versions to use for names that are new."""
    clone = snapshot.lab.clone
    asked = asked_lines(clone.docker)
    if process.is_dry():
        foretell("packages.in", [one.line or str(one.path) for one in wanted])
        return Changed()
    with candidate_folder(snapshot.lab) as candidate:
        staged = [stage_wanted(one, candidate, clone, snapshot.settings.folders) for one in wanted]
        lines = {**asked, **{one.name: one.line for one in staged}}
        rewrite_lines(candidate / "packages.in", lines)
        return carry_through(snapshot, candidate, options, phases, hold)


def remove_packages(
    snapshot: Snapshot, names: Sequence[str], options: Options, phases: Phases
) -> Changed:
    """Take requirements out of packages.in; what nothing needs any more goes with them."""
    asked = asked_lines(snapshot.lab.clone.docker)
    if process.is_dry():
        foretell("packages.in", gone=[asked[name] for name in names if name in asked])
        return Changed()
    with candidate_folder(snapshot.lab) as candidate:
        lines = {name: line for name, line in asked.items() if name not in names}
        rewrite_lines(candidate / "packages.in", lines)
        return carry_through(snapshot, candidate, options, phases)


def set_system_packages(
    snapshot: Snapshot, names: Sequence[str], options: Options, phases: Phases
) -> Changed:
    """Another docker/apt.txt. Not live: nobody in the running lab may install system packages."""
    before = system_packages(snapshot.lab.clone.docker)
    gone = tuple(name for name in before if name not in names)
    if process.is_dry():
        foretell("apt.txt", [name for name in names if name not in before], gone)
        return Changed()
    with candidate_folder(snapshot.lab) as candidate:
        rewrite_lines(candidate / "apt.txt", {name: name for name in names}, str)
        image = build_candidate(snapshot, candidate, [], phases) if options.build else ""
        with phases("keep", "docker/apt.txt and the image"):
            keep_candidate(snapshot.lab, image)
        return Changed(removed=gone, built=bool(image))


def foretell(file: str, new: Sequence[str] = (), gone: Sequence[str] = ()) -> None:
    """Say what a dry run leaves undone."""
    for line in new:
        output.say(f"docker/{file} would get: {line}")
    for line in gone:
        output.say(f"docker/{file} would lose: {line}")
    output.say("Then the lock, the running lab and the image would follow.")


def carry_through(
    snapshot: Snapshot,
    candidate: Path,
    options: Options,
    phases: Phases,
    hold: Mapping[str, str] = NO_VERSIONS,
) -> Changed:
    """Carry one candidate through to the end, or leave everything as it was."""
    docker = snapshot.lab.clone.docker
    before, asked = locked_pins(docker), asked_lines(docker)
    job = _Job(snapshot=snapshot, candidate=candidate, options=options, phases=phases)
    running, after = job.resolve(hold)
    rows, wanted = changed_pins(before, after), asked_lines(candidate)
    moved = [name for name, _, _ in rows]
    fresh = [name for name in moved if name in after and name in wanted]

    def bring() -> None:
        with phases.timed("live"):
            running.bring(candidate, moved, after)

    try:
        image = job.build(fresh, bring if running.before else None)
        with phases("keep", "docker/packages.in, its lock and the image"):
            keep_candidate(snapshot.lab, image)
    except BaseException:
        running.put_back()
        raise
    drop_note(snapshot.lab)
    removed = tuple(name for name in asked if name not in wanted)
    return Changed(rows=rows, removed=removed, live=bool(running.before), built=bool(image))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One change under way."""

    snapshot: Snapshot
    candidate: Path
    options: Options
    phases: Phases

    def resolve(self, hold: Mapping[str, str]) -> tuple[Live, dict[str, Pin]]:
        """Write the candidate's lock; what runs now, asked for meanwhile, and the lock's pins."""
        lab, live = self.snapshot.lab, self.options.live
        drop_unused_archives(self.candidate)
        held = {} if self.options.upgrade else locked_pins(lab.clone.docker)
        phase = self.phases("resolve", "what it takes, inside the base image")
        with phase, ThreadPoolExecutor() as pool:
            seen = pool.submit(in_lab, self.snapshot) if live else None
            above = pool.submit(layer_bytes, lab.image(), settled.STEP)
            lock = resolve_candidate(lab, self.candidate, held, hold)
        running = seen.result() if seen else {}
        if live and not running:
            output.say("live: no lab runs, so this goes into the files and the image alone")
        source = (self.candidate / "packages.in").read_text(encoding="utf-8")
        text = lock_header("packages.in", source) + lock
        (self.candidate / "packages.lock").write_text(text, encoding="utf-8")
        container = self.snapshot.jupyter.id if self.snapshot.jupyter else ""
        pins = pins_of(lock)
        self.settle(pins, above.result())
        return Live(lab=lab, before=running, container=container), pins

    def settle(self, pins: Mapping[str, Pin], above: int) -> None:
        """Write which of the lock's entries are settled, where that changes."""
        before = settled.read_settled(self.candidate)
        if before is None:
            return
        after = settled.choose_settled(before, pins, above, anew=self.options.settle)
        if after != before:
            output.say(f"settled: {len(after)} packages go into a layer that the next changes keep")
            text = settled.settled_text(after)
            (self.candidate / settled.FILE).write_text(text, encoding="utf-8")

    def build(self, fresh: Sequence[str], bring: Callable[[], None] | None) -> str:
        """Build the image, and bring the running lab along meanwhile; the image's id, or ""."""
        with ThreadPoolExecutor() as pool:
            if bring:
                self.phases.announce("live", "into the running lab; no kernel is restarted")
            brought = pool.submit(bring) if bring else None
            image = ""
            if self.options.build:
                image = build_candidate(self.snapshot, self.candidate, fresh, self.phases)
            if brought:
                brought.result()
        return image
