"""GPU_DEVICES=free: which cards may be taken, and which are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from machines import BARE, DRIVEN, SLICED, WSL, WSL_HOST, make_cards, make_engine

from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Host
from labcrate.gpu.devices import Overlay
from labcrate.gpu.holders import Holder
from labcrate.gpu.pool import Wanted, choose_free, wanted_cards
from labcrate.gpu.usage import Program

H100 = "NVIDIA H100 80GB HBM3, 9.0"
THREE = replace(DRIVEN, cards=make_cards(H100, H100, H100))
CDI = make_engine("all", "0", "1", "2")
CDI_NAME = "nvidia.com/gpu="

LAB_B = Holder(lab="lab-b", since="2026-11-26 08:15")
STRANGER = Holder(programs=(Program(uuid="GPU-1a", pid=7, name="python3", user="alice"),))
OWN = Holder(lab="lab-own", own=True)
OWN_RUN = Holder(lab="lab-own", run="train", own=True)


def wanted(
    setting: str = "free", engine: Engine = CDI, host: Host = THREE, way: Overlay = "gpu-cdi"
) -> Wanted:
    found = wanted_cards(setting, way, engine, host)
    assert found
    return found


@pytest.mark.parametrize(
    ("engine", "host", "way", "names"),
    [
        (CDI, THREE, "gpu-cdi", ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=2"]),
        # Without nvidia-smi the engine's names are all that is known.
        (CDI, BARE, "gpu-cdi", ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=2"]),
        # The specification names the cards by UUID, or leaves one out.
        (make_engine("GPU-0a", "GPU-2a"), THREE, "gpu-cdi",
         ["nvidia.com/gpu=GPU-0a", "nvidia.com/gpu=GPU-2a"]),
        (make_engine("GPU-0a", "GPU-2a"), BARE, "gpu-cdi",
         ["nvidia.com/gpu=GPU-0a", "nvidia.com/gpu=GPU-2a"]),
        (make_engine(runtime=True), THREE, "gpu-runtime", ["0", "1", "2"]),
        (make_engine(), THREE, "gpu-nvidia", ["0", "1", "2"]),
        # A card that is split is never taken as a whole.
        (make_engine("all", "0:0", "0:1", "1"), SLICED, "gpu-cdi", ["nvidia.com/gpu=1"]),
    ],
)  # fmt: skip
def test_the_cards_that_may_be_taken(
    engine: Engine, host: Host, way: Overlay, names: list[str]
) -> None:
    assert [name for _, name in wanted("free", engine, host, way).names] == names


@pytest.mark.parametrize(("setting", "way"), [("all", "gpu-cdi"), ("0", "gpu-cdi"), ("free", "")])
def test_nothing_is_chosen_where_devices_are_named_or_the_cpu_is_used(
    setting: str, way: Overlay
) -> None:
    assert wanted_cards(setting, way, CDI, THREE) is None


@pytest.mark.parametrize(
    ("setting", "engine", "host", "said", "fix"),
    [
        ("free", make_engine("all", "0", host="ssh://server"), BARE, "it is at ssh://server",
         "GPU_DEVICES=0"),
        ("free", make_engine("all", **WSL), WSL_HOST, "WSL offers all or none", "GPU_DEVICES=all"),
        ("free:4", CDI, THREE, "takes 4 cards as a whole, and this machine offers 3 cards",
         "ask for fewer"),
        ("free:2", make_engine("0:0", "1"), SLICED, "this machine offers 1 card",
         "GPU_DEVICES=0:0"),
        ("free", make_engine("all"), BARE, "this machine offers 0 cards", "GPU_DEVICES=0:0"),
    ],
)  # fmt: skip
def test_where_no_card_can_be_chosen_it_says_why(
    setting: str, engine: Engine, host: Host, said: str, fix: str
) -> None:
    with pytest.raises(LabError, match="GPU_DEVICES=free") as caught:
        wanted_cards(setting, "gpu-cdi", engine, host)
    assert said in caught.value.problem
    assert fix in caught.value.fix
    assert caught.value.code is Code.GPU_NOT_OFFERED


def holders(**told: tuple[Holder, ...]) -> dict[int, tuple[Holder, ...]]:
    return {index: told.get(f"gpu{index}", ()) for index in range(3)}


@pytest.mark.parametrize(
    ("setting", "has", "own", "devices"),
    [
        ("free", {}, "", "0"),
        ("free:2", {}, "", "0,1"),
        ("free", {"gpu0": (LAB_B,)}, "", "1"),
        ("free", {"gpu0": (LAB_B,), "gpu1": (STRANGER,)}, "", "2"),
        # Up again: it stays where it is, whoever else came meanwhile.
        ("free", {"gpu2": (OWN,)}, "2", "2"),
        ("free", {"gpu2": (OWN, LAB_B, STRANGER)}, "2", "2"),
        ("free:2", {"gpu0": (OWN,), "gpu1": (LAB_B,)}, "0", "0,2"),
        ("free:2", {"gpu2": (OWN,)}, "2", "0,2"),
        # It had more than it asks for now.
        ("free", {"gpu0": (OWN,), "gpu1": (OWN,)}, "0,1", "0"),
        ("free", {f"gpu{n}": (OWN,) for n in range(3)}, "all", "0"),
        ("free:3", {f"gpu{n}": (OWN,) for n in range(3)}, "all", "all"),
        # A run of its own is another container at work.
        ("free", {"gpu0": (OWN_RUN,)}, "", "1"),
        # It was split, or taken out of the machine.
        ("free", {}, "7", "0"),
        ("free", {}, "MIG-1c", "0"),
    ],
)
def test_what_is_taken(setting: str, has: Mapping[str, Any], own: str, devices: str) -> None:
    label = "gpu-cdi " + ",".join(CDI_NAME + name for name in own.split(",")) if own else ""
    choice = choose_free(wanted(setting), holders(**has), label)
    assert choice.overlay == "gpu-cdi"
    assert ",".join(name.removeprefix(CDI_NAME) for name in choice.devices) == devices
    assert choice.reason.endswith("already" if devices == own else "it was free")
    assert choice.reason.startswith(("NVIDIA H100", "2 x NVIDIA H100", "3 x"))


def test_another_way_to_the_same_card_names_it_anew() -> None:
    choice = choose_free(wanted("free"), holders(gpu1=(OWN,)), "gpu-runtime 1")
    assert choice.label == "gpu-cdi nvidia.com/gpu=1"


def test_none_free_says_who_has_them() -> None:
    taken = holders(gpu0=(LAB_B,), gpu1=(STRANGER,), gpu2=(LAB_B, OWN_RUN))
    with pytest.raises(LabError) as caught:
        choose_free(wanted("free"), taken, "")
    assert caught.value.code is Code.GPU_TAKEN
    assert caught.value.problem.splitlines() == [
        "no card is free:",
        "    GPU 0: lab-b, since 2026-11-26 08:15 UTC",
        "    GPU 1: python3, process 7 of alice",
        "    GPU 2: lab-b, since 2026-11-26 08:15 UTC; the run train of lab-own (this lab)",
    ]
    assert "invoke up --wait-gpu" in caught.value.fix


def test_too_few_free_says_how_many_are() -> None:
    with pytest.raises(LabError, match="3 cards are wanted, and 2 of 3 is free") as caught:
        choose_free(wanted("free:3"), holders(gpu0=(LAB_B,)), "")
    assert caught.value.code is Code.GPU_TAKEN
