"""What is said of containers that died, from recorded answers of `docker container inspect`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from double import Double

from labcrate import labels
from labcrate.errors import Code
from labcrate.lab import notices as room
from labcrate.lab.containers import Container, inspected
from labcrate.lab.health import Health
from labcrate.lab.notices import notices, start_failure, unhealthy, watch


def inspection(**changes: Any) -> dict[str, Any]:
    state = {
        "Status": "running",
        "ExitCode": 0,
        "FinishedAt": "0001-01-01T00:00:00Z",
        "OOMKilled": False,
    }
    return {
        "Id": "c1",
        "State": state | {k: v for k, v in changes.items() if k in state},
        "RestartCount": changes.get("RestartCount", 0),
        "HostConfig": {"Memory": changes.get("Memory", 0)},
        "Config": {
            "Labels": {
                labels.COMPOSE_SERVICE: "jupyter",
                labels.COMPOSE_PROJECT: "lab-x",
                labels.ONEOFF: "False",
            }
        },
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"Memory": 2**30}, []),
        (
            {"OOMKilled": True, "Memory": 300 * 2**20},
            ["out of memory", "MEMORY_LIMIT (300 MiB)", "Raise it in .env"],
        ),
        ({"OOMKilled": True}, ["this machine ran out of memory", "MEMORY_LIMIT in .env"]),
        (
            {"RestartCount": 1, "FinishedAt": "2026-11-24T20:23:39.94Z"},
            ["restarted once", "2026-11-24 20:23:39 UTC", "invoke logs"],
        ),
        ({"RestartCount": 4}, ["restarted 4 times"]),
        (
            {"Status": "exited", "ExitCode": 137},
            ["ended or was stopped, exit code 137", "invoke up"],
        ),
    ],
)
def test_notices(changes: dict[str, Any], told: list[str]) -> None:
    said = notices([inspected(inspection(**changes))])
    assert len(said) == bool(told)
    assert [part for part in told if part not in said[0]] == []


def test_an_unhealthy_lab_says_memory_first_and_else_its_last_words() -> None:
    hungry = Container(
        id="1", service="jupyter", state="restarting", out_of_memory=True, memory=2**28
    )
    error = unhealthy([hungry], "said", "logs")
    assert (error.code, "out of memory" in error.problem) == (Code.UNHEALTHY, True)
    assert "MEMORY_LIMIT" in error.fix
    other = unhealthy([Container(id="1", service="jupyter", state="running")], "said", "logs")
    assert "said\nlogs" in other.problem


def test_a_setting_of_jupyter_that_is_refused_is_named() -> None:
    check = Health(refused="its settings name port 9999")
    error = unhealthy([Container(id="1", service="jupyter", check=check)], "said", "logs")
    assert (error.code, "port 9999" in error.problem) == (Code.UNHEALTHY, True)
    assert "~/.jupyter" in error.fix


def test_what_the_health_check_met_comes_first() -> None:
    check = Health(wrong="/api answers 500")
    error = unhealthy([Container(id="1", service="jupyter", check=check)], "said", "logs")
    assert "jupyter: /api answers 500\nsaid\nlogs" in error.problem


def test_known_words_of_the_engine_get_their_own_fix() -> None:
    error = start_failure("write /var/lib/x: no space left on device", "fine")
    assert error.code is Code.DISK_FULL
    assert error.problem.endswith("fine")


def answers(double: Double, *rows: dict[str, Any]) -> None:
    line = "\t".join(
        ["c1", "lab-x-jupyter-1", "Up", "", "lab-x", "jupyter", "/x", "False", *("",) * 4]
    )
    double.expect("docker", "ps", stdout=line + "\n")
    for row in reversed(rows):
        double.expect("docker", "container", "inspect", stdout=json.dumps([row]))


def test_an_uneventful_lab_is_read_once(double: Double) -> None:
    answers(double, inspection())
    assert [one.service for one in watch("lab-x")] == ["jupyter"]
    assert len(double.calls) == 2


def test_a_restless_lab_is_read_until_its_reason_shows(
    double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.time, "sleep", lambda _: answers(double, inspection(OOMKilled=True)))
    answers(double, inspection(Status="restarting"))
    assert [one.out_of_memory for one in watch("lab-x")] == [True]


def test_watching_has_an_end(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "WATCH_S", 0.0)
    answers(double, inspection(RestartCount=3))
    assert [one.restarts for one in watch("lab-x")] == [3]
