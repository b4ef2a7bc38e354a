"""The doctor's checks: facts in, findings out. A machine that is fine says nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from facts_of import CARD, GPU_BOX, HEALTHY, HOST, MIG_CARD, OLD_CARD, SPEC

from labcrate import doctor
from labcrate.checks import Finding
from labcrate.engine import refusal
from labcrate.errors import Code, LabError
from labcrate.facts import Disk, Facts, Folder, Image, Pci
from labcrate.nvidia import Host
from labcrate.settings import Problem

GB = 10**9
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.9"
PCI = Pci(address="0000:01:00.0", kind="0x030000", driver="")
NO_TOOLS = replace(HOST, tools=())


def told(facts: Facts, check: str) -> list[Finding]:
    return [finding for finding in doctor.examine(facts) if finding.check == check]


def wrong(facts: Facts) -> list[Finding]:
    return [finding for finding in doctor.examine(facts) if finding.severity != "info"]


def changed(base: Facts, changes: dict[str, Any]) -> Facts:
    """Fields by name; `engine.x`, `host.x`, `settings.x` and `jupyter.x` change what is in one."""
    for name, value in changes.items():
        outer, _, inner = name.partition(".")
        if outer == "jupyter":
            one = replace(base.containers[0], **{inner: value})
            base = replace(base, containers=(one, *base.containers[1:]))
        elif inner:
            base = replace(base, **{outer: replace(getattr(base, outer), **{inner: value})})
        else:
            base = replace(base, **{outer: value})
    return base


def test_a_healthy_lab_without_a_gpu() -> None:
    assert wrong(HEALTHY) == []
    assert [f.problem for f in told(HEALTHY, "card")] == ["no NVIDIA card: the lab runs on the CPU"]
    assert not doctor.failed(doctor.examine(HEALTHY))


def test_a_healthy_lab_with_a_gpu() -> None:
    assert wrong(GPU_BOX) == []
    (way,) = told(GPU_BOX, "way")
    assert "through CDI" in way.problem
    assert "RTX 4090" in way.problem


# Changes to the healthy lab without a GPU; the check that must tell, how gravely, and what.
HOST_AND_LAB = [
    ({"env_mode": None, "settings": None}, "env", "error", "no .env", "invoke setup"),
    ({"env_mode": 0o644}, "env", "error", "other users can read", "chmod 600 .env"),
    (
        {"env_problems": (Problem(text="JUPYTER_PORT=0 is not a port", fix="set it"),)},
        "env",
        "error",
        "JUPYTER_PORT=0",
        "set it",
    ),
    ({"read_only": True}, "clone", "error", "read-only", "clone it"),
    (
        {"folders": (Folder(path=Path("/lab/runs"), exists=False),)},
        "folders",
        "error",
        "missing: runs",
        "invoke setup",
    ),
    (
        {"folders": (Folder(path=Path("/lab/runs"), exists=True, mode=0o755),)},
        "folders",
        "error",
        "belongs to root",
        "sudo chown -R 1000:1000 '/lab/runs'",
    ),
    (
        {
            "folders": (
                Folder(
                    path=Path("/lab/my runs"),
                    exists=True,
                    uid=1000,
                    gid=1000,
                    mode=0o755,
                    strangers=("runs/a",),
                ),
            )
        },
        "folders",
        "warning",
        "runs/a",
        "sudo chown -R 1000:1000 '/lab/my runs'",
    ),
    (
        {"held": (Problem(text="JUPYTER_PORT=8888 is taken by the container x", fix="stop it"),)},
        "ports",
        "error",
        "the container x",
        "stop it",
    ),
    (
        {
            "engine": None,
            "refusal": refusal("dial: permission denied"),
            "held": (Problem(text="JUPYTER_PORT=8888 is taken by another process", fix="x"),),
        },
        "ports",
        "warning",
        "another process",
        "x",
    ),
    (
        {"engine": None, "refusal": refusal("permission denied while trying to connect")},
        "engine",
        "error",
        "may not use its socket",
        "usermod -aG docker",
    ),
    (
        {"engine": None, "refusal": refusal("Cannot connect to the Docker daemon")},
        "engine",
        "error",
        "Cannot connect",
        "invoke setup",
    ),
    (
        {
            "engine": None,
            "refusal": LabError("there is no engine", fix="install", code=Code.ENGINE_MISSING),
        },
        "engine",
        "error",
        "no engine",
        "install",
    ),
    ({"engine.version": (20, 10)}, "engine", "error", "version 20.10", "update Docker Engine"),
    ({"engine.compose": (0, 0)}, "engine", "error", "Compose is missing", "docker-compose"),
    ({"engine.compose": (2, 20)}, "engine", "error", "Compose is version 2.20", "docker-compose"),
    ({"buildx": (0, 0)}, "engine", "error", "Buildx is missing", "docker-buildx"),
    ({"buildx": (0, 13)}, "engine", "error", "older than this Compose", "docker-buildx"),
    ({"engine.podman": True}, "kind", "error", "Podman", "podman-docker"),
    ({"engine.client_path": "/snap/bin/docker"}, "kind", "warning", "snap", "snap remove"),
    (
        {"engine.operating_system": "Docker Desktop"},
        "kind",
        "warning",
        "virtual machine",
        "docker context use default",
    ),
    ({"engine.security": ("rootless",)}, "kind", "warning", "rootless", "context use default"),
    ({"engine.security": ("userns",)}, "kind", "warning", "userns-remap", "daemon.json"),
    ({"engine.security": ("selinux",)}, "kind", "warning", "SELinux", "chcon"),
    (
        {"engine.kernel": "5.15.153.1-microsoft-standard-WSL2"},
        "kind",
        "info",
        "WSL 2",
        "nothing to do",
    ),
    (
        {"engine.host": "ssh://far", "engine.context": "far"},
        "where",
        "warning",
        "ssh://far, by the docker context far",
        "docker context use default",
    ),
    (
        {
            "engine.host": "unix:///run/user/1000/docker.sock",
            "environ": {"DOCKER_HOST": "unix:///run/user/1000/docker.sock"},
        },
        "where",
        "info",
        "by DOCKER_HOST",
        "docker context ls",
    ),
    (
        {"disks": (Disk(what="the engine", path="/var/lib/docker", free=5 * GB),)},
        "disk",
        "warning",
        "5.0 GB are free for the engine (/var/lib/docker); 16.0 GB are wanted",
        "invoke clean --cache",
    ),
    (
        {"disks": (Disk(what="the engine", path="/d", free=5 * GB),), "images": ()},
        "disk",
        "error",
        "14.0 GB are wanted",
        "invoke clean --cache",
    ),
    (
        {"disks": (Disk(what="containerd's image store", path="/c", free=GB // 2),)},
        "disk",
        "error",
        "containerd's image store",
        "docker system df",
    ),
    (
        {"disks": (Disk(what="your folders", path="/home/me", free=GB // 2),)},
        "disk",
        "warning",
        "your folders (/home/me)",
        "ROOT_DIR",
    ),
    ({"info": {"MemTotal": 2 * GB}}, "memory", "warning", "2.0 GB of memory", ".wslconfig"),
    ({"available": GB // 4}, "memory", "warning", "250.0 MB of memory are free", "kernels"),
    ({"skew_s": -3600.0}, "clock", "warning", "3600 s behind", "hwclock"),
    ({"skew_s": 90.0}, "clock", "warning", "90 s ahead of", "hwclock"),
    ({"files_ahead_s": 2.0 * 24 * 3600}, "clock", "warning", "before the day", "timedatectl"),
    (
        {"environ": {"SSL_CERT_FILE": "/no.pem"}, "missing_bundles": ("/no.pem",)},
        "proxy",
        "error",
        "SSL_CERT_FILE names a file that is not there: /no.pem",
        "unset SSL_CERT_FILE",
    ),
    (
        {"environ": {"https_proxy": "http://p:1"}},
        "proxy",
        "info",
        "https_proxy is set, and no certificate",
        "SSL_CERT_FILE",
    ),
    (
        {"environ": {"HTTP_PROXY": "http://p:1", "PIP_CERT": "/ca.pem"}},
        "proxy",
        "info",
        "the engine has no proxy",
        "daemon.json",
    ),
    ({"ca_there": False}, "proxy", "warning", "not taken over", "invoke setup"),
    ({"images": ()}, "images", "info", "not built yet", "invoke up"),
    ({"stale": True}, "images", "warning", "older than", "invoke up"),
    (
        {"jupyter.status": "exited", "jupyter.exit_code": 3},
        "health",
        "error",
        "jupyter is exited with status 3",
        "invoke logs --service jupyter",
    ),
    ({"jupyter.status": "restarting"}, "health", "error", "is restarting", "invoke logs"),
    ({"jupyter.oom": True}, "health", "error", "more memory than it may", "MEMORY_LIMIT"),
    ({"jupyter.health": "unhealthy"}, "health", "error", "does not answer", "invoke down up"),
    ({"jupyter.restarts": 2}, "health", "warning", "started anew 2 times", "invoke logs"),
    ({"jupyter.shm": 64 * 2**20}, "limits", "warning", "67.1 MB", "SHM_SIZE"),
    ({"jupyter.inside": "1024\n"}, "limits", "warning", "may open 1024 files", "default-ulimits"),
    ({"jupyter.folder": "/old/compose"}, "moved", "warning", "/old/compose", "invoke up"),
    (
        {"orphans": (("lab-old-1", "/gone"),)},
        "orphans",
        "warning",
        "its clone is gone (/gone)",
        "COMPOSE_PROJECT_NAME=lab-old-1 invoke clean --all",
    ),
    (
        {"jupyter.logs": "fine\nPermissionError: [Errno 13] Permission denied: '/lab/x'\n"},
        "logs",
        "warning",
        "jupyter said: PermissionError",
        "chown",
    ),
    ({"crashed": (("disk", "OSError: x"),)}, "disk", "warning", "OSError: x", "report"),
]

# Changes to the healthy lab with a GPU.
GPU = [
    (
        {"host": Host(), "pci": (PCI,), "specs": ()},
        "driver",
        "error",
        "an NVIDIA card and no NVIDIA driver",
        "580 or newer",
    ),
    (
        {"host": Host(), "pci": (replace(PCI, driver="nouveau"),), "specs": ()},
        "driver",
        "error",
        "nouveau drives it",
        "580 or newer",
    ),
    (
        {"host": Host(), "pci": (replace(PCI, driver="vfio-pci"),), "specs": ()},
        "driver",
        "error",
        "virtual machine",
        "give the card back",
    ),
    (
        {"host": Host(smi_found=True, smi="has failed"), "pci": (PCI,), "specs": ()},
        "driver",
        "error",
        "installed and not loaded",
        "modprobe nvidia",
    ),
    (
        {"host.smi": MISMATCH, "host.cards": (), "host.on_disk": "580.99"},
        "driver",
        "error",
        "(580.95.05 runs, 580.99 is installed)",
        "reboot",
    ),
    ({"host.on_disk": "590.11"}, "driver", "warning", "next boot loads", "reboot"),
    (
        {"host.smi": "No devices were found", "host.cards": ()},
        "driver",
        "error",
        "finds no card that works",
        "dmesg",
    ),
    ({"host.smi": "odd\nx", "host.cards": ()}, "driver", "error", "nvidia-smi fails: odd", "dmesg"),
    (
        {"host.smi_found": False, "host.cards": ()},
        "driver",
        "warning",
        "nvidia-smi is missing",
        "install it",
    ),
    ({"host.devices": ("nvidia0",)}, "uvm", "warning", "/dev/nvidia-uvm", "nvidia-modprobe"),
    ({"nvswitch": True, "fabric": "inactive"}, "fabric", "error", "NVSwitch", "fabricmanager"),
    (
        {"host.cards": (MIG_CARD,), "smi_list": "GPU 0: NVIDIA A100 (UUID: GPU-1)\n"},
        "mig",
        "error",
        "cut into no instance",
        "mig -cgi",
    ),
    (
        {"specs": (replace(SPEC, versions=("570.86.15",)),)},
        "cdi",
        "error",
        "is for driver 570.86.15, and 580.95.05 runs",
        "nvidia-cdi-refresh",
    ),
    (
        {"specs": (replace(SPEC, gone=("/dev/nvidia1",)),)},
        "cdi",
        "error",
        "not there: /dev/nvidia1",
        "nvidia-ctk cdi generate",
    ),
    (
        {"specs": (SPEC, replace(SPEC, path="/etc/cdi/nvidia.yaml"))},
        "cdi",
        "warning",
        "name the same GPUs",
        "sudo rm /etc/cdi/nvidia.yaml",
    ),
    ({"engine.cdi_devices": ()}, "cdi", "warning", "does not read", '"cdi": false'),
    (
        {"engine.cdi_devices": (), "specs": (), "host": NO_TOOLS},
        "way",
        "error",
        "the engine is not told of NVIDIA GeForce RTX 4090",
        "install nvidia-container-toolkit",
    ),
    (
        {"engine.cdi_devices": (), "specs": (), "host.tools": ("nvidia-ctk",)},
        "way",
        "error",
        "no GPU reaches containers",
        "sudo nvidia-ctk",
    ),
    (
        {"settings.gpu_devices": "7"},
        "way",
        "error",
        "GPU_DEVICES names 7",
        "use some of: 0, all",
    ),
    (
        {"engine.cdi_devices": (), "engine.runtimes": ("nvidia", "runc")},
        "cgroups",
        "warning",
        "daemon-reload",
        "use CDI",
    ),
    (
        {"host.loaded": "570.86.15", "host.on_disk": "570.86.15", "specs": ()},
        "build",
        "error",
        "needs a newer driver than 570.86.15",
        "it takes cu126",
    ),
    (
        {"host.loaded": "470.256.02", "host.on_disk": "470.256.02", "specs": ()},
        "build",
        "error",
        "too old",
        "update the driver",
    ),
    ({"host.cards": (OLD_CARD,)}, "build", "error", "no kernels for Tesla P100", "cu126"),
    (
        {"images": (Image(service="jupyter", inputs="", backend="cpu", size=1),)},
        "build",
        "warning",
        "build for CPUs",
        "it takes pypi",
    ),
    (
        {"settings.torch_backend": "cu126", "host.cards": (replace(CARD, capability=(12, 0)),)},
        "build",
        "error",
        "cu126 (CUDA 12.6) has no kernels",
        "it takes pypi",
    ),
    (
        {
            "jupyter.gpu": "gpu-cdi all",
            "jupyter.inside": "Failed to initialize NVML: Unknown Error",
        },
        "lost",
        "error",
        "lost its GPU",
        "invoke down up",
    ),
    ({"proof": "no kernel image"}, "lost", "error", "no kernel image", "nox -s gpu_smoke"),
]


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), HOST_AND_LAB, ids=lambda v: str(v)[:40]
)
def test_host_engine_and_lab(
    changes: dict[str, Any], check: str, severity: str, problem: str, fix: str
) -> None:
    found = told(changed(HEALTHY, changes), check)
    assert [(f.severity, problem in f.problem, fix in f.fix) for f in found][:1] == [
        (severity, True, True)
    ], found


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), GPU, ids=lambda v: str(v)[:40]
)
def test_gpu(changes: dict[str, Any], check: str, severity: str, problem: str, fix: str) -> None:
    found = told(changed(GPU_BOX, changes), check)
    assert [(f.severity, problem in f.problem, fix in f.fix) for f in found][:1] == [
        (severity, True, True)
    ], found


@pytest.mark.parametrize(("changes", "check", "severity", "problem", "fix"), GPU)
def test_a_lost_gpu_does_not_matter_where_none_is_wanted(
    changes: dict[str, Any], check: str, severity: str, problem: str, fix: str
) -> None:
    off = {**changes, "settings.gpu": "off"}
    grave = [f for f in told(changed(GPU_BOX, off), check) if f.severity == "error"]
    # A running lab that had a GPU and lost it is broken whatever .env says now.
    assert grave == [] or "lost its GPU" in problem


def test_every_check_can_tell_something() -> None:
    """A check without a row in these tables could be dead."""
    tried = {row[1] for row in (*HOST_AND_LAB, *GPU)} | {"card"}
    assert tried == {check.__name__ for check in doctor.CHECKS}


def test_a_gpu_that_must_be_on_and_is_not_there() -> None:
    (found,) = told(changed(HEALTHY, {"settings.gpu": "on"}), "card")
    assert (found.severity, "no NVIDIA card" in found.problem) == ("error", True)


def test_one_cause_is_told_once() -> None:
    """A mismatched driver is no reason to speak of the toolkit, too."""
    facts = changed(GPU_BOX, {"host.smi": MISMATCH, "host.cards": ()})
    assert [f.check for f in wrong(facts)] == ["driver"]


def test_an_engine_far_away_is_not_judged_by_this_machine() -> None:
    facts = changed(GPU_BOX, {"engine.host": "ssh://far", "host.smi": MISMATCH, "nvswitch": True})
    assert [f.check for f in wrong(facts)] == ["where"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (HEALTHY, ["no NVIDIA card"]),
        (changed(GPU_BOX, {"host.smi": MISMATCH, "host.cards": ()}), ["upgraded"]),
        (
            changed(GPU_BOX, {"engine.cdi_devices": (), "specs": (), "host.tools": ()}),
            ["no GPU reaches containers"],
        ),
        (GPU_BOX, ["containers get"]),
    ],
)
def test_reasons_for_a_gpu_that_does_not_work(facts: Facts, words: list[str]) -> None:
    found = doctor.gpu_reasons(facts)
    assert [word in finding.problem for word, finding in zip(words, found, strict=True)] == [
        True
    ] * len(words)


def test_a_check_that_crashes_is_one_line() -> None:
    broken = replace(HEALTHY, containers=(None,))  # type: ignore[arg-type]
    found = [f for f in doctor.examine(broken) if "could not look" in f.problem]
    assert {f.check for f in found} == {"health", "limits", "moved", "logs", "lost"}
    assert told(broken, "card")


def test_errors_come_first_and_programs_can_read_them() -> None:
    facts = changed(HEALTHY, {"env_mode": 0o644, "jupyter.restarts": 1})
    found = doctor.examine(facts)
    assert [f.severity for f in found] == ["error", "warning", "info"]
    rows = json.loads(json.dumps(doctor.as_json(found)))
    assert rows[0] == {
        "severity": "error",
        "check": "env",
        "problem": "other users can read .env (mode 644), which holds the token",
        "fix": "chmod 600 .env",
    }
    assert doctor.summary(found) == "1 error, 1 warning"
    assert doctor.summary(told(HEALTHY, "card")) == "nothing is wrong"


def test_the_table_shows_words_in_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich takes `[x]` for markup; engines' messages are full of it."""
    doctor.show([Finding(severity="error", check="x", problem="[[gpu]] [bold]", fix="[/]")])
    out = capsys.readouterr().out
    assert "[[gpu]] [bold]" in out
    assert "[/]" in out


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "open_"),
    [
        (0o755, 1000, 5, True),
        (0o555, 1000, 5, False),
        (0o775, 0, 1000, True),
        (0o755, 0, 1000, False),
        (0o777, 0, 0, True),
        (0o770, 0, 0, False),
        (0o075, 1000, 1000, False),
    ],
)
def test_who_may_write_into_a_folder(mode: int, uid: int, gid: int, open_: bool) -> None:
    """The owner's bits alone count for the owner, as the kernel has it."""
    folder = Folder(path=Path("/lab/runs"), exists=True, uid=uid, gid=gid, mode=mode)
    assert (told(replace(HEALTHY, folders=(folder,)), "folders") == []) is open_


