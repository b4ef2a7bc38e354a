"""What the tasks ask the running JupyterLab, over its own API, on a real port."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from double import Double
from jupyter_server import JupyterServer

from labcrate.clone.settings import Settings
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.jupyter import busy_kernels, get, token_opens
from labcrate.lab.snapshot import Snapshot


def snapshot_of(settings: Settings, port: int | None) -> Snapshot:
    ports = [{"host_ip": "127.0.0.1", "published": port}] if port else []
    model = parse_model({"services": {"jupyter": {"ports": ports}}})
    return Snapshot(lab=Lab(settings=settings), model=model, containers={}, images={})


@pytest.fixture
def snapshot(settings: Settings, jupyter_server: JupyterServer) -> Snapshot:
    return snapshot_of(settings, jupyter_server.port)


def test_the_token_of_env_opens_or_does_not(
    snapshot: Snapshot, jupyter_server: JupyterServer
) -> None:
    assert token_opens(snapshot)
    jupyter_server.token = "another"
    assert not token_opens(snapshot)


def test_nobody_there_is_no_answer(settings: Settings) -> None:
    for port in (None, 1):
        nobody = snapshot_of(settings, port)
        assert get(nobody, "/api") is None
        assert not token_opens(nobody)
        assert busy_kernels(nobody) == []


def test_notebooks_that_compute_are_named(
    snapshot: Snapshot, jupyter_server: JupyterServer, double: Double
) -> None:
    """As the lab's processes have it: JupyterLab remembers what a killed kernel last said."""
    jupyter_server.busy("train.ipynb", "k1")
    jupyter_server.busy("killed.ipynb", "k2")
    jupyter_server.kernels.append({"id": "kernel-without-notebook", "execution_state": "busy"})
    jupyter_server.kernels.append({"id": "k4", "execution_state": "idle"})
    answer = ["k1", "kernel-without-notebook"]
    double.expect("docker", "compose", "exec", "busy", "k1", "k2", stdout=json.dumps(answer))
    assert busy_kernels(snapshot) == ["train.ipynb", "kernel kernel-w"]


def test_all_count_where_the_lab_gives_no_answer(
    snapshot: Snapshot, jupyter_server: JupyterServer, double: Double
) -> None:
    jupyter_server.busy("train.ipynb")
    double.expect("docker", "compose", "exec", "busy", returncode=1)
    assert busy_kernels(snapshot) == ["train.ipynb"]


@pytest.mark.parametrize("path", ["/api/sessions", "/api/kernels"])
def test_a_server_that_fails_has_no_busy_kernels(
    snapshot: Snapshot, jupyter_server: JupyterServer, path: str
) -> None:
    jupyter_server.busy("train.ipynb")
    jupyter_server.failing.add(path)
    assert busy_kernels(snapshot) == []


def test_idle_kernels_ask_nothing_of_the_lab(
    snapshot: Snapshot, jupyter_server: JupyterServer, double: Double
) -> None:
    jupyter_server.kernels.append({"id": "k4", "execution_state": "idle"})
    assert busy_kernels(snapshot) == []
    assert double.calls == []


def test_a_token_travels_in_a_header_alone(
    settings: Settings, jupyter_server: JupyterServer
) -> None:
    other = replace(settings, jupyter_token="another")
    answer = get(snapshot_of(other, jupyter_server.port), "/api/status")
    assert answer is not None
    assert answer.status == 403
