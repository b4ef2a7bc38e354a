"""The doctor's checks of this machine and this clone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from facts_of import HEALTHY, assert_told, changed, told

from labcrate.clone.rules import Problem
from labcrate.doctor.facts import Disk
from labcrate.engine.engine import refusal

GB = 10**9
DISK = Disk(what="the engine", path="/var/lib/docker", free=5 * GB)

# Changes to the healthy lab without a GPU; the check that must report, how severely, and what.
MACHINE = [
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
        {
            "lab.held": (
                Problem(text="JUPYTER_PORT=8888 is taken by the container x", fix="stop it"),
            )
        },
        "ports",
        "error",
        "the container x",
        "stop it",
    ),
    (
        {
            "engine": None,
            "refusal": refusal("dial: permission denied"),
            "lab.listed": False,
            "lab.held": (Problem(text="JUPYTER_PORT=8888 is taken by another process", fix="x"),),
        },
        "ports",
        "warning",
        "another process",
        "x",
    ),
    (
        {"disks": (DISK,), "lab.stale": ("jupyter",)},
        "disk",
        "warning",
        "only 5.0 GB are free for the engine (/var/lib/docker); 16.0 GB are needed",
        "invoke clean --cache",
    ),
    (
        {
            "disks": (DISK,),
            "lab.images": {},
            "lab.stale": ("jupyter", "tensorboard"),
            "lab.missing": ("jupyter", "tensorboard"),
        },
        "disk",
        "error",
        "14.0 GB are needed",
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
        "SSL_CERT_FILE names a file that does not exist: /no.pem",
        "unset SSL_CERT_FILE",
    ),
    (
        {"environ": {"https_proxy": "http://p:1"}},
        "proxy",
        "info",
        "https_proxy is set, but no certificate",
        "SSL_CERT_FILE",
    ),
    (
        {"environ": {"HTTP_PROXY": "http://p:1", "PIP_CERT": "/ca.pem"}},
        "proxy",
        "info",
        "the engine has no proxy",
        "daemon.json",
    ),
    *(
        (
            {"environ": {name: f"http://u:pw@{host}:3128", "PIP_CERT": "/ca.pem"}},
            "proxy",
            "error",
            f"{name} (http://***@{host}:3128) is this machine's loopback",
            "docker0",
        )
        for name, host in (("HTTPS_PROXY", "127.0.0.1"), ("http_proxy", "localhost"))
    ),
    (
        {"ca_there": False},
        "proxy",
        "warning",
        "does not have this host's package settings",
        "invoke setup",
    ),
    ({"crashed": (("disk", "OSError: x"),)}, "disk", "warning", "OSError: x", "report"),
]


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), MACHINE, ids=lambda v: str(v)[:40]
)
def test_the_machine(
    changes: dict[str, Any], check: str, severity: str, problem: str, fix: str
) -> None:
    assert_told(changed(HEALTHY, changes), check, severity, problem, fix)


def test_no_false_alarm_about_the_disk() -> None:
    """With nothing to build, some GB are enough; and what is unknown is not to be built."""
    full = replace(HEALTHY, disks=(DISK,))
    assert told(full, "disk") == []
    assert told(changed(full, {"lab.images": None}), "disk") == []
    assert told(changed(full, {"lab.stale": ("tensorboard",)}), "disk") == []


def test_the_disk_is_judged_before_there_is_an_env() -> None:
    (found,) = told(replace(HEALTHY, disks=(DISK,), settings=None), "disk")
    assert "14.0 GB are needed" in found.problem