def test_an_old_driver_that_still_does_is_told_without_alarm() -> None:
    facts = changed(GPU_BOX, {"host.loaded": "570.86.15", "host.on_disk": "570.86.15", "specs": ()})
    fits = replace(facts, images=(Image(service="jupyter", inputs="", backend="cu126", size=1),))
    (found,) = told(fits, "build")
    assert (found.severity, "the lab takes cu126" in found.problem) == ("info", True)
    assert told(GPU_BOX, "build") == []


@pytest.mark.parametrize(
    ("changes", "card"),
    [
        ({"host": Host(wsl=True, smi_found=True)}, True),
        ({"host": Host(wsl=True)}, False),
        ({"host": Host(smi_found=True)}, False),
        ({"host": Host(tegra=True)}, True),
        ({"pci": (PCI,)}, True),
        ({"pci": (PCI,), "engine": None}, True),
        ({"settings": None}, False),
    ],
)
def test_a_card_seen_from_any_side(changes: dict[str, Any], card: bool) -> None:
    assert (told(changed(HEALTHY, changes), "card") == []) is card


@pytest.mark.parametrize(("mode", "severity"), [("auto", "info"), ("on", "error"), ("off", "info")])
def test_an_engine_far_away_without_a_gpu(mode: str, severity: str) -> None:
    facts = changed(HEALTHY, {"engine.host": "ssh://far", "settings.gpu": mode, "host": HOST})
    (found,) = told(facts, "way")
    assert (found.severity, "ssh://far offers no GPU" in found.problem) == (severity, True)
    assert "on that machine" in found.fix


def test_a_gpu_is_judged_before_there_is_an_env() -> None:
    facts = changed(GPU_BOX, {"env_mode": None, "settings": None, "images": (), "containers": ()})
    assert [f.check for f in wrong(facts)] == ["env"]
    assert [f.check for f in wrong(changed(facts, {"engine.cdi_devices": ()}))] == [
        "env",
        "cdi",
        "cgroups",
    ]


def test_an_arm_machine_needs_a_newer_card() -> None:
    turing = replace(CARD, name="Tesla T4", capability=(7, 5))
    facts = changed(GPU_BOX, {"host.cards": (turing,), "engine.architecture": "aarch64"})
    assert "Tesla T4" in told(facts, "build")[0].problem
    assert told(changed(facts, {"engine.architecture": "x86_64"}), "build") == []
