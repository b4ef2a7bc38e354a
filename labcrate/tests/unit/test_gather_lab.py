"""Gathering facts about the lab: its images, containers and ports, through the double."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from double import Double
from machine_of import CONTAINER, ENV, IMAGE, MODEL, Gather, gather, listed, programs

from labcrate import labels
from labcrate.clone.chosen_ports import remember_ports
from labcrate.clone.place import Clone
from labcrate.doctor.examine import diagnose
from labcrate.lab import snapshot
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.images import inputs_digest
from labcrate.process import TIMED_OUT

__all__ = ["gather", "programs"]
"""Fixtures."""


def late(double: Double, *words: str) -> None:
    double.expect(*words, returncode=TIMED_OUT, stderr="no answer within 3 s")


def test_a_lab_that_runs(gather: Gather) -> None:
    found = gather()
    assert (found.crashed, found.unanswered) == ((), ())
    lab = found.lab
    (one,) = lab.containers
    assert (one.service, one.health, one.restarts, one.logs) == ("jupyter", "healthy", 2, "hello")
    assert (one.gpu, one.folder) == ("gpu-cdi nvidia.com/gpu=all", "/elsewhere/compose")
    assert one.inside.startswith("1048576")
    assert lab.images is not None
    image = lab.images["jupyter"]
    assert (image.service, image.backend, image.size) == ("jupyter", "cu126", 6999404665)
    assert (lab.missing, lab.stale) == (("tensorboard",), ("jupyter", "tensorboard"))
    assert (lab.listed, lab.refusal, lab.mounts) == (True, None, ("/lab/notebooks",))


@pytest.mark.parametrize(
    ("setting", "label", "is_stale"),
    [
        ("auto", "cu126", False),
        ("auto", "auto", False),
        ("pypi", "cu126", True),
        ("cu126", "cu126", False),
    ],
)
def test_an_image_that_was_built_from_what_the_clone_holds_is_not_stale(
    gather: Gather, clone: Clone, setting: str, label: str, is_stale: bool
) -> None:
    """With TORCH_BACKEND=auto the build that the image has is the one that counts."""
    clone.env_file.write_text(ENV + f"TORCH_BACKEND={setting}\n")
    known = gather().settings
    assert known is not None
    lab = Lab(settings=known, torch_backend="pypi" if label == "auto" else label)
    inputs = inputs_digest(lab, parse_model(MODEL).services["jupyter"])
    told: Mapping[str, str] = {labels.INPUTS: inputs, labels.BACKEND: label}
    image = {**IMAGE, "Config": {"Labels": told}}
    assert ("jupyter" in gather(docker_image_inspect=[image]).lab.stale) is is_stale


def test_images_that_the_engine_was_too_slow_to_list_are_unknown(
    double: Double, gather: Gather, clone: Clone
) -> None:
    late(double, "docker", "image", "inspect")
    lab = gather().lab
    assert (lab.images, lab.missing, lab.stale) == (None, (), ())
    checks = [finding.check for finding in diagnose(clone)]
    assert "unanswered" in checks
    assert "images" not in checks


def test_containers_that_the_engine_was_too_slow_to_list_are_unknown(
    double: Double, gather: Gather
) -> None:
    late(double, "docker", "ps", "--all")
    found = gather()
    assert (found.lab.listed, found.lab.containers) == (False, ())
    assert (found.unanswered, found.crashed) == (("docker ps",), ())
    assert found.lab.images


def test_an_engine_that_refuses_to_list_is_reported(double: Double, gather: Gather) -> None:
    double.expect("docker", "ps", "--all", returncode=1, stderr="server error")
    found = gather()
    assert found.crashed == (("containers", "Unanswered: server error"),)
    assert not found.lab.listed


def test_a_container_that_is_too_slow_says_nothing(double: Double, gather: Gather) -> None:
    late(double, "docker", "logs")
    late(double, "docker", "exec")
    (one,) = gather().lab.containers
    assert (one.logs, one.inside) == ("", "")


def test_a_model_that_compose_refuses(double: Double, gather: Gather) -> None:
    double.expect("docker", "compose", "config", returncode=1, stderr="services.x: wrong")
    lab = gather().lab
    assert lab.refusal is not None
    assert "services.x: wrong" in lab.refusal.problem
    assert (lab.images, lab.mounts) == (None, None)
    assert lab.containers


def test_a_compose_that_is_too_slow_refuses_nothing(double: Double, gather: Gather) -> None:
    late(double, "docker", "compose", "config")
    found = gather()
    assert (found.lab.refusal, found.lab.images) == (None, None)
    assert found.unanswered == ("docker compose config",)


def test_a_container_is_asked_for_its_gpu_only_if_it_has_one(
    double: Double, gather: Gather
) -> None:
    gather()
    assert [argv[-1] for argv in double.called("docker", "exec")] == ["ulimit -n; nvidia-smi -L"]
    double.calls.clear()
    plain = json.loads(json.dumps(CONTAINER))
    del plain["Config"]["Labels"][labels.GPU]
    gather(docker_container_inspect=[plain])
    assert [argv[-1] for argv in double.called("docker", "exec")] == ["ulimit -n"]


def test_a_container_that_ended_is_asked_for_its_log_alone(double: Double, gather: Gather) -> None:
    ended = {**CONTAINER, "State": {**CONTAINER["State"], "Status": "exited"}}
    (one,) = gather(docker_container_inspect=[ended]).lab.containers
    assert (one.state, one.logs, one.inside) == ("exited", "hello", "")
    assert double.called("docker", "exec") == []


def test_nothing_to_inspect_asks_nothing(double: Double, gather: Gather) -> None:
    double.expect("docker", "ps", "--all", stdout="")
    assert gather().lab.containers == ()
    assert double.called("docker", "container", "inspect") == []


def test_labs_whose_clone_was_deleted(
    double: Double, gather: Gather, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This clone's own, one whose clone exists, and another project of Compose are no orphans."""
    labs = {"lab-facts-1": "/gone/compose", "lab-old": "/gone/compose", "lab-b": str(tmp_path)}
    lines = [listed(lab, project=lab, folder=folder) for lab, folder in labs.items()]
    lines += [listed("two", project="lab-old", folder="/gone/compose")]
    lines += [listed("web", project="web", folder="/gone/web")]
    lines += [listed("hand", project="", folder="", oneoff="")]
    double.expect("docker", "ps", "--all", "--format", stdout="".join(lines))
    double.expect("docker", "ps", "--quiet", stdout="lab-facts-1\nlab-old\ntwo\nlab-b\nhand\n")
    found = gather()
    assert (found.lab.orphans, found.crashed) == ((("lab-old", "/gone"),), ())
    (asked,) = double.called("docker", "ps", "--quiet")
    assert f"label={labels.PROJECT}" in asked
    monkeypatch.setenv("DOCKER_HOST", "ssh://far")
    assert gather().lab.orphans == ()


