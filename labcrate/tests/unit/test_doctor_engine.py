"""The doctor's checks of the engine and of Compose."""

from __future__ import annotations

from typing import Any

import pytest
from facts_of import HEALTHY, assert_told, changed, told, wrong

from labcrate.doctor.examine import examine
from labcrate.doctor.findings import summarise
from labcrate.engine.engine import refusal
from labcrate.errors import Code, LabError

ENGINE = [
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
    ({"buildx": (0, 13)}, "engine", "error", "too old", "docker-buildx"),
    ({"engine.client_path": "/snap/bin/docker"}, "kind", "warning", "snap", "snap remove"),
    (
        {"engine.operating_system": "Docker Desktop"},
        "kind",
        "warning",
        "virtual machine",
        "docker context use default",
    ),
    ({"engine.security": ("rootless",)}, "kind", "info", "rootless", "enable-linger"),
    (
        {"engine.security": ("rootless",)},
        "user",
        "error",
        "the engine is rootless, and .env says LAB_UID=1000",
        "set LAB_UID=0 and LAB_GID=0",
    ),
    ({"settings.uid": 0}, "user", "warning", "root of this machine", "empty LAB_UID"),
    (
        {"settings.memory_limit": 2**30, "engine.limits_memory": False},
        "limiting",
        "warning",
        "cannot enforce MEMORY_LIMIT",
        "MEMORY_LIMIT=0",
    ),
    ({"info": {"PidsLimit": False}}, "limiting", "info", "PIDS_LIMIT", "Delegate=yes"),
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
        {"unanswered": ("docker image inspect", "docker logs")},
        "unanswered",
        "warning",
        "not answered in time, so what they ask about is unknown: docker image inspect,",
        "systemctl restart docker",
    ),
    (
        {"unanswered": ("nvidia-smi",)},
        "unanswered",
        "warning",
        "unknown: nvidia-smi",
        "less busy)",
    ),
    (
        {"lab.refusal": LabError("Compose refuses x", fix="fix x", code=Code.SETTINGS)},
        "compose",
        "error",
        "Compose refuses x",
        "fix x",
    ),
]


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), ENGINE, ids=lambda v: str(v)[:40]
)
def test_the_engine(
    changes: dict[str, Any], check: str, severity: str, problem: str, fix: str
) -> None:
    assert_told(changed(HEALTHY, changes), check, severity, problem, fix)


@pytest.mark.parametrize(
    "changes",
    [
        {"engine.security": ("rootless",), "settings.uid": 0, "settings.gid": 0},
        {"engine.security": ("userns",), "settings.uid": 0},
        {"engine.operating_system": "Docker Desktop", "settings.uid": 0},
        {"engine.limits_memory": False},
        {"settings.memory_limit": 2**30},
        {"engine.security": ("rootless",), "settings": None},
    ],
    ids=str,
)
def test_users_and_limits_that_are_right(changes: dict[str, Any]) -> None:
    facts = changed(HEALTHY, changes)
    assert told(facts, "user") == told(facts, "limiting") == []


def test_what_was_not_answered_is_not_missing() -> None:
    unknown = changed(
        HEALTHY,
        {
            "engine": None,
            "buildx": None,
            "unanswered": ("docker info",),
        },
    )
    assert [f.check for f in wrong(unknown)] == ["unanswered"]
    assert summarise(examine(unknown)) == "1 warning"


def test_a_slow_driver_is_no_reason_to_restart_the_engine() -> None:
    (found,) = told(changed(HEALTHY, {"unanswered": ("nvidia-smi",)}), "unanswered")
    assert "docker" not in found.fix


@pytest.mark.parametrize(
    "changes",
    [{"engine": None}, {"engine.compose": (2, 20)}],
    ids=["no engine", "an old Compose"],
)
def test_a_refusal_of_compose_with_a_cause_of_its_own_is_reported_once(
    changes: dict[str, Any],
) -> None:
    refused = {"lab.refusal": LabError("x", fix="y", code=Code.SETTINGS)}
    assert told(changed(HEALTHY, {**changes, **refused}), "compose") == []
