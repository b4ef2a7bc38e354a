"""The workflows hold their rules: nothing that can be swapped under us, no rights they do not need,
a GPU runner that no stranger reaches and that is left as it was."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def load(path: Path) -> dict[str, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text())
    # YAML 1.1 takes the key `on` for a truth value.
    loaded["on"] = loaded.pop(True)
    return loaded


def jobs() -> list[Any]:
    return [
        pytest.param(job, id=f"{path.stem}-{name}")
        for path in FILES
        for name, job in load(path)["jobs"].items()
    ]


def steps(job: dict[str, Any], text: str) -> list[int]:
    """Where a job does this: in a command or with an action."""
    told = [step.get("run", "") + step.get("uses", "") for step in job["steps"]]
    return [index for index, said in enumerate(told) if text in said]


def test_there_are_two() -> None:
    assert [path.name for path in FILES] == ["ci.yml", "gpu.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_action_is_pinned_to_a_commit_and_names_its_version(path: Path) -> None:
    lines = [line.strip(" -") for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_may_read_the_code_and_nothing_else(path: Path) -> None:
    flow = load(path)
    assert flow["permissions"] == {"contents": "read"}
    assert [name for name, job in flow["jobs"].items() if "permissions" in job] == []
    assert "secrets." not in path.read_text()
    assert "pull_request_target" not in path.read_text()


@pytest.mark.parametrize("job", jobs())
def test_a_job_ends_and_keeps_no_credentials(job: dict[str, Any]) -> None:
    assert 0 < job["timeout-minutes"] <= 60
    checkouts = [s for s in job["steps"] if s.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 1
    assert checkouts[0]["with"]["persist-credentials"] is False


@pytest.mark.parametrize("job", jobs())
def test_a_job_has_no_key_that_is_a_typing_error(job: dict[str, Any]) -> None:
    """GitHub refuses the whole workflow for one, and tells it only after the push."""
    assert {"runs-on", "steps", "timeout-minutes"} <= set(job)
    assert set(job) <= {"name", "runs-on", "timeout-minutes", "concurrency", "steps"}
    for step in job["steps"]:
        assert ("run" in step) != ("uses" in step)
        assert set(step) <= {"name", "if", "run", "uses", "with", "timeout-minutes"}


@pytest.mark.parametrize("job", jobs())
def test_no_command_is_made_of_what_a_stranger_can_write(job: dict[str, Any]) -> None:
    """`${{ }}` in a command is pasted into the shell's text."""
    assert [step["run"] for step in job["steps"] if "${{" in step.get("run", "")] == []


def gpu_job() -> dict[str, Any]:
    found: dict[str, Any] = load(FOLDER / "gpu.yml")["jobs"]["gpu-smoke"]
    return found


def test_the_gpu_runner_runs_what_the_owner_starts_and_each_night() -> None:
    assert set(load(FOLDER / "gpu.yml")["on"]) == {"workflow_dispatch", "schedule"}
    assert gpu_job()["runs-on"] == ["self-hosted", "linux", "x64", "gpu"]


def test_one_card_runs_one_job() -> None:
    assert gpu_job()["concurrency"] == {"group": "gpu", "cancel-in-progress": False}


def test_the_gpu_job_proves_reports_and_cleans_up() -> None:
    """In this order, and the last three whatever happened before."""
    job = gpu_job()
    order = [
        steps(job, text)
        for text in (
            "invoke setup --yes up --gpu on",
            "nox -s gpu_smoke",
            "invoke doctor",
            "labcrate.smoke.prove summary reports/gpu_smoke.json",
            "actions/upload-artifact@",
            "invoke clean",
        )
    ]
    assert [len(found) for found in order] == [1] * 6
    assert order == sorted(order)
    assert order[-1] == [len(job["steps"]) - 1]
    always = [job["steps"][found[0]].get("if") for found in order]
    assert always == [None, None, "failure()", "always()", "always()", "always()"]
    (upload,) = order[4]
    kept = job["steps"][upload]["with"]["path"].split()
    assert kept == ["reports/gpu_smoke.xml", "reports/gpu_smoke.json"]
    assert "--yes" in job["steps"][-1]["run"]


def test_ci_runs_lint_and_the_readmes_two_commands() -> None:
    found = load(FOLDER / "ci.yml")["jobs"]
    assert steps(found["quick"], "nox -s lint unit") == [1]
    assert steps(found["engine"], ".ci/run") == [1]


def test_ci_brings_the_lab_up_on_both_processors() -> None:
    found = load(FOLDER / "ci.yml")["jobs"]
    assert found["engine"]["runs-on"] == "ubuntu-24.04"
    assert found["arm64"]["runs-on"] == "ubuntu-24.04-arm"
    order = [
        steps(found["arm64"], f"bootstrap.py {text}") for text in ("invoke setup --yes up", "nox")
    ]
    assert order[0] < order[1][-1:]


def test_zizmor_has_nothing_to_say() -> None:
    """Syntax, pins, permissions and injection, judged by a tool of its own."""
    tool = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [str(tool), "--offline", "--quiet", str(FOLDER)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
