"""Starting and stopping the lab, and what that replaces."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from double import Double

from labcrate import labels
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.containers import Container
from labcrate.lab.lifecycle import (
    last_logs,
    look_again,
    plan_start,
    start_services,
    stop_services,
)
from labcrate.lab.snapshot import Snapshot

RECREATE = """ DRY-RUN MODE -  Container lab-test-1-jupyter-1  Recreate
 DRY-RUN MODE -  Container lab-test-1-jupyter-1  Recreated
 DRY-RUN MODE -  Container lab-test-1-tensorboard-1  Running
"""


def snapshot_of(settings: Settings, state: str = "running") -> Snapshot:
    raw: dict[str, Any] = {"services": {"jupyter": {}, "own": {"container_name": "mine"}}}
    jupyter = Container(id="1", name="lab-test-1-jupyter-1", state=state)
    return Snapshot(
        lab=Lab(settings=settings),
        model=parse_model(raw),
        containers={"jupyter": jupyter},
        images={},
    )


def test_starting_waits_and_shows_none_of_composes_lines(
    settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double.expect("docker", "compose", "up", stdout="Container x Started\n")
    assert start_services(Lab(settings=settings)).stdout == "Container x Started"
    (command,) = double.calls
    assert {"--detach", "--wait", "--no-build"} <= set(command)
    told = capsys.readouterr().out
    assert told.startswith("$ docker compose up")
    assert "Started" not in told


@pytest.mark.parametrize(("code", "times"), [(0, 2), (143, 2), (1, 1), (137, 1)])
def test_what_an_older_stop_ended_is_started_once_more(
    settings: Settings, double: Double, code: int, times: int
) -> None:
    """A `down` that was killed leaves a stop behind; one that ends by itself is a failure."""
    said = f"container lab-test-1-jupyter-1 exited ({code})\n"
    double.expect("docker", "compose", "up", stdout=said, returncode=1)
    assert not start_services(Lab(settings=settings)).ok
    assert len(double.calls) == times


def test_a_lab_that_does_not_stop_is_an_error(settings: Settings, double: Double) -> None:
    double.expect("docker", "compose", "down", "--remove-orphans")
    stop_services(Lab(settings=settings))
    double.expect("docker", "compose", "down", stderr="in use", returncode=1)
    with pytest.raises(LabError, match="in use") as caught:
        stop_services(Lab(settings=settings))
    assert caught.value.code is Code.UNHEALTHY


@pytest.mark.parametrize(
    ("state", "said", "names"),
    [("running", RECREATE, ["jupyter"]), ("running", "", []), ("exited", RECREATE, [])],
)
def test_what_the_next_up_replaces(
    settings: Settings, double: Double, state: str, said: str, names: list[str]
) -> None:
    """A container that ended loses nothing, so nothing is asked for it either."""
    double.expect("docker", "compose", "--dry-run", "up", stderr=said)
    snapshot = snapshot_of(settings, state)
    plan = plan_start(snapshot.lab, snapshot)
    assert (list(plan.replaced), plan.nothing) == (names, False)
    assert len(double.calls) == (state == "running")


STAYS = " DRY-RUN MODE -  Container lab-test-1-jupyter-1  Running\n"


@pytest.mark.parametrize(
    ("said", "health", "nothing"),
    [
        (STAYS, "healthy", True),
        (STAYS, "unhealthy", False),
        (STAYS + " DRY-RUN MODE -  Network lab-test-1_default  Created\n", "healthy", False),
        (STAYS.replace("Running", "Recreate"), "healthy", False),
        (STAYS.replace("jupyter", "other"), "healthy", False),
        ("no answer", "healthy", False),
    ],
    ids=["stays", "sick", "a network is made", "replaced", "another one", "an error"],
)
def test_nothing_is_to_be_started_only_where_compose_names_nothing_else(
    settings: Settings, double: Double, said: str, health: str, nothing: bool
) -> None:
    double.expect("docker", "compose", "--dry-run", "up", stderr=said)
    now = snapshot_of(settings)
    one = replace(now.containers["jupyter"], health=health)
    model = parse_model({"services": {"jupyter": {"healthcheck": {"test": ["CMD", "x"]}}}})
    now = replace(now, model=model, containers={"jupyter": one})
    assert plan_start(now.lab, now).nothing == nothing


def test_a_service_that_is_not_there_is_to_be_started(settings: Settings, double: Double) -> None:
    double.expect("docker", "compose", "--dry-run", "up", stderr=STAYS)
    assert not plan_start(snapshot_of(settings).lab, snapshot_of(settings)).nothing


def test_looking_again_is_one_question_by_name(settings: Settings, double: Double) -> None:
    def row(service: str, project: str) -> dict[str, Any]:
        told = {labels.COMPOSE_PROJECT: project, labels.COMPOSE_SERVICE: service}
        state = {"Status": "running", "ExitCode": 0}
        return {"Id": service, "State": state, "Config": {"Labels": told}}

    rows = [row("jupyter", "lab-test-1"), row("own", "another")]
    double.expect("docker", "container", "inspect", stdout=json.dumps(rows))
    after = look_again(snapshot_of(settings))
    assert double.calls == [("docker", "container", "inspect", "lab-test-1-jupyter-1", "mine")]
    assert {name: one.id for name, one in after.containers.items()} == {"jupyter": "jupyter"}


def test_the_last_words_of_each_service(settings: Settings, double: Double) -> None:
    double.expect("docker", "compose", "logs", "--tail", "15", stdout="boom")
    assert last_logs(Lab(settings=settings)) == "boom"
