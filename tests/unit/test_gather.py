"""Gathering facts: from a fake machine, a fake clone and recorded answers of the engine."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labcrate import facts, gather, readings, shell, stack
from labcrate.errors import Code
from labcrate.gather import Asker, Gatherer

ENV = (
    "COMPOSE_PROJECT_NAME=lab-facts-1\nJUPYTER_PORT=18931\nJUPYTER_TOKEN=" + "t" * 48 + "\n"
    f"TENSORBOARD_PORT=18932\nLAB_UID={os.getuid()}\nLAB_GID={os.getgid()}\n"
)
INFO = {
    "ServerVersion": "28.5.2",
    "DockerRootDir": "/",
    "MemTotal": 25276063744,
    "CgroupDriver": "systemd",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
}
CONTAINER = {
    "Id": "ba330e639fc3",
    "RestartCount": 2,
    "State": {
        "Status": "running",
        "ExitCode": 0,
        "OOMKilled": False,
        "Health": {"Status": "healthy"},
    },
    "HostConfig": {"ShmSize": 8589934592, "IpcMode": "private"},
    "Config": {
        "Labels": {
            "com.docker.compose.service": "jupyter",
            "com.docker.compose.project.working_dir": "/elsewhere/compose",
            "dev.labcrate.gpu": "gpu-cdi nvidia.com/gpu=all",
        }
    },
}
IMAGE = {
    "RepoTags": ["lab-facts-1/jupyter:latest"],
    "Size": 6999404665,
    "Config": {"Labels": {"dev.labcrate.inputs": "old", "dev.labcrate.torch-backend": "cu126"}},
}
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

Make = Callable[..., Gatherer]


def answers(**told: str) -> Callable[..., shell.Result]:
    """An engine's client: what it answers by its first words; the rest it does not know."""

    def ask(argv: Sequence[str], *, timeout_s: float = 30.0, **_: Any) -> shell.Result:
        words = " ".join(argv)
        for start, text in told.items():
            if words.startswith(start.replace("_", " ")):
                return shell.Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")
        return shell.Result(argv=tuple(argv), returncode=1, stdout="", stderr="unknown")

    return ask


