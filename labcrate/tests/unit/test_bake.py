"""Stages built from a candidate of docker/: the bake file, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from double import Double

from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.bake import STAGES, Target, bake, bake_file, fields
from labcrate.lab.compose import Lab, Model, parse_model


def model_of(lab: Lab, **build: Any) -> Model:
    section = {
        "context": str(lab.clone.docker),
        "args": {"A": "1", "NOT_SET_ANYWHERE": None},
        "additional_contexts": {"labcrate-parts": "/parts"},
        "secrets": [{"source": "ca.pem"}],
        "labels": {"l": "1"},
        **build,
    }
    raw = {
        "name": "lab-test-1",
        "services": {"jupyter": {"build": section}},
        "secrets": {"ca.pem": {"file": "/x/ca.pem"}},
    }
    return parse_model(raw)


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings=settings)


def made(lab: Lab, *targets: Target, **build: Any) -> dict[str, Any]:
    text = bake_file(model_of(lab, **build), Path("/candidate"), targets)
    found: dict[str, Any] = json.loads(text)["target"]
    return found


def test_a_stage_of_docker_is_built_from_the_candidate(lab: Lab) -> None:
    final = Target(stage="final", tags=["t"], labels={"m": "2"}, output=["type=docker"])
    (target,) = made(lab, final).values()
    assert target["context"] == "/candidate"
    assert target["dockerfile"] == "Dockerfile"
    assert (target["target"], target["tags"], target["output"]) == ("final", ["t"], ["type=docker"])
    assert target["labels"] == {"l": "1", "m": "2"}
    assert target["args"] == {"A": "1"}
    assert target["secret"] == ["id=ca.pem,src=/x/ca.pem"]


def test_a_stage_of_ours_starts_from_one_of_docker(lab: Lab) -> None:
    asking = Target(stage="resolved", on="base", args={"N": "x"})
    targets = made(lab, asking)
    assert list(targets) == ["base-of-docker", "resolved"]
    below, own = targets["base-of-docker"], targets["resolved"]
    assert (below["target"], below["context"]) == ("base", "/candidate")
    assert (own["context"], own["dockerfile"]) == ("/parts", STAGES)
    assert own["contexts"] == {
        "labcrate-parts": "/parts",
        "labcrate-candidate": "/candidate",
        "lab-base": "target:base-of-docker",
    }
    assert (own["args"], "tags" in own, "output" in own) == ({"A": "1", "N": "x"}, False, False)


def test_a_stage_that_is_built_anyway_is_built_once(lab: Lab) -> None:
    targets = made(lab, Target(stage="final"), Target(stage="verified", on="final"))
    assert list(targets) == ["final", "verified"]
    assert targets["verified"]["contexts"]["lab-final"] == "target:final"


def test_an_argument_without_a_value_is_the_environments(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    (target,) = made(lab, Target(stage="final"), args={"HTTPS_PROXY": None}).values()
    assert target["args"] == {"HTTPS_PROXY": "http://proxy"}


def test_bake_fills_nothing_in(lab: Lab) -> None:
    text = bake_file(model_of(lab), Path("/a ${HOME} %{c}"), [Target(stage="final")])
    assert json.loads(text)["target"]["final"]["context"] == "/a $${HOME} %%{c}"


def test_a_comma_in_a_name_separates_nothing() -> None:
    assert fields(id="x", src="/a,b") == 'id=x,"src=/a,b"'


def test_several_stages_are_one_command_and_its_file_is_gone(lab: Lab, double: Double) -> None:
    seen: list[dict[str, Any]] = []
    double.expect("docker", "compose", "config", stdout=json.dumps(model_of(lab).raw))
    double.expect(
        "docker",
        "buildx",
        "bake",
        stdout="#1 DONE 0.1s\n",
        does=lambda argv, _: seen.append(
            json.loads(Path(argv[argv.index("--file") + 1]).read_text())
        ),
    )
    bake(lab, Path("/candidate"), [Target(stage="a"), Target(stage="b")])
    (command,) = double.called("docker", "buildx", "bake")
    assert command[-2:] == ("a", "b")
    assert set(seen[0]["target"]) == {"a", "b"}
    assert not Path(command[command.index("--file") + 1]).exists()
    assert (lab.clone.state / "build.log").read_text() == "#1 DONE 0.1s"
    assert (lab.clone.state / "parts" / STAGES).exists()


def test_a_failed_bake_is_a_failed_build(lab: Lab, double: Double) -> None:
    double.expect("docker", "compose", "config", stdout=json.dumps(model_of(lab).raw))
    double.expect("docker", "buildx", "bake", stdout="no space left on device", returncode=1)
    with pytest.raises(LabError) as caught:
        bake(lab, Path("/candidate"), [Target(stage="a")])
    assert caught.value.code is Code.DISK_FULL
