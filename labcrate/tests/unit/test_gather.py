"""Gathering facts about the machine, the engine and the clone."""

from __future__ import annotations

from pathlib import Path

import pytest
from double import Double
from machine_of import ENV, INFO, Gather, answer, gather, programs

from labcrate.clone.place import Clone
from labcrate.doctor.examine import diagnose
from labcrate.errors import Code
from labcrate.process import TIMED_OUT

__all__ = ["gather", "programs"]
"""Fixtures."""


def test_an_engine(gather: Gather) -> None:
    found = gather()
    assert (found.crashed, found.unanswered) == ((), ())
    assert found.engine is not None
    assert (found.engine.version, found.engine.compose, found.buildx) == (
        (28, 5),
        (2, 40),
        (0, 29),
    )
    assert found.info["MemTotal"] == 25276063744
    assert [disk.what for disk in found.disks] == [
        "your folders",
        "the engine",
        "containerd's image store",
    ]
    assert all(disk.free > 0 for disk in found.disks)


def test_no_client_no_env_nothing(gather: Gather, programs: set[str], clone: Clone) -> None:
    programs.clear()
    clone.env_file.unlink()
    found = gather()
    assert (found.crashed, found.unanswered) == ((), ())
    assert (found.env_mode, found.settings, found.engine, found.folders) == (None, None, None, ())
    assert found.refusal is not None
    assert found.refusal.code is Code.ENGINE_MISSING


def test_a_part_that_crashes_costs_only_itself(gather: Gather) -> None:
    found = gather(docker_container_inspect="no json")
    assert [what for what, _ in found.crashed] == ["containers"]
    assert found.lab.images


def test_env_with_problems_keeps_the_rest(gather: Gather, clone: Clone) -> None:
    clone.env_file.write_text(ENV.replace("18931", "0") + "WHAT=$x\n")
    clone.env_file.chmod(0o640)
    found = gather()
    assert found.env_mode == 0o640
    assert [problem.text for problem in found.env_problems] == [
        "JUPYTER_PORT=0 is not a port",
        "WHAT holds a `$`, which Compose would expand",
    ]
    assert (found.settings, found.engine is None) == (None, False)
    assert all(folder.exists for folder in found.folders)


def test_an_env_that_is_not_text(gather: Gather, clone: Clone) -> None:
    clone.env_file.write_bytes(b"A=\xff\n")
    found = gather()
    assert ["not UTF-8" in problem.text for problem in found.env_problems] == [True]
    assert (found.folders, found.crashed) == ((), ())


def test_an_env_that_cannot_be_read(gather: Gather, clone: Clone) -> None:
    clone.env_file.unlink()
    clone.env_file.mkdir()
    found = gather()
    assert ["chown" in problem.fix for problem in found.env_problems] == [True]
    assert found.crashed == ()


def test_a_wrong_uid_in_env_is_a_problem_and_no_crash(gather: Gather, clone: Clone) -> None:
    clone.env_file.write_text(ENV.replace("LAB_UID=", "LAB_UID=me"))
    found = gather()
    assert found.crashed == ()
    assert ["LAB_UID=me" in problem.text for problem in found.env_problems] == [True]
    assert len(found.folders) == 5


def test_folders_that_env_puts_elsewhere(gather: Gather, clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "else" / "data").mkdir(parents=True)
    clone.env_file.write_text(ENV + f"ROOT_DIR={tmp_path / 'else'}\n")
    found = {folder.path.name: folder for folder in gather().folders}
    assert found["data"].path == tmp_path / "else" / "data"
    assert (found["data"].exists, found["runs"].exists) == (True, False)


def test_bundles_that_are_named_and_missing(
    gather: Gather, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("PIP_CERT", "/no/such.pem")
    assert gather().missing_bundles == ("/no/such.pem",)


SMI = "0, GPU-1, NVIDIA A100, 8.0, 580.95.05, Enabled, 40960 MiB\n"


@pytest.fixture
def cards(double: Double, programs: set[str], tmp_path: Path) -> Path:
    """A driver, NVIDIA's tool, and cards behind an NVSwitch. Where the machine's files are."""
    programs.add("nvidia-smi")
    double.expect("/usr/bin/nvidia-smi", stdout=SMI)
    double.expect("nvidia-smi", "-L", stdout="MIG 1g.5gb")
    double.expect("systemctl", "is-active", stdout="inactive\n", returncode=3)
    root = tmp_path / "root"
    bridge = root / "sys/bus/pci/devices/0000:03:00.0"
    bridge.mkdir(parents=True)
    (bridge / "vendor").write_text("0x10de")
    (bridge / "class").write_text("0x068000")
    (root / "sys/module/nvidia").mkdir(parents=True)
    (root / "sys/module/nvidia/version").write_text("580.95.05\n")
    return root


def test_mig_instances_and_the_fabric(gather: Gather, cards: Path) -> None:
    assert cards
    found = gather()
    assert [card.name for card in found.host.cards] == ["NVIDIA A100"]
    assert (found.smi_list, found.fabric, found.pci) == ("MIG 1g.5gb", "inactive", ())


def test_mig_instances_and_the_fabric_are_asked_for_only_where_they_can_be(
    double: Double, gather: Gather, cards: Path
) -> None:
    (cards / "sys/bus/pci/devices/0000:03:00.0/class").write_text("0x040300")
    double.expect("/usr/bin/nvidia-smi", stdout=SMI.replace("Enabled", "Disabled"))
    found = gather()
    assert (found.smi_list, found.fabric) == ("", None)
    assert double.called("nvidia-smi", "-L") == double.called("systemctl") == []


def late(double: Double, *words: str) -> None:
    double.expect(*words, returncode=TIMED_OUT, stderr="no answer within 3 s")


def test_a_driver_that_is_slow_is_not_broken(double: Double, gather: Gather, cards: Path) -> None:
    """Without persistence mode a driver that wakes eight cards needs longer than the doctor has."""
    assert cards
    late(double, "/usr/bin/nvidia-smi")
    late(double, "systemctl", "is-active")
    found = gather()
    assert (found.host.loaded, found.host.smi, found.host.cards) == ("580.95.05", "", ())
    assert found.fabric is None
    assert found.unanswered == ("nvidia-smi", "systemctl is-active nvidia-fabricmanager")


def test_a_missing_plugin_is_missing(double: Double, gather: Gather) -> None:
    info = {**INFO, "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "2.40.3"}]}}
    answer(double, "docker info", info)
    assert gather().buildx == (0, 0)


@pytest.mark.usefixtures("gather")
def test_an_engine_that_never_answers(double: Double, clone: Clone) -> None:
    """Its silence is an error, and nothing that it was not asked is called missing."""
    late(double, "docker", "info")
    late(double, "docker", "compose", "config")
    found = {finding.check: finding for finding in diagnose(clone)}
    assert found["engine"].severity == "error"
    assert "docker info" in found["unanswered"].problem
    assert not found.keys() & {"images", "health", "compose"}


def test_a_clone_without_its_project_file(gather: Gather, clone: Clone) -> None:
    assert not clone.project_file.exists()
    assert gather().files_ahead_s == 0.0
    clone.project_file.touch()
    assert -60 < gather().files_ahead_s <= 1