GOOD = {
    "docker_info": json.dumps(INFO),
    "docker_compose_version": "2.40.3",
    "docker_context": "[]",
    "docker_buildx": "github.com/docker/buildx 0.29.1 0.29.1",
    "docker_ps_--all": "ba330e639fc3\n",
    "docker_image_inspect": json.dumps([IMAGE]),
    "docker_container_inspect": json.dumps([CONTAINER]),
    "docker_logs": "hello",
    "docker_exec": "1048576\nGPU 0: x (UUID: GPU-1)\n",
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A gatherer for a clone and a machine below tmp_path, with nothing in them but .env."""
    clone, root = tmp_path / "clone", tmp_path / "root"
    for path in (clone, root):
        path.mkdir()
    (clone / "pyproject.toml").touch()
    (clone / ".env").write_text(ENV + f"ROOT_DIR={clone}\n")
    (clone / ".env").chmod(0o600)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}")

    def made(**options: Any) -> Gatherer:
        told = options.pop("told", GOOD)
        values = {"ask": answers(**told), "root": root, "clone": clone, "environ": {}}
        return Gatherer(**{**values, "which": lambda name: None, **options})

    return made


def test_a_lab_on_an_engine(make: Make) -> None:
    found = make().all()
    assert found.crashed == ()
    assert found.engine is not None
    assert (found.engine.version, found.buildx) == ((28, 5), (0, 29))
    (one,) = found.containers
    assert (one.service, one.health, one.restarts, one.logs) == ("jupyter", "healthy", 2, "hello")
    assert (one.gpu, one.folder) == ("gpu-cdi nvidia.com/gpu=all", "/elsewhere/compose")
    assert one.inside.startswith("1048576")
    (image,) = found.images
    assert (image.service, image.backend, image.size) == ("jupyter", "cu126", 6999404665)
    assert found.stale
    assert [disk.what for disk in found.disks] == [
        "your folders",
        "the engine",
        "containerd's image store",
    ]
    assert all(disk.free > 0 for disk in found.disks)


def test_no_client_no_env_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    gatherer = make()
    (gatherer.clone / ".env").unlink()
    found = gatherer.all()
    assert found.crashed == ()
    assert (found.env_mode, found.settings, found.engine) == (None, None, None)
    assert found.refusal is not None
    assert found.refusal.code is Code.ENGINE_MISSING


def test_a_part_that_crashes_costs_only_itself(make: Make) -> None:
    found = make(told={**GOOD, "docker_container_inspect": "no json"}).all()
    assert [what for what, _ in found.crashed] == ["containers"]
    assert found.images


def test_env_with_problems_keeps_the_rest(make: Make) -> None:
    gatherer = make()
    (gatherer.clone / ".env").write_text(ENV.replace("18931", "0") + "WHAT=$x\n")
    (gatherer.clone / ".env").chmod(0o640)
    found = gatherer.all()
    assert found.env_mode == 0o640
    assert [problem.text for problem in found.env_problems] == [
        "WHAT is not a variable of the lab",
        "JUPYTER_PORT=0 is not a port",
        "WHAT holds a `$`, which Compose would expand",
    ]
    assert (found.settings, found.engine is None) == (None, False)


def test_folders_and_strangers(make: Make) -> None:
    gatherer = make()
    runs = gatherer.clone / "runs"
    (runs / "deep").mkdir(parents=True)
    runs.chmod(0o750)
    (runs / "deep" / "mine").touch()
    found = {folder.path.name: folder for folder in gatherer.all().folders}
    assert not found["data"].exists
    assert (found["runs"].mode, found["runs"].uid, found["runs"].strangers) == (
        0o750,
        os.getuid(),
        (),
    )
    assert list(readings.strangers(runs, os.getuid() + 1)) == ["runs/deep", "runs/deep/mine"]


def test_the_look_for_strangers_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"file{number}").touch()
    assert len(list(readings.strangers(tmp_path, os.getuid() + 1))) == 3
    monkeypatch.setattr(readings, "FILES", 2)
    assert len(list(readings.strangers(tmp_path, os.getuid() + 1))) == 2
    monkeypatch.setattr(readings, "WALK_S", -1.0)
    assert len(list(readings.strangers(tmp_path, os.getuid() + 1))) == 1


def test_cards_on_the_bus_without_a_driver(make: Make) -> None:
    gatherer = make()
    bus = gatherer.root / "sys/bus/pci/devices"
    devices = {
        "0000:01:00.0": ("0x10de", "0x030000"),
        "0000:01:00.1": ("0x10de", "0x040300"),
        "0000:02:00.0": ("0x8086", "0x030000"),
        "0000:03:00.0": ("0x10de", "0x068000"),
    }
    for address, (vendor, kind) in devices.items():
        (bus / address).mkdir(parents=True)
        (bus / address / "vendor").write_text(vendor + "\n")
        (bus / address / "class").write_text(kind + "\n")
    (gatherer.root / "nouveau").mkdir()
    (bus / "0000:01:00.0" / "driver").symlink_to(gatherer.root / "nouveau")
    found = gatherer.all()
    assert [(card.address, card.driver) for card in found.pci] == [("0000:01:00.0", "nouveau")]
    assert found.nvswitch


def test_cdi_specifications(make: Make) -> None:
    gatherer = make()
    for name, text in (
        ("etc/cdi/nvidia.yaml", CDI),
        ("var/run/cdi/nvidia.json", CDI_JSON),
        ("etc/cdi/other.yaml", "kind: vendor.com/nic\n# nvidia.com/gpu\n"),
        ("etc/cdi/notes.txt", CDI),
    ):
        path = gatherer.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (gatherer.root / "dev").mkdir()
    (gatherer.root / "dev/nvidia-uvm").touch()
    found = gatherer.all().specs
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
    assert readings.skew(text, asked, asked + 1) == late


def test_a_proof_counts_for_the_container_it_was_made_in(make: Make) -> None:
    gatherer = make()
    kept = gatherer.clone / ".labcrate" / "gpu.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({"container": "ba330e639fc3", "cause": "no kernel image"}))
    assert gatherer.all().proof == "no kernel image"
    kept.write_text(json.dumps({"container": "another", "cause": "no kernel image"}))
    assert gatherer.all().proof == ""


def test_bundles_that_are_named_and_missing(make: Make, tmp_path: Path) -> None:
    there = tmp_path / "ca.pem"
    there.touch()
    environ = {"SSL_CERT_FILE": str(there), "PIP_CERT": "/no/such.pem"}
    assert make(environ=environ).all().missing_bundles == ("/no/such.pem",)


def test_memory(make: Make) -> None:
    gatherer = make()
    (gatherer.root / "proc").mkdir()
    (gatherer.root / "proc/meminfo").write_text("MemTotal: 10 kB\nMemAvailable:    2 kB\n")
    assert gatherer.all().available == 2048


def test_all_questions_together_get_only_so_long() -> None:
    """A client that never answers costs its time once, and is not asked again."""
    asked = []

    def slow(argv: Sequence[str], *, timeout_s: float) -> shell.Result:
        asked.append(argv)
        time.sleep(timeout_s)
        return shell.Result(argv=tuple(argv), returncode=124, stdout="", stderr="")

    ask = Asker(slow, seconds=0.2)
    started = time.monotonic()
    said = [ask(("docker", str(number)), timeout_s=30) for number in range(5)]
    assert time.monotonic() - started < 1
    assert [answer.returncode for answer in said] == [124] * 5
    assert len(asked) == 1


def test_space_is_measured_where_a_folder_would_be(tmp_path: Path) -> None:
    assert readings.free(str(tmp_path / "not" / "yet")) == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.05
    )
    assert readings.free("") == -1


def test_an_image_built_from_what_the_clone_holds_is_not_stale(make: Make) -> None:
    """With TORCH_BACKEND=auto the build that the image has is the one that counts."""
    gatherer = make()
    known = gatherer.all().settings
    assert known is not None
    for backend, named in (("cu126", "cu126"), ("pypi", "")):
        inputs = stack.Stack(settings=known, torch_backend=backend).inputs("jupyter")
        image = facts.Image(service="jupyter", inputs=inputs, backend=named, size=1)
        other = facts.Image(service="tensorboard", inputs="x", backend="cpu", size=1)
        assert not gather.stale(known, (image,))
        assert gather.stale(known, (other, image))
    set_ = replace(known, torch_backend="cpu")
    assert gather.stale(set_, (image,))


def test_mig_instances_and_the_fabric_are_asked_for_where_they_can_be(make: Make) -> None:
    smi = "0, GPU-1, NVIDIA A100, 8.0, 580.95.05, Enabled, 40960 MiB\n"
    told = {
        **GOOD,
        "/usr/bin/nvidia-smi_--query": smi,
        "nvidia-smi_-L": "MIG 1g.5gb",
        "systemctl": "active\n",
    }
    gatherer = make(told=told, which=lambda name: f"/usr/bin/{name}")
    bridge = gatherer.root / "sys/bus/pci/devices/0000:03:00.0"
    bridge.mkdir(parents=True)
    (bridge / "vendor").write_text("0x10de")
    (bridge / "class").write_text("0x068000")
    found = gatherer.all()
    assert (found.smi_list, found.fabric) == ("MIG 1g.5gb", "active")
    whole = make(
        told={**told, "/usr/bin/nvidia-smi_--query": smi.replace("Enabled", "Disabled")},
        which=lambda name: f"/usr/bin/{name}",
    ).all()
    assert whole.smi_list == ""


def test_a_container_is_asked_for_its_gpu_only_if_it_has_one(make: Make) -> None:
    gatherer = make()
    gatherer.all()
    asked = [argv[-1] for argv in gatherer.ask.heard if argv[:2] == ("docker", "exec")]
    assert asked == ["ulimit -n; nvidia-smi -L"]
    plain = json.loads(json.dumps(CONTAINER))
    del plain["Config"]["Labels"]["dev.labcrate.gpu"]
    gatherer = make(told={**GOOD, "docker_container_inspect": json.dumps([plain])})
    gatherer.all()
    asked = [argv[-1] for argv in gatherer.ask.heard if argv[:2] == ("docker", "exec")]
    assert asked == ["ulimit -n"]


def test_nothing_to_inspect_asks_nothing(make: Make) -> None:
    gatherer = make(told={**GOOD, "docker_ps_--all": ""})
    assert gatherer.all().containers == ()
    assert not [
        argv for argv in gatherer.ask.heard if argv[:3] == ("docker", "container", "inspect")
    ]


def test_labs_whose_clone_was_deleted(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers each; this clone's own and one whose clone is there are no orphans."""
    labs = {"lab-facts-1": "/gone/compose", "lab-old": "/gone/compose", "lab-b": str(tmp_path)}
    rows = "".join(f"{lab}\t{folder}\n" * 2 for lab, folder in labs.items())
    found = make(told={**GOOD, "docker_container_ls": rows}).all()
    assert (found.orphans, found.crashed) == ((("lab-old", "/gone"),), ())
    monkeypatch.setenv("DOCKER_HOST", "ssh://far")
    assert make(told={**GOOD, "docker_container_ls": rows}).all().orphans == ()


def test_ports_without_an_engine(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that the engine's own proxy holds may be the lab's."""
    monkeypatch.setattr(stack, "port_is_free", lambda address, port: False)
    for holder, count in (("process 7 (python)", 2), ("process 8 (docker-proxy)", 0)):
        monkeypatch.setattr(stack, "process_on", lambda port, told=holder: told)
        assert len(make(told={}).all().held) == count


def test_a_wrong_uid_in_env_is_a_problem_and_no_crash(make: Make) -> None:
    gatherer = make()
    env = gatherer.clone / ".env"
    env.write_text(env.read_text().replace(f"LAB_UID={os.getuid()}", "LAB_UID=me"))
    found = gatherer.all()
    assert found.crashed == ()
    assert ["LAB_UID=me" in problem.text for problem in found.env_problems] == [True]
