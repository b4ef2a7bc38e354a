"""Which build of PyTorch goes into the image: driver x cards x what the image has already.

A pure function of facts that were read elsewhere. An image that fits stays: its build is several
gigabytes, and neither a network that hiccups nor a card that is busy may swap it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labcrate.errors import Code, LabError
from labcrate.nvidia import Card, version


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a build of CUDA needs: the driver, and compute capabilities from floor to below top.

    arm_floor: the lowest capability that wheels for aarch64 hold kernels for.
    """

    cuda: str
    driver: tuple[int, ...]
    floor: tuple[int, int]
    arm_floor: tuple[int, int]
    top: tuple[int, int] = (99, 0)

    def takes_driver(self, driver: str) -> bool:
        return version(driver) >= self.driver

    def takes_card(self, card: Card, arm: bool) -> bool:
        """A card that keeps its capability to itself gets the benefit of the doubt."""
        floor = self.arm_floor if arm else self.floor
        return card.capability is None or floor <= card.capability < self.top


CUDA_13 = Needs(cuda="CUDA 13", driver=(580,), floor=(7, 5), arm_floor=(8, 0))
CUDA_12 = Needs(cuda="CUDA 12.6", driver=(525, 60, 13), floor=(5, 0), arm_floor=(8, 0), top=(10, 0))
"""Minimum drivers: NVIDIA's CUDA compatibility guide. Capabilities: what torch 2.14's wheels list
(12.6: sm_50 to sm_90; 13: sm_75 to sm_120; for aarch64 from sm_80)."""

NEEDS = {"pypi": CUDA_13, "cu126": CUDA_12, "cu130": CUDA_13, "cu132": CUDA_13}
CANDIDATES = ("pypi", "cu126")
"""What `auto` chooses from, best first: the registry's own build, and the one for older machines.
torch 2.14 is the last with both."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """The value for TORCH_BACKEND, and why."""

    backend: str
    reason: str


def choose(
    setting: str,
    *,
    gpu: bool,
    cards: Sequence[Card],
    driver: str,
    image: str,
    index_answers: Callable[[], bool],
    arm: bool = False,
) -> Build:
    """The build for this lab, or an error where none can work.

    setting: TORCH_BACKEND. cards: those the lab will see; driver: theirs; empty where nobody
    knows. image: the build that the existing image holds, "" without one. index_answers: asks
    whether PyTorch's own index can be reached; called only when nothing is built.
    """
    if setting != "auto":
        return Build(backend=setting, reason="TORCH_BACKEND says so")
    # An image that Compose built by hand, without the tasks, says `auto`.
    kept = "pypi" if image == "auto" else image
    if not gpu:
        return _for_cpu(kept, index_answers)
    if not driver:
        if kept in NEEDS:
            return Build(backend=kept, reason="the image has it; the driver is not known yet")
        return Build(backend="pypi", reason="CUDA 13; the driver is not known yet")
    return _for_cards(kept, cards, driver, arm)


def _for_cpu(kept: str, index_answers: Callable[[], bool]) -> Build:
    if kept:
        return Build(backend=kept, reason="the image has it, and every build runs on a CPU")
    if index_answers():
        return Build(backend="cpu", reason="no GPU, and PyTorch's own index answers")
    return Build(
        backend="pypi",
        reason="no GPU, but PyTorch's own index does not answer; this build runs on a CPU too",
    )


def _for_cards(kept: str, cards: Sequence[Card], driver: str, arm: bool) -> Build:
    if version(driver) < CUDA_12.driver:
        raise LabError(
            f"the NVIDIA driver {driver} is too old for this PyTorch (CUDA 12 needs 525.60.13)",
            fix="update the driver to 580 or newer, or set GPU=off",
            code=Code.GPU_PROOF,
        )
    fits = [name for name in dict.fromkeys((kept, *CANDIDATES)) if _fits(name, cards, driver, arm)]
    if not fits:
        raise _no_build(cards, driver, arm)
    if fits[0] == kept:
        return Build(backend=kept, reason=f"the image has it, and it suits driver {driver}")
    needs = NEEDS[fits[0]]
    return Build(backend=fits[0], reason=f"{needs.cuda} suits driver {driver} and {_sm(cards)}")


def _fits(name: str, cards: Sequence[Card], driver: str, arm: bool) -> bool:
    needs = NEEDS.get(name)
    return (
        needs is not None
        and needs.takes_driver(driver)
        and all(needs.takes_card(card, arm) for card in cards)
    )


def _no_build(cards: Sequence[Card], driver: str, arm: bool) -> LabError:
    """Which card stands in the way, and of what."""
    lost = [c for c in cards if not any(NEEDS[b].takes_card(c, arm) for b in CANDIDATES)]
    if lost:
        return LabError(
            f"no build of this PyTorch has kernels for {_each(lost)}",
            fix="name the other cards in GPU_DEVICES, or set GPU=off"
            if len(lost) < len(cards)
            else "set GPU=off; an older PyTorch may still know this card",
            code=Code.GPU_PROOF,
        )
    new = [card for card in cards if not CUDA_12.takes_card(card, arm)]
    old = [card for card in cards if not CUDA_13.takes_card(card, arm)]
    if old and new:
        usable = new if CUDA_13.takes_driver(driver) else old
        return LabError(
            f"no one build of PyTorch serves both {_each(old)} and {_each(new)}",
            fix=f"set GPU_DEVICES={','.join(str(card.index) for card in usable)} in .env",
            code=Code.GPU_PROOF,
        )
    return LabError(
        f"{_each(new)} needs CUDA 13, and that the driver 580 or newer; this one is {driver}",
        fix="update the NVIDIA driver to 580 or newer, or set GPU=off",
        code=Code.GPU_PROOF,
    )


def _each(cards: Sequence[Card]) -> str:
    return ", ".join(dict.fromkeys(f"{card.name} ({_sm((card,))})" for card in cards))


def _sm(cards: Sequence[Card]) -> str:
    pairs = sorted({card.capability for card in cards if card.capability})
    return ", ".join(f"sm_{major}{minor}" for major, minor in pairs) or "its card"
