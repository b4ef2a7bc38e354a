"""Take free cards for a lab: look who has what, under the lock, until the lab has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from labcrate import output, process
from labcrate.errors import Code, LabError
from labcrate.gpu.card_lock import cards_locked
from labcrate.gpu.cards import smi_path
from labcrate.gpu.decide import Decision
from labcrate.gpu.holders import containers_with_cards, held_cards, holders_of, processes_of
from labcrate.gpu.pool import choose_free
from labcrate.gpu.usage import read_usage
from labcrate.lab.containers import Container

LOOK_S = 5.0
"""Seconds between two looks while a lab waits for a card; a look takes some tenths."""

TELL_S = 300.0
"""Seconds after which the same is said again."""

POLL_S = 0.2
"""Seconds between two questions whether a run's container runs."""

Release = Callable[[], None]


def with_free_cards(decision: Decision) -> Decision:
    """The decision with the cards that are free at this moment, where some are to be chosen.

    The lab keeps those that it has. LabError (GPU_TAKEN): there are too few, and who has them.
    """
    wanted = decision.wanted
    if wanted is None:
        return decision
    project = decision.lab.project
    containers = containers_with_cards()
    programs = read_usage(smi_path()).programs
    pids = processes_of(containers) if programs else {}
    holders = {
        card.index: holders_of(card, wanted.known, containers, programs, pids, project)
        for card in wanted.known
    }
    own = (one.gpu for one in containers if one.own and one.project == project)
    return decision.on_cards(choose_free(wanted, holders, next(own, "")))


def wait_for_free_cards(decision: Decision) -> Decision:
    """The same, once there are enough; says who has them meanwhile."""
    told, when = "", 0.0
    while True:
        try:
            return with_free_cards(decision)
        except LabError as error:
            if error.code is not Code.GPU_TAKEN or process.is_dry():
                raise
            if error.problem != told or time.monotonic() - when > TELL_S:
                told, when = error.problem, time.monotonic()
                output.say_always(f"Waiting (Ctrl-C to give up): {told}")
        time.sleep(LOOK_S)


@contextmanager
def claimed(decision: Decision, *, kept: bool = True) -> Iterator[tuple[Decision, Release]]:
    """The decision with its cards, and nobody else chooses until the lab is started.

    What is yielded beside it gives up the lock earlier. Nothing is locked where nothing is chosen.
    kept: see `cards_locked`; not for what may run for hours.
    """
    if decision.wanted is None or process.is_dry():
        yield with_free_cards(decision), lambda: None
        return
    with cards_locked(kept=kept) as release:
        yield with_free_cards(decision), release


@contextmanager
def until_running(container: str, release: Release) -> Iterator[None]:
    """Give up the lock as soon as a container runs, while something waits for its end."""
    over = threading.Event()

    def watch() -> None:
        state = ("docker", "container", "inspect", "--format", "{{.State.Status}}", container)
        while not over.wait(POLL_S):
            if process.ask(state).stdout.strip() not in ("", "created"):
                release()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def shared_cards(decision: Decision, listed: Sequence[Container]) -> list[str]:
    """What to say of the lab's cards that another lab has, too."""
    if not decision.choice.overlay or decision.wanted:
        return []
    own = held_cards(decision.choice.label, decision.cards)
    others = [one for one in listed if one.lab != decision.lab.project]
    told = []
    for one in containers_with_cards(others):
        both = [str(card.index) for card in held_cards(one.gpu, decision.cards) if card in own]
        if both:
            who = output.printable(one.lab)
            since = f"since {one.started[:16]} UTC"
            told.append(f"GPU {' and '.join(both)}: {who} has it, too, {since}")
    return told
