"""`invoke doctor` on the real engine, and where there is none: it tells, quickly, and changes
nothing."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clone import Lab, clean_environ, copy_tree, said

from labcrate.errors import Code

LISTS = 20
"""How often `invoke --list` (0.3 s) could run meanwhile; a deaf engine costs the doctor 4 s."""


def examined(lab: Lab, **environ: Any) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the findings, told within the time that the doctor may take."""
    started = time.monotonic()
    done = lab.invoke("doctor", "--json", check=False, **environ)
    asked = time.monotonic()
    lab.invoke("--list")
    took, listing = asked - started, time.monotonic() - asked
    assert took < LISTS * listing, f"{took:.1f} s, `invoke --list` {listing:.1f} s"
    assert "Traceback" not in said(done), said(done)
    return done.returncode, json.loads(done.stdout)


def named(findings: list[dict[str, Any]], check: str, severity: str) -> list[dict[str, Any]]:
    return [f for f in findings if (f["check"], f["severity"]) == (check, severity)]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A clone as it is before `setup`: no .env, no folders' owner, nothing built."""
    return Lab(root=copy_tree(tmp_path_factory.mktemp("bare")))


def test_a_lab_that_is_up_is_healthy(up_lab: Lab) -> None:
    code, findings = examined(up_lab)
    assert [f for f in findings if f["severity"] == "error"] == []
    assert code == 0
    assert not [f for f in findings if "could not look" in f["problem"]]
    table = up_lab.invoke("doctor").stdout
    assert "doctor" in table
    assert " s)" in table.splitlines()[-1]


def test_it_changes_nothing(up_lab: Lab) -> None:
    before = everything(up_lab)
    up_lab.invoke("doctor")
    examined(up_lab)
    assert everything(up_lab) == before


def everything(lab: Lab) -> dict[str, str]:
    """The clone's files, each with its content, mode and owner; and the lab on the engine."""
    found = {}
    for path in sorted(lab.root.rglob("*")):
        if "__pycache__" not in path.parts and path.is_file():
            status = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = f"{digest} {status.st_mode} {status.st_uid} {status.st_mtime_ns}"
    label = f"label=dev.labcrate.project={lab.project}"
    for kind in (("ps", "--all", "--no-trunc"), ("network", "ls"), ("volume", "ls"), ("images",)):
        listed = lab.docker(*kind, "--filter", label, "--format", "{{json .}}").stdout
        rows = [json.loads(line) for line in listed.splitlines()]
        # How long something has been there is told in words, which age; labels come in any order.
        aging = ("RunningFor", "Status", "CreatedSince")
        kept = [{k: v for k, v in row.items() if k not in aging} for row in rows]
        ordered = [{k: sorted(str(v).split(",")) for k, v in row.items()} for row in kept]
        found[" ".join(kind)] = json.dumps(ordered, sort_keys=True)
    return found


def test_a_dead_service_and_a_strangers_file_are_found(up_lab: Lab) -> None:
    """Two faults at once, each with its fix; mended, neither is told any more."""
    strange = up_lab.root / "runs" / "strange"
    strange.touch()
    if os.geteuid() == 0:
        os.chown(strange, 4321, 4321)
    up_lab.docker("kill", up_lab.container("tensorboard"))
    try:
        code, findings = examined(up_lab)
    finally:
        strange.unlink()
        up_lab.invoke("up")
    assert code == Code.FINDINGS
    (dead,) = named(findings, "health", "error")
    assert dead["problem"] == "tensorboard is exited with status 137"
    if os.geteuid() == 0:
        (file,) = named(findings, "folders", "warning")
        assert "runs/strange" in file["problem"]
    code, findings = examined(up_lab)
    assert code == 0
    assert named(findings, "folders", "warning") == []


def test_a_log_that_tells_a_known_failure(up_lab: Lab) -> None:
    """What the service says itself, through the engine's own log."""
    script = "echo \"PermissionError: [Errno 13] Permission denied: '/lab/runs/x'\" > /proc/1/fd/1"
    assert up_lab.exec("sh", "-c", script).returncode == 0
    _, findings = examined(up_lab)
    (known,) = named(findings, "logs", "warning")
    assert "jupyter said: PermissionError" in known["problem"]
    assert "chown" in known["fix"]


def test_no_engine_at_that_address(bare: Lab) -> None:
    code, findings = examined(bare, DOCKER_HOST="unix:///no")
    assert code == Code.FINDINGS
    (engine,) = named(findings, "engine", "error")
    assert "unix:///no" in engine["problem"]
    assert "unset DOCKER_HOST" in engine["fix"]


@pytest.fixture
def silent() -> Iterator[str]:
    """An engine that takes every connection, in its kernel's queue, and never says a word."""
    # A socket's path may have 107 bytes, and pytest's own folders are long.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/engine.sock")
        server.listen(16)
        yield f"unix://{folder}/engine.sock"


def test_an_engine_that_never_answers(bare: Lab, silent: str) -> None:
    code, findings = examined(bare, DOCKER_HOST=silent)
    assert code == Code.FINDINGS
    assert "no container engine answers" in named(findings, "engine", "error")[0]["problem"]


def test_no_env_yet(bare: Lab) -> None:
    """The engine is judged all the same."""
    code, findings = examined(bare)
    assert code == Code.FINDINGS
    errors = [f["problem"] for f in findings if f["severity"] == "error"]
    # How much room the engine has here is not this test's.
    assert [said for said in errors if "are free for the engine" not in said] == [
        "there is no .env in this clone yet"
    ]


def test_no_docker_at_all(bare: Lab, tmp_path: Path) -> None:
    code, findings = examined(bare, PATH=str(tmp_path))
    assert code == Code.FINDINGS
    (engine,) = named(findings, "engine", "error")
    assert "no `docker` command" in engine["problem"]


def test_a_gpu_proof_without_a_gpu_tells_the_doctors_reasons(up_lab: Lab) -> None:
    """No GPU here: the proof fails, and says what the doctor knows. On a GPU it must pass."""
    if Path("/dev/nvidiactl").exists():
        pytest.fail("this test is for machines without a GPU: run `nox -s gpu_smoke` here")
    done = subprocess.run(
        [sys.executable, "-m", "labcrate.smoke.prove", "gpu"],
        cwd=up_lab.root,
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == Code.GPU_NOT_OFFERED
    assert "what the doctor finds" in done.stdout
    assert "no NVIDIA card" in done.stdout
