"""The doctor's checks of the lab: its images, its containers and their logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from facts_of import HEALTHY, assert_told, changed, told

from labcrate.lab.health import Health

LAB = [
    (
        {"lab.missing": ("tensorboard",), "lab.stale": ("tensorboard",)},
        "images",
        "info",
        "not built yet: tensorboard",
        "invoke up",
    ),
    (
        {"lab.missing": ("tensorboard",), "lab.stale": ("jupyter", "tensorboard")},
        "images",
        "warning",
        "settings in .env: jupyter",
        "invoke up",
    ),
    (
        {"jupyter.state": "exited", "jupyter.exit_code": 3},
        "health",
        "error",
        "jupyter is exited with status 3",
        "invoke logs --service jupyter",
    ),
    ({"jupyter.state": "restarting"}, "health", "error", "is restarting", "invoke logs"),
    (
        {"jupyter.out_of_memory": True},
        "health",
        "error",
        "more memory than it may use",
        "MEMORY_LIMIT",
    ),
    ({"jupyter.health": "unhealthy"}, "health", "error", "does not answer", "invoke up"),
    (
        {"jupyter.health": "unhealthy", "jupyter.check": Health(refused="its port is 1")},
        "health",
        "error",
        "does not answer: its port is 1",
        "invoke up",
    ),
    ({"jupyter.state": "paused"}, "health", "error", "paused by hand", "invoke up"),
    (
        {"jupyter.check": Health(cannot_write=("/home/lab",))},
        "writable",
        "error",
        "cannot write in /home/lab",
        "docker run --rm --user 0 --volume",
    ),
    (
        {"jupyter.check": Health(cannot_write=("/lab/notebooks",))},
        "writable",
        "error",
        "cannot write in /lab/notebooks",
        "sudo chown -R",
    ),
    ({"jupyter.restarts": 2}, "health", "warning", "restarted 2 times", "invoke logs"),
    ({"jupyter.shm": 64 * 2**20}, "limits", "warning", "67.1 MB", "SHM_SIZE"),
    ({"jupyter.inside": "1024\n"}, "limits", "warning", "may open 1024 files", "default-ulimits"),
    ({"jupyter.folder": "/old/compose"}, "moved", "warning", "/old/compose", "invoke up"),
    (
        {"lab.orphans": (("lab-old-1", "/gone"),)},
        "orphans",
        "warning",
        "its clone is gone (/gone)",
        "invoke clean --lab lab-old-1 --all",
    ),
    (
        {"jupyter.logs": "fine\nPermissionError: [Errno 13] Permission denied: '/lab/x'\n"},
        "logs",
        "warning",
        "jupyter said: PermissionError",
        "chown",
    ),
]


@pytest.mark.parametrize(
    ("changes", "check", "severity", "problem", "fix"), LAB, ids=lambda v: str(v)[:40]
)
def test_the_lab(
    changes: dict[str, Any], check: str, severity: str, problem: str, fix: str
) -> None:
    assert_told(changed(HEALTHY, changes), check, severity, problem, fix)


def test_a_folder_of_another_owner_is_said_once() -> None:
    """check_folders says it, with the fix."""
    first, *others = HEALTHY.folders
    changes = {
        "folders": (replace(first, uid=7, mode=0o755), *others),
        "jupyter.check": Health(cannot_write=("/lab/notebooks",)),
    }
    facts = changed(HEALTHY, changes)
    assert told(facts, "writable") == []
    assert len(told(facts, "folders")) == 1


def test_without_settings_nothing_is_said_of_rights() -> None:
    changes = {"jupyter.check": Health(cannot_write=("/home/lab",)), "settings": None}
    assert told(changed(HEALTHY, changes), "writable") == []


def test_unknown_images_are_not_called_missing() -> None:
    assert told(changed(HEALTHY, {"lab.images": None}), "images") == []


def test_shared_memory_of_the_host_has_no_limit() -> None:
    facts = changed(HEALTHY, {"jupyter.shm": 64 * 2**20, "jupyter.ipc": "host"})
    assert told(facts, "limits") == []


def test_a_service_that_ended_has_no_limits() -> None:
    facts = changed(HEALTHY, {"jupyter.shm": 64 * 2**20, "jupyter.state": "exited"})
    assert told(facts, "limits") == []
