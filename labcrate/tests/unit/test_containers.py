"""The lab's containers, from recorded answers of `docker ps` and `docker container inspect`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clone import ROOT
from double import Double

from labcrate import labels
from labcrate.lab.containers import (
    ENTRY,
    Container,
    Unanswered,
    holder_of,
    inspect_containers,
    inspected,
    list_containers,
    of_project,
    published,
    read_containers,
    runs_of,
)

ROW: dict[str, Any] = {
    "Id": "c1",
    "Name": "/lab-x-jupyter-1",
    "Image": "sha256:1",
    "RestartCount": 2,
    "State": {
        "Status": "running",
        "ExitCode": 0,
        "FinishedAt": "2026-11-24T20:23:39.94Z",
        "OOMKilled": True,
        "Health": {"Status": "healthy"},
    },
    "HostConfig": {"Memory": 5, "ShmSize": 6, "IpcMode": "private"},
    "Config": {
        "Labels": {
            labels.COMPOSE_PROJECT: "lab-x",
            labels.COMPOSE_SERVICE: "jupyter",
            labels.COMPOSE_FOLDER: "/x/compose",
            labels.ONEOFF: "False",
            labels.GPU: "gpu-cdi all",
        }
    },
}


def line(
    ident: str, name: str, *, project: str = "", oneoff: str = "", ports: str = "", run: str = ""
) -> str:
    row = [ident, name, "Up 2 hours", ports, project, "jupyter", "/x", oneoff, ""]
    return "\t".join([*row, "running", run, '"python train.py"'])


LISTED = "\n".join(
    [
        line("c1", "lab-x-jupyter-1", project="lab-x", oneoff="False"),
        line("c2", "lab-x-jupyter-run-1", project="lab-x", oneoff="True"),
        line("c3", "by-hand", ports="127.0.0.1:8888->8888/tcp", run="inherited"),
        line("c4", "lab-x.train", project="lab-x", oneoff="True", run="train"),
        "half a line",
    ]
)


def test_every_container_comes_of_one_question(double: Double) -> None:
    double.expect("docker", "ps", "--all", stdout=LISTED)
    found = list_containers()
    assert [one.id for one in found] == ["c1", "c2", "c3", "c4"]
    assert (found[0].status, found[0].folder, found[0].is_running) == ("Up 2 hours", "/x", True)
    assert [one.own for one in found] == [True, False, False, False]
    assert [one.id for one in of_project(found, "lab-x")] == ["c1"]
    assert of_project(found, "lab-y") == ()


def test_a_labs_runs_are_those_that_compose_made_for_it(double: Double) -> None:
    """By name where they have one; a container made by hand is none, whatever its labels say."""
    double.expect("docker", "ps", "--all", stdout=LISTED)
    found = runs_of(list_containers(), "lab-x")
    assert [(one.id, one.run) for one in found] == [("c2", "lab-x-jupyter-run-1"), ("c4", "train")]
    assert (found[1].state, found[1].command) == ("running", "python train.py")
    assert runs_of(list_containers(), "lab-y") == ()


def test_no_answer_is_not_an_empty_list(double: Double) -> None:
    double.expect("docker", "ps", stderr="Cannot connect", returncode=1)
    with pytest.raises(Unanswered, match="Cannot connect"):
        list_containers()


def test_an_inspected_container_has_its_details_and_keeps_what_was_listed(double: Double) -> None:
    listed = (Container(id="c1", status="Up 2 hours"), Container(id="gone"))
    double.expect(
        "docker", "container", "inspect", stdout=json.dumps([ROW]), stderr="no such", returncode=1
    )
    (one,) = inspect_containers(listed)
    assert (one.status, one.name, one.service, one.project) == (
        "Up 2 hours",
        "lab-x-jupyter-1",
        "jupyter",
        "lab-x",
    )
    assert (one.health, one.restarts, one.out_of_memory) == ("healthy", 2, True)
    assert (one.memory, one.shm, one.ipc, one.gpu) == (5, 6, "private", "gpu-cdi all")
    assert (one.ended, one.image_id, one.own, one.is_running) == (
        "2026-11-24 20:23:39",
        "sha256:1",
        True,
        True,
    )


def test_nothing_listed_is_nothing_asked(double: Double) -> None:
    assert inspect_containers(()) == ()
    assert double.calls == []


def test_a_container_without_health_or_labels_is_read_too() -> None:
    bare = {"Id": "c9", "State": {"Status": "exited", "ExitCode": 3}, "Config": {"Labels": None}}
    one = inspected(bare)
    assert (one.health, one.service, one.exit_code, one.own) == ("", "", 3, False)


def test_a_labs_containers_by_service(double: Double) -> None:
    double.expect("docker", "ps", stdout=LISTED)
    double.expect("docker", "container", "inspect", stdout=json.dumps([ROW]))
    assert set(read_containers("lab-x")) == {"jupyter"}


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("127.0.0.1:8888->8888/tcp, 6006/tcp", (8888,)),
        ("0.0.0.0:9000-9001->9000-9001/tcp, [::]:9000->9000/tcp", (9000, 9001)),
        ("6006/tcp", ()),
        ("", ()),
    ],
)
def test_published_ports(text: str, ports: tuple[int, ...]) -> None:
    assert published(text) == ports


def test_who_holds_a_port() -> None:
    holder = Container(id="1", ports=(8888,))
    assert holder_of(8888, [Container(id="2"), holder]) is holder
    assert holder_of(1, [holder]) is None


def test_the_command_of_a_run_is_shown_without_what_the_image_starts_it_with() -> None:
    """The Dockerfile and what is cut off must agree."""
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert f"ENTRYPOINT {json.dumps(ENTRY.split())}" in dockerfile
