"""One reading of the lab: what is asked, what comes of it, and whose ports are taken."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from double import Double

from labcrate import labels
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.containers import Container
from labcrate.lab.health import Health
from labcrate.lab.images import Image
from labcrate.lab.snapshot import Snapshot, take_snapshot, taken_port, taken_ports

RAW: dict[str, Any] = {
    "name": "lab-test-1",
    "services": {
        "jupyter": {
            "image": "lab-test-1/jupyter",
            "ports": [{"host_ip": "127.0.0.1", "published": "8888"}],
            "healthcheck": {"test": ["CMD", "true"]},
        },
        "cache": {"image": "redis:8"},
    },
}
INSPECTED = {
    "Id": "c1",
    "State": {"Status": "running", "ExitCode": 0, "Health": {"Status": "healthy"}},
    "Config": {
        "Labels": {
            labels.COMPOSE_PROJECT: "lab-test-1",
            labels.COMPOSE_SERVICE: "jupyter",
            labels.ONEOFF: "False",
        }
    },
}
LINE = "\t".join(["c1", "one", "Up", "", "lab-test-1", "jupyter", "/x", "False", *("",) * 4])


def answers(double: Double, backend: str = "cu126") -> None:
    image = {
        "Id": "sha256:1",
        "RepoTags": ["lab-test-1/jupyter:latest"],
        "Config": {"Labels": {labels.BACKEND: backend}},
    }
    double.expect("docker", "ps", stdout=LINE + "\n")
    double.expect("docker", "compose", "config", stdout=json.dumps(RAW))
    double.expect("docker", "container", "inspect", stdout=json.dumps([INSPECTED]))
    double.expect("docker", "image", "inspect", stdout=json.dumps([image] if backend else []))


def snapshot_of(settings: Settings, **changes: Any) -> Snapshot:
    made = Snapshot(
        lab=Lab(settings=settings), model=parse_model(RAW), containers={}, images={}, everyone=()
    )
    return replace(made, **changes)


def test_four_questions_are_enough(settings: Settings, double: Double) -> None:
    answers(double)
    seen = take_snapshot(settings)
    assert len(double.calls) == 4
    assert seen.jupyter is not None
    assert (seen.jupyter.id, seen.backend, seen.settings) == ("c1", "cu126", settings)
    assert [one.id for one in seen.everyone] == ["c1"]


@pytest.mark.parametrize(
    ("setting", "built", "backend"),
    [("auto", "cu126", "cu126"), ("auto", "", "pypi"), ("cpu", "cu126", "cpu")],
)
def test_the_labs_pytorch_is_what_env_says_or_the_image_has(
    settings: Settings, double: Double, setting: str, built: str, backend: str
) -> None:
    answers(double, built)
    assert take_snapshot(replace(settings, torch_backend=setting)).lab.torch_backend == backend


@pytest.mark.parametrize("question", [("docker", "ps"), ("docker", "image", "inspect")])
def test_an_engine_without_an_answer_is_refused(
    settings: Settings, double: Double, question: tuple[str, ...]
) -> None:
    answers(double)
    double.expect(*question, stderr="permission denied", returncode=1)
    with pytest.raises(LabError) as caught:
        take_snapshot(settings)
    assert caught.value.code is Code.ENGINE_DENIED


@pytest.mark.parametrize(
    ("jupyter", "cache", "healthy"),
    [
        (("running", "healthy"), ("running", ""), True),
        (("running", "starting"), ("running", ""), False),
        (("exited", "healthy"), ("running", ""), False),
        (("running", "healthy"), None, False),
    ],
)
def test_a_lab_is_healthy_as_a_whole(
    settings: Settings, jupyter: tuple[str, str], cache: tuple[str, str] | None, healthy: bool
) -> None:
    """A service without a check counts as healthy while it runs."""
    told = {"jupyter": jupyter, **({"cache": cache} if cache else {})}
    containers = {n: Container(id=n, state=s, health=h) for n, (s, h) in told.items()}
    seen = snapshot_of(settings, containers=containers)
    assert seen.is_healthy is healthy
    assert (seen.jupyter is not None) is (jupyter[0] == "running")


def test_links_lead_to_every_service_with_a_port(settings: Settings) -> None:
    found = snapshot_of(settings)
    assert found.links("t0ken") == {"jupyter": "http://127.0.0.1:8888/lab?token=t0ken"}
    assert found.links() == {"jupyter": "http://127.0.0.1:8888/"}


@pytest.mark.parametrize(("state", "base"), [("running", "/x/y/"), ("exited", "/")])
def test_links_follow_the_base_url_of_the_jupyterlab_that_runs(
    settings: Settings, state: str, base: str
) -> None:
    one = Container(id="1", state=state, check=Health(base_url="/x/y/"))
    found = snapshot_of(settings, containers={"jupyter": one})
    assert found.links("t0ken")["jupyter"] == f"http://127.0.0.1:8888{base}lab?token=t0ken"


def test_nothing_is_there_yet(settings: Settings) -> None:
    seen = snapshot_of(settings)
    assert (seen.jupyter, seen.backend, seen.is_healthy) == (None, "", False)
    image = Image(id="1", name="x", backend="cpu")
    assert snapshot_of(settings, images={"jupyter": image}).backend == "cpu"


@pytest.fixture
def port() -> Iterator[int]:
    """A port that this very process listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def on_port(settings: Settings, port: int, *everyone: Container) -> list[str]:
    service = {"ports": [{"host_ip": "127.0.0.1", "published": str(port)}]}
    model = parse_model({"name": "lab-test-1", "services": {"jupyter": service, "x": {}}})
    seen = snapshot_of(settings, model=model, everyone=everyone)
    return [problem.text for problem in taken_ports(seen)]


def test_a_process_on_a_port_is_named(settings: Settings, port: int) -> None:
    (told,) = on_port(settings, port)
    assert told.startswith(f"JUPYTER_PORT={port} is taken by process ")


@pytest.mark.parametrize(
    ("holder", "taken"),
    [
        (Container(id="1", project="lab-test-1", service="jupyter", own=True), False),
        (Container(id="1", name="y", project="lab-test-1", service="y", own=True), True),
        (Container(id="1", name="other", project="lab-other", own=True), True),
        (Container(id="1", name="by-hand", project="lab-test-1"), True),
    ],
)
def test_a_container_on_a_port_is_named_unless_it_is_the_labs(
    settings: Settings, port: int, holder: Container, taken: bool
) -> None:
    told = on_port(settings, port, replace(holder, ports=(port,)))
    assert told == [f"JUPYTER_PORT={port} is taken by the container {holder.name}"] * taken


def test_a_port_of_a_container_that_comes_and_goes_is_the_labs(
    settings: Settings, port: int
) -> None:
    """The engine holds it while it starts that container again, and lists no port."""
    one = Container(id="1", project="lab-test-1", service="jupyter", own=True, state="restarting")
    assert on_port(settings, port, one) == []
    assert on_port(settings, port, replace(one, project="lab-other"))
    assert on_port(settings, port, replace(one, service="tensorboard"))


def test_an_owners_port_is_moved_in_compose() -> None:
    problem = taken_port("mlflow", 5000, "x")
    assert problem.text == "port 5000 of the service mlflow is taken by x"
    assert "in compose/" in problem.fix
    assert "JUPYTER_PORT in .env" in taken_port("jupyter", 1, "x").fix