def test_orphans_cost_no_question_where_every_clone_exists(double: Double, gather: Gather) -> None:
    gather()
    assert double.called("docker", "ps", "--quiet") == []


@pytest.mark.parametrize(
    ("recorded", "fix"), [("18931", "invoke up"), ("18930", "set JUPYTER_PORT in .env")]
)
def test_up_is_the_fix_for_a_port_that_setup_chose(
    double: Double, gather: Gather, clone: Clone, recorded: str, fix: str
) -> None:
    other = listed("other", project="web", ports="127.0.0.1:18931->80/tcp")
    double.expect("docker", "ps", "--all", "--format", stdout=other)
    remember_ports(clone, {"JUPYTER_PORT": recorded})
    (held,) = gather().lab.held
    assert held.fix.startswith(fix)


def test_a_port_that_another_container_has(double: Double, gather: Gather) -> None:
    other = listed("other", project="web", ports="127.0.0.1:18931->80/tcp")
    double.expect("docker", "ps", "--all", "--format", stdout=other)
    (held,) = gather().lab.held
    assert held.text == "JUPYTER_PORT=18931 is taken by the container web-jupyter-1"


@pytest.mark.parametrize(
    ("holder", "count"), [("process 7 (python)", 2), ("process 8 (docker-proxy)", 0)]
)
def test_ports_without_an_engine(
    double: Double, gather: Gather, monkeypatch: pytest.MonkeyPatch, holder: str, count: int
) -> None:
    """A port that the engine's own proxy holds may be the lab's."""
    double.expect("docker", "info", returncode=1, stderr="Cannot connect")
    double.expect("docker", "--version", stdout="Docker version 28.5.2, build x")
    double.expect("docker", "compose", "config", returncode=127, stderr="not found")
    monkeypatch.setattr(snapshot, "port_is_free", lambda *_: False)
    monkeypatch.setattr(snapshot, "process_on", lambda _: holder)
    lab = gather().lab
    assert [problem.text for problem in lab.held] == [
        f"JUPYTER_PORT=18931 is taken by {holder}",
        f"TENSORBOARD_PORT=18932 is taken by {holder}",
    ][:count]
    assert not lab.listed


def test_a_proof_counts_for_the_container_it_was_made_in(gather: Gather, clone: Clone) -> None:
    kept = {"container": "ba330e639fc3", "stamp": "", "cause": "no kernel image"}
    (clone.state / "gpu.json").write_text(json.dumps(kept))
    assert gather().lab.proof == "no kernel image"
    (clone.state / "gpu.json").write_text(json.dumps({**kept, "container": "another"}))
    assert gather().lab.proof == ""


def test_without_settings_there_is_no_lab(double: Double, gather: Gather, clone: Clone) -> None:
    clone.env_file.unlink()
    lab = gather().lab
    assert lab == replace(lab, images=None, containers=(), listed=False)
    assert double.called("docker", "ps") == []
