"""What is said of containers that died, from recorded answers of `docker container inspect`."""

from __future__ import annotations

from typing import Any

import pytest

from labcrate import lives
from labcrate.errors import Code
from labcrate.lives import Life


def inspected(**changes: Any) -> dict[str, Any]:
    state = {
        "Status": "running",
        "ExitCode": 0,
        "FinishedAt": "0001-01-01T00:00:00Z",
        "OOMKilled": False,
    }
    return {
        "State": state | {k: v for k, v in changes.items() if k in state},
        "RestartCount": changes.get("RestartCount", 0),
        "HostConfig": {"Memory": changes.get("Memory", 0)},
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
            ["started again once", "2026-11-24 20:23:39 UTC", "invoke logs"],
        ),
        ({"RestartCount": 4}, ["started again 4 times"]),
        ({"Status": "exited", "ExitCode": 137}, ["stopped by itself, exit code 137"]),
    ],
)
def test_notices(changes: dict[str, Any], told: list[str]) -> None:
    notices = lives.notices([lives.parse("jupyter", inspected(**changes))])
    assert len(notices) == bool(told)
    assert [part for part in told if part not in notices[0]] == []


def test_an_unhealthy_lab_says_memory_first_and_else_its_last_words() -> None:
    hungry = Life(service="jupyter", status="restarting", out_of_memory=True, memory=2**28)
    error = lives.unhealthy([hungry], "said", "logs")
    assert (error.code, "out of memory" in error.problem) == (Code.UNHEALTHY, True)
    assert "MEMORY_LIMIT" in error.fix
    other = lives.unhealthy([Life(service="jupyter", status="running")], "said", "logs")
    assert "said\nlogs" in other.problem
