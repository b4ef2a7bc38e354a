"""What the tasks ask the running JupyterLab, over its own API, on a real port."""

from __future__ import annotations

from dataclasses import replace

import pytest
from jupyter_server import JupyterServer

from labcrate.clone.settings import Settings
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.containers import Container
from labcrate.lab.health import Health
from labcrate.lab.jupyter import get, token_opens
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


def test_an_own_base_url_is_asked(snapshot: Snapshot, jupyter_server: JupyterServer) -> None:
    jupyter_server.failing = {"/api/status"}
    one = Container(id="1", state="running", check=Health(base_url="/x/"))
    assert not token_opens(snapshot)
    assert token_opens(replace(snapshot, containers={"jupyter": one}))


def test_nobody_there_is_no_answer(settings: Settings) -> None:
    for port in (None, 1):
        nobody = snapshot_of(settings, port)
        assert get(nobody, "/api") is None
        assert not token_opens(nobody)


def test_a_token_travels_in_a_header_alone(
    settings: Settings, jupyter_server: JupyterServer
) -> None:
    other = replace(settings, jupyter_token="another")
    answer = get(snapshot_of(other, jupyter_server.port), "/api/status")
    assert answer is not None
    assert answer.status == 403
