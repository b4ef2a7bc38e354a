"""Which build of PyTorch goes into the image: driver x cards x what the image already has.

Pure functions of facts that were read elsewhere. An image that fits stays: its build is several
gigabytes, and neither a short network failure nor a busy card may replace it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Card, driver_tuple


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a build for CUDA needs: the driver, and compute capabilities from floor to below top.

    arm_floor: the lowest capability that the wheels for aarch64 have kernels for.
    """

    cuda: str
    driver: tuple[int, ...]
    floor: tuple[int, int]
    arm_floor: tuple[int, int]
    top: tuple[int, int] = (99, 0)

    def accepts_driver(self, driver: str) -> bool:
        return driver_tuple(driver) >= self.driver

    def accepts_card(self, card: Card, *, arm: bool) -> bool:
        """A card that does not report its capability gets the benefit of the doubt."""
        floor = self.arm_floor if arm else self.floor
        return card.capability is None or floor <= card.capability < self.top


CUDA_13 = Needs(cuda="CUDA 13", driver=(580,), floor=(7, 5), arm_floor=(8, 0))
CUDA_12 = Needs(cuda="CUDA 12.6", driver=(525, 60, 13), floor=(5, 0), arm_floor=(8, 0), top=(10, 0))
"""Minimum drivers: NVIDIA's CUDA compatibility guide. Capabilities: what torch 2.14's wheels list
(12.6: sm_50 to sm_90; 13: sm_75 to sm_120; for aarch64 from sm_80)."""

NEEDS = {"pypi": CUDA_13, "cu126": CUDA_12, "cu130": CUDA_13, "cu132": CUDA_13}
CANDIDATES = ("pypi", "cu126")
"""What `auto` chooses from, best first: the build on PyPI, and the one for older machines. torch
2.14 is the last with both."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What PyTorch will run on. gpu: whether the lab gets one; cards: those that it will see.

    driver: "" where it is unknown. arm: the engine's processor is an aarch64.
    """

    gpu: bool = False
    cards: Sequence[Card] = ()
    driver: str = ""
    arm: bool = False


@dataclass(frozen=True, kw_only=True)
class Build:
    """The value for TORCH_BACKEND, and why."""

    backend: str
    reason: str


def is_arm(engine: Engine) -> bool:
    """Whether containers run on an aarch64 processor."""
    return engine.architecture in ("aarch64", "arm64")


def choose_build(
    setting: str, hardware: Hardware, *, image: str, index_answers: Callable[[], bool]
) -> Build:
    """The build for this lab. LabError (GPU_PROOF) where none can work.

    setting: TORCH_BACKEND. image: the build in the existing image, "" without one. index_answers:
    asks whether PyTorch's own index can be reached; called only without a GPU and an image.
    """
    if setting != "auto":
        return Build(backend=setting, reason="TORCH_BACKEND says so")
    if not hardware.gpu:
        return _for_cpu(image, index_answers)
    if hardware.driver:
        return _for_cards(image, hardware)
    if image in NEEDS:
        return Build(backend=image, reason="the image has it; the driver is not known yet")
    return Build(backend="pypi", reason="CUDA 13; the driver is not known yet")


def _for_cpu(image: str, index_answers: Callable[[], bool]) -> Build:
    if image:
        return Build(backend=image, reason="the image has it, and every build runs on a CPU")
    if index_answers():
        return Build(backend="cpu", reason="no GPU, and PyTorch's own index answers")
    return Build(
        backend="pypi",
        reason="no GPU, but PyTorch's own index does not answer; this build runs on a CPU too",
    )


def _for_cards(image: str, hardware: Hardware) -> Build:
    driver = hardware.driver
    if not CUDA_12.accepts_driver(driver):
        raise LabError(
            f"the NVIDIA driver {driver} is too old for this PyTorch (CUDA 12 needs 525.60.13)",
            fix="update the driver to 580 or newer, or set GPU=off",
            code=Code.GPU_PROOF,
        )
    fits = [name for name in dict.fromkeys((image, *CANDIDATES)) if _fits(name, hardware)]
    if not fits:
        raise _no_build(hardware)
    if fits[0] == image:
        return Build(backend=image, reason=f"the image has it, and it suits driver {driver}")
    suits = f"driver {driver} and {_architectures(hardware.cards)}"
    return Build(backend=fits[0], reason=f"{NEEDS[fits[0]].cuda} suits {suits}")


def _fits(name: str, hardware: Hardware) -> bool:
    needs = NEEDS.get(name)
    return (
        needs is not None and needs.accepts_driver(hardware.driver) and not _unfit(hardware, needs)
    )


def _unfit(hardware: Hardware, *builds: Needs) -> list[Card]:
    """The cards that none of these builds has kernels for."""
    arm = hardware.arm
    return [c for c in hardware.cards if not any(n.accepts_card(c, arm=arm) for n in builds)]


def _no_build(hardware: Hardware) -> LabError:
    """The error for cards that no single build serves: which card is the problem, and why."""
    unusable = _unfit(hardware, *(NEEDS[name] for name in CANDIDATES))
    if unusable:
        return LabError(
            f"no build of this PyTorch has kernels for {_each(unusable)}",
            fix="name the other cards in GPU_DEVICES, or set GPU=off"
            if len(unusable) < len(hardware.cards)
            else "set GPU=off; an older PyTorch may still support this card",
            code=Code.GPU_PROOF,
        )
    new, old = _unfit(hardware, CUDA_12), _unfit(hardware, CUDA_13)
    if old and new:
        usable = new if CUDA_13.accepts_driver(hardware.driver) else old
        return LabError(
            f"no single build of PyTorch serves both {_each(old)} and {_each(new)}",
            fix=f"set GPU_DEVICES={','.join(str(card.index) for card in usable)} in .env",
            code=Code.GPU_PROOF,
        )
    return LabError(
        f"{_each(new)} needs CUDA 13, which needs driver 580 or newer; "
        f"this machine has {hardware.driver}",
        fix="update the NVIDIA driver to 580 or newer, or set GPU=off",
        code=Code.GPU_PROOF,
    )


def _each(cards: Sequence[Card]) -> str:
    return ", ".join(dict.fromkeys(f"{card.name} ({_architectures((card,))})" for card in cards))


def _architectures(cards: Sequence[Card]) -> str:
    pairs = sorted({card.capability for card in cards if card.capability})
    return ", ".join(f"sm_{major}{minor}" for major, minor in pairs) or "its card"
