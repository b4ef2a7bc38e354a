"""Reading drivers and cards: answers of nvidia-smi and files of /sys, old and new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from labcrate.gpu.cards import (
    WSL_SMI,
    Card,
    Host,
    driver_tuple,
    parse_cards,
    parse_driver_version,
    read_host,
)
from labcrate.process import Result

Make = Callable[..., Host]

NO_FIELD = 'Field "compute_cap" is not a valid field to query.\n'
MISMATCH = (
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.86\n"
)
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
NO_DEVICES = "No devices were found\n"

P100 = "0, GPU-10d2, Tesla P100-PCIE-16GB, 6.0, 535.183.01, [N/A], 16384 MiB\n"
TITAN = "1, GPU-11d3, NVIDIA TITAN V, 7.0, 535.183.01, [N/A], 12288 MiB\n"
T4 = "0, GPU-12d4, Tesla T4, 7.5, 570.86.15, [N/A], 15360 MiB\n"
A100 = "0, GPU-13d5, NVIDIA A100-SXM4-40GB, 8.0, 570.86.15, Enabled, 40960 MiB\n"
ADA = "1, GPU-14d6, NVIDIA GeForce RTX 4090, 8.9, 580.95.05, [Not Supported], 24564 MiB\n"
H100 = "0, GPU-15d7, NVIDIA H100 80GB HBM3, 9.0, 580.95.05, Disabled, 81559 MiB\n"
B200 = "0, GPU-16d8, NVIDIA B200, 10.0, 580.95.05, Disabled, 183359 MiB\n"
BLACKWELL = "0, GPU-17d9, NVIDIA GeForce RTX 5090, 12.0, 610.43.02, [N/A], 32607 MiB\n"
SPARK = "0, GPU-18da, NVIDIA GB10, 12.1, 580.95.05, [N/A], [N/A]\n"
OLD = "0, GPU-19db, NVIDIA GeForce GTX 1080, 470.256.02, [N/A], 8119 MiB\n"
CORRUPT = "WARNING: infoROM is corrupted at gpu 0000:02:00.0\n"


@pytest.mark.parametrize(
    ("text", "capabilities", "driver", "mib"),
    [
        (P100, [(6, 0)], "535.183.01", 16384),
        (P100 + TITAN, [(6, 0), (7, 0)], "535.183.01", 16384),
        (T4, [(7, 5)], "570.86.15", 15360),
        (A100, [(8, 0)], "570.86.15", 40960),
        (H100 + ADA, [(9, 0), (8, 9)], "580.95.05", 81559),
        (B200, [(10, 0)], "580.95.05", 183359),
        (BLACKWELL, [(12, 0)], "610.43.02", 32607),
        (SPARK, [(12, 1)], "580.95.05", 0),
        (OLD, [None], "470.256.02", 8119),
        (H100.replace("9.0", "[N/A]"), [None], "580.95.05", 81559),
        (H100.replace("580.95.05", "[Unknown Error]"), [(9, 0)], "", 81559),
        (H100 + CORRUPT, [(9, 0)], "580.95.05", 81559),
        (H100.replace("MiB", "MB").replace("\n", "\r\n"), [(9, 0)], "580.95.05", 81559),
    ],
)
def test_cards_are_read(
    text: str, capabilities: list[tuple[int, int] | None], driver: str, mib: int
) -> None:
    cards = parse_cards(text)
    assert [card.capability for card in cards] == capabilities
    assert (cards[0].driver, cards[0].memory_mib) == (driver, mib)
    assert all(card.uuid.startswith("GPU-") for card in cards)


@pytest.mark.parametrize(
    "text", ["", "0, GPU-cut\n", NO_FIELD, MISMATCH, NO_DRIVER, NO_DEVICES, CORRUPT]
)
def test_other_lines_are_no_cards(text: str) -> None:
    assert parse_cards(text) == ()


def test_only_a_card_that_is_cut_into_instances_says_so() -> None:
    assert [parse_cards(text)[0].mig for text in (A100, H100, ADA, T4)] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC\n"
            "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
            "470.256.02",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build",
            "570.86.15",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build",
            "580.95.05",
        ),
        ("", ""),
        ("GCC version: 12.2.0", ""),
    ],
)
def test_the_module_reports_its_version(text: str, found: str) -> None:
    assert parse_driver_version(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("525.60.13", (525, 60, 13)),
        ("580.95.05", (580, 95, 5)),
        ("610", (610,)),
        ("[N/A]", ()),
        ("", ()),
    ],
)
def test_versions_compare_as_numbers(text: str, found: tuple[int, ...]) -> None:
    assert driver_tuple(text) == found


@pytest.fixture
def host(tmp_path: Path) -> Make:
    """A machine made of files, the answers of its nvidia-smi, and the tools on its PATH."""

    def make(
        files: Mapping[str, str] | None = None,
        smi: Sequence[tuple[int, str]] = (),
        tools: Sequence[str] = (),
        modinfo: str = "",
    ) -> Host:
        for name, text in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        waiting = list(smi)
        present = {*tools, *(["nvidia-smi"] if smi else []), *(["modinfo"] if modinfo else [])}

        def ask(argv: Sequence[str], **_: Any) -> Result:
            if "modinfo" in argv[0]:
                return Result(argv=tuple(argv), returncode=0, stdout=modinfo)
            code, said = waiting.pop(0)
            return Result(argv=tuple(argv), returncode=code, stdout=said)

        return read_host(ask, tmp_path, lambda n: f"/usr/bin/{n}" if n in present else None)

    return make


def test_a_machine_without_a_card_is_empty(host: Make) -> None:
    found = host()
    assert found == Host()
    assert found.driver == ""


@pytest.mark.parametrize("driver", ["470.256.02", "535.183.01", "570.86.15", "580.95.05", "610.43"])
def test_a_machine_with_a_driver_is_read(host: Make, driver: str) -> None:
    found = host(
        {
            "sys/module/nvidia/version": f"{driver}\n",
            "dev/nvidia0": "",
            "dev/nvidiactl": "",
            "dev/nvidia-uvm": "",
        },
        smi=[(0, H100.replace("580.95.05", driver))],
        tools=["nvidia-ctk", "nvidia-cdi-hook"],
        modinfo=f"{driver}\n",
    )
    assert found.loaded == found.on_disk == found.driver == driver
    assert found.devices == ("nvidia-uvm", "nvidia0", "nvidiactl")
    assert found.tools == ("nvidia-ctk", "nvidia-cdi-hook")
    assert (found.smi, found.smi_found, len(found.cards)) == ("", True, 1)


def test_an_old_driver_is_asked_again_without_the_field_it_lacks(host: Make) -> None:
    found = host(smi=[(2, NO_FIELD), (0, OLD)])
    assert [card.name for card in found.cards] == ["NVIDIA GeForce GTX 1080"]
    assert (found.cards[0].capability, found.smi) == (None, "")


def test_proc_is_read_where_sys_has_no_version(host: Make) -> None:
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n"
    assert host({"proc/driver/nvidia/version": text}).loaded == "535.183.01"


@pytest.mark.parametrize(
    ("code", "said"), [(18, MISMATCH), (9, NO_DRIVER), (6, NO_DEVICES), (124, "")]
)
def test_what_a_failing_smi_said_is_kept(host: Make, code: int, said: str) -> None:
    found = host(smi=[(code, said)])
    assert found.cards == ()
    assert found.smi == (said.strip() or f"exit status {code}")


def test_an_upgrade_before_the_reboot_shows_both_versions(host: Make) -> None:
    found = host(
        {"sys/module/nvidia/version": "550.54.14\n"}, smi=[(18, MISMATCH)], modinfo="570.86.15\n"
    )
    assert (found.loaded, found.on_disk) == ("550.54.14", "570.86.15")


def test_cards_of_a_warning_smi_are_kept_with_its_words(host: Make) -> None:
    found = host(smi=[(14, H100 + CORRUPT)])
    assert len(found.cards) == 1
    assert "infoROM" in found.smi


def test_wsl_has_its_tool_off_the_path_and_no_module(tmp_path: Path) -> None:
    for name in ("dev/dxg", WSL_SMI):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    asked, found = asked_of(tmp_path, answer=Result(argv=(), stdout=ADA))
    assert asked == [str(tmp_path / WSL_SMI)]
    assert (found.wsl, found.loaded, found.driver) == (True, "", "580.95.05")


def test_wsl_and_tegra_are_recognised(host: Make) -> None:
    kernel = "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@x) (gcc)"
    assert host({"proc/version": kernel}).wsl
    assert host({"etc/nv_tegra_release": "# R36"}).tegra


def test_card_is_a_value() -> None:
    (card,) = parse_cards(T4)
    assert card == Card(
        index=0,
        uuid="GPU-12d4",
        name="Tesla T4",
        capability=(7, 5),
        memory_mib=15360,
        mig=False,
        driver="570.86.15",
    )


def asked_of(root: Path, *tools: str, answer: Result | None = None) -> tuple[list[str], Host]:
    """The programs that were started on a machine with these tools, and what was read."""
    asked: list[str] = []

    def ask(argv: Sequence[str], **_: Any) -> Result:
        asked.append(argv[0])
        return answer or Result(argv=tuple(argv))

    host = read_host(ask, root, lambda n: f"/usr/bin/{n}" if n in tools else None)
    return asked, host


def test_without_module_and_nvidia_smi_no_process_is_started(tmp_path: Path) -> None:
    assert asked_of(tmp_path, "modinfo") == ([], Host())


def test_modinfo_is_asked_where_a_module_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "sys/module/nvidia").mkdir(parents=True)
    (tmp_path / "sys/module/nvidia/version").write_text("580.95.05\n")
    assert asked_of(tmp_path)[0] == []
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/modinfo").write_text("")
    said = Result(argv=(), stdout="580.95.05\n")
    asked, host = asked_of(tmp_path, answer=said)
    assert (asked, host.on_disk) == ([str(tmp_path / "sbin/modinfo")], "580.95.05")
    failed = Result(argv=(), returncode=1, stdout="half an answer")
    assert asked_of(tmp_path, answer=failed)[1].on_disk == ""
