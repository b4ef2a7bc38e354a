"""What the doctor reads from files: folders, the PCI bus, CDI specifications, memory, clocks."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from labcrate.doctor import readings

CDI = """\
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  deviceNodes:
    - path: /dev/nvidia-uvm
  mounts:
    - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15
devices:
  - name: "0"
    containerEdits:
      deviceNodes: [{path: /dev/nvidia0}]
"""
CDI_JSON = json.dumps(
    {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "x": "/l/libnvidia-ml.so.580.95.05"}
)


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_and_who_owns_what_is_in_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write(runs / "deep" / "mine")
    runs.chmod(0o750)
    found = readings.read_folder(runs, os.getuid())
    assert (found.exists, found.mode, found.uid) == (True, 0o750, os.getuid())
    assert (found.strangers, found.for_host, found.links) == ((), (), ())
    assert list(readings.find_strangers(runs, os.getuid() + 1)) == ["runs/deep", "runs/deep/mine"]
    assert not readings.read_folder(tmp_path / "none", os.getuid()).exists


def test_the_search_for_strangers_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"file{number}").touch()
    assert len(list(readings.find_strangers(tmp_path, os.getuid() + 1))) == 3
    monkeypatch.setattr(readings, "FILES", 2)
    assert len(list(readings.find_strangers(tmp_path, os.getuid() + 1))) == 2
    monkeypatch.setattr(readings, "WALK_S", -1.0)
    assert len(list(readings.find_strangers(tmp_path, os.getuid() + 1))) == 1


def test_a_file_that_has_gone_has_no_owner(tmp_path: Path) -> None:
    assert readings.file_owner(tmp_path / "gone") is None


def test_files_that_a_tool_of_the_host_would_run(tmp_path: Path) -> None:
    for name in ("tasks.py", "noxfile.py", "invoke.yaml", ".envrc", "conftest.py", "train.py"):
        (tmp_path / name).touch()
    write(tmp_path / "deep" / "invoke.json")
    (tmp_path / "invoke.py").symlink_to("/nowhere")
    found = readings.read_folder(tmp_path, os.getuid()).for_host
    assert sorted(found) == [".envrc", "invoke.py", "invoke.yaml", "noxfile.py", "tasks.py"]


def test_links_at_the_top_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    write(data / "deep" / "file")
    (data / "there").symlink_to("deep/file")
    (data / "dead").symlink_to("/no/such/place")
    (data / "deep" / "link").symlink_to("file")
    found = readings.find_links(data)
    assert [(one.path, one.target, one.exists) for one in found] == [
        (data / "dead", "/no/such/place", False),
        (data / "there", "deep/file", True),
    ]
    monkeypatch.setattr(readings, "TOP_ENTRIES", 0)
    assert readings.find_links(data) == ()


def test_a_folder_that_cannot_be_read_has_no_known_links(tmp_path: Path) -> None:
    assert readings.find_links(tmp_path / "gone") == ()


def test_cards_on_the_bus_without_a_driver(tmp_path: Path) -> None:
    bus = tmp_path / "sys/bus/pci/devices"
    write(bus / "0000:01:00.0" / "vendor", "0x10de\n")
    write(bus / "0000:01:00.0" / "class", "0x030000\n")
    write(bus / "0000:02:00.0" / "vendor", "0x8086\n")
    write(bus / "0000:03:00.0" / "vendor", "0x10de\n")
    write(bus / "0000:03:00.0" / "class", "0x068000\n")
    (tmp_path / "nouveau").mkdir()
    (bus / "0000:01:00.0" / "driver").symlink_to(tmp_path / "nouveau")
    found = [(one.address, one.kind, one.driver) for one in readings.read_pci(tmp_path)]
    assert found == [("0000:01:00.0", "0x030000", "nouveau"), ("0000:03:00.0", "0x068000", "")]


def test_cdi_specifications(tmp_path: Path) -> None:
    write(tmp_path / "etc/cdi/nvidia.yaml", CDI)
    write(tmp_path / "var/run/cdi/nvidia.json", CDI_JSON)
    write(tmp_path / "etc/cdi/other.yaml", "kind: vendor.com/nic\n# nvidia.com/gpu\n")
    write(tmp_path / "etc/cdi/notes.txt", CDI)
    write(tmp_path / "dev/nvidia-uvm")
    found = readings.read_cdi_specs(tmp_path)
    assert [(spec.path, spec.versions, spec.gone) for spec in found] == [
        ("/etc/cdi/nvidia.yaml", ("570.86.15",), ("/dev/nvidia0",)),
        ("/var/run/cdi/nvidia.json", ("580.95.05",), ()),
    ]


@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("2026-11-24T20:29:29.603089788Z", 0.0),
        ("2026-11-24T20:29:29Z", 0.0),
        ("2026-11-24T21:29:29.6+01:00", 0.0),
        ("2026-11-24T19:29:29Z", -3599.0),
        ("2026-11-24T20:59:30Z", 1800.0),
        ("", 0.0),
        ("yesterday", 0.0),
    ],
)
def test_the_engines_clock(text: str, late: float) -> None:
    asked = 1795552169.0  # 2026-11-24T20:29:29Z
    assert readings.clock_skew(text, asked, asked + 1) == late


def test_memory(tmp_path: Path) -> None:
    assert readings.available_memory(tmp_path) is None
    write(tmp_path / "proc/meminfo", "MemTotal: 10 kB\nMemAvailable:    2 kB\n")
    assert readings.available_memory(tmp_path) == 2048


def test_space_is_measured_where_a_folder_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert readings.free_space(str(tmp_path / "not" / "yet")) == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.05
    )
    assert readings.free_space("") == -1

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    assert readings.free_space(str(tmp_path)) == -1
