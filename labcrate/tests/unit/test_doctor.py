"""The doctor's list of checks and how it reports. A machine that is fine gets no warning."""

from __future__ import annotations

import json

import pytest
import test_doctor_engine
import test_doctor_folders
import test_doctor_gpu
import test_doctor_lab
import test_doctor_machine
import test_doctor_torch
from facts_of import GPU_BOX, HEALTHY, changed, told, wrong

from labcrate.doctor.examine import CHECKS, examine, subject
from labcrate.doctor.findings import Finding, as_json, has_errors, show_findings, summarise


def test_a_healthy_lab_without_a_gpu() -> None:
    assert wrong(HEALTHY) == []
    assert [f.problem for f in told(HEALTHY, "card")] == ["no NVIDIA card: the lab runs on the CPU"]
    assert not has_errors(examine(HEALTHY))


def test_a_healthy_lab_with_a_gpu() -> None:
    assert wrong(GPU_BOX) == []
    (way,) = told(GPU_BOX, "way")
    assert "through CDI" in way.problem
    assert "RTX 4090" in way.problem


def test_every_check_has_a_row_in_these_tables() -> None:
    """A check without one could be dead."""
    rows = (
        *test_doctor_engine.ENGINE,
        *test_doctor_folders.FOLDERS,
        *test_doctor_gpu.GPU,
        *test_doctor_lab.LAB,
        *test_doctor_machine.MACHINE,
        *test_doctor_torch.TORCH,
    )
    assert {row[1] for row in rows} | {"card"} == {subject(check) for check in CHECKS}


def test_a_check_that_crashes_is_one_line() -> None:
    broken = changed(HEALTHY, {"lab.containers": (None,)})
    found = [f for f in examine(broken) if "could not look" in f.problem]
    assert {f.check for f in found} == {"health", "limits", "moved", "logs", "lost", "writable"}
    assert told(broken, "card")


def test_errors_come_first_and_programs_can_read_them() -> None:
    facts = changed(HEALTHY, {"env_mode": 0o644, "jupyter.restarts": 1})
    found = examine(facts)
    assert [f.severity for f in found] == ["error", "warning", "info"]
    rows = json.loads(json.dumps(as_json(found)))
    assert rows[0] == {
        "severity": "error",
        "check": "env",
        "problem": "other users can read .env (mode 644), which holds the token",
        "fix": "chmod 600 .env",
    }
    assert summarise(found) == "1 error, 1 warning"
    assert summarise([*found, *found]) == "2 errors, 2 warnings"
    assert summarise(told(HEALTHY, "card")) == "nothing is wrong"


def test_the_table_shows_words_in_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich reads `[x]` as markup; engines' messages are full of it."""
    show_findings([Finding(severity="error", check="x", problem="[[gpu]] [bold]", fix="[/]")])
    out = capsys.readouterr().out
    assert "[[gpu]] [bold]" in out
    assert "[/]" in out
