"""The lab's images: what they were built from, what is stale, building them, and why a build
failed."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from double import Double

from labcrate import labels, process
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.built import remember_images
from labcrate.lab.compose import Lab, Model, parse_model
from labcrate.lab.containers import Unanswered
from labcrate.lab.images import (
    LARGE,
    PARTS,
    Image,
    build_failure,
    build_images,
    content,
    image_id,
    inputs_digest,
    named_backend,
    provide_parts,
    read_images,
    require_base,
    stale_services,
)


def model_of(clone: Clone, **owner: Any) -> Model:
    parts = {"labcrate-parts": str(clone.state / "parts")}
    build = {"context": str(clone.docker), "additional_contexts": parts}
    services = {
        "jupyter": {
            "image": "lab-test-1/jupyter",
            "build": {**build, "target": "final", "args": {"TORCH_BACKEND": "auto", "X": "1"}},
        },
        "tensorboard": {
            "image": "lab-test-1/tensorboard",
            "build": {**build, "target": "tensorboard", "args": {"TORCH_BACKEND": "auto"}},
        },
        "cache": {"image": "redis:8"},
        **owner,
    }
    return parse_model({"name": "lab-test-1", "services": services})


@pytest.fixture
def lab(settings: Settings) -> Lab:
    for name in ("Dockerfile", "packages.in", "packages.lock", "apt.txt"):
        (settings.clone.docker / name).write_text(f"{name}\n")
    return Lab(settings=settings)


def digests(lab: Lab) -> tuple[str, str]:
    """JupyterLab's and TensorBoard's."""
    services = model_of(lab.clone).services
    return inputs_digest(lab, services["jupyter"]), inputs_digest(lab, services["tensorboard"])


def test_a_digest_is_the_same_twice(lab: Lab) -> None:
    assert digests(lab) == digests(lab)


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("Dockerfile", (True, True)),
        ("packages.lock", (True, False)),
        ("apt.txt", (True, False)),
        ("local/0a1b/mine.whl", (True, False)),
        ("own/folder/file", (True, True)),
        ("__pycache__/x.pyc", (False, False)),
        (".git/index", (False, False)),
    ],
)
def test_what_a_file_of_docker_changes(lab: Lab, name: str, moves: tuple[bool, bool]) -> None:
    before = digests(lab)
    path = lab.clone.docker / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("new\n")
    assert tuple(now != old for now, old in zip(digests(lab), before, strict=True)) == moves


def test_the_machinerys_parts_count_where_a_build_reads_them(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(lab)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "guard.py").write_text("other\n")
    monkeypatch.setattr("labcrate.lab.images.PARTS", tmp_path / "parts")
    assert [now != old for now, old in zip(digests(lab), before, strict=True)] == [True, True]


def test_nothing_is_built_in_a_path_that_builds_cannot(lab: Lab, tmp_path: Path) -> None:
    clone = replace(lab.clone, root=tmp_path / "a,b")
    moved = replace(lab, settings=replace(lab.settings, clone=clone))
    with pytest.raises(LabError, match="which builds cannot"):
        build_images(moved, model_of(lab.clone), ["jupyter"])


def test_a_candidate_stands_in_for_docker(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for path in lab.clone.docker.iterdir():
        (tmp_path / "other" / path.name).write_text(path.read_text())
    service = model_of(lab.clone).services["jupyter"]
    assert inputs_digest(lab, service, tmp_path / "other") == inputs_digest(lab, service)
    (tmp_path / "other" / "packages.lock").write_text("more\n")
    assert inputs_digest(lab, service, tmp_path / "other") != inputs_digest(lab, service)


def test_the_build_of_pytorch_counts_for_jupyter_alone(lab: Lab) -> None:
    other = replace(lab, torch_backend="cu126")
    assert [now != old for now, old in zip(digests(other), digests(lab), strict=True)] == [
        True,
        False,
    ]


def test_arguments_count_but_not_the_proxy(lab: Lab) -> None:
    def digest(**args: str) -> str:
        build = {"context": str(lab.clone.docker), "args": args}
        service = model_of(lab.clone, jupyter={"build": build}).services["jupyter"]
        return inputs_digest(lab, service)

    assert digest(A="1") != digest(A="2")
    assert digest(A="1", HTTP_PROXY="http://a") == digest(A="1", HTTP_PROXY="http://b")


def test_an_owners_context_of_its_own_counts_for_it(lab: Lab, tmp_path: Path) -> None:
    """All of it: a file that the template calls packages.in means nothing special there."""
    (tmp_path / "mine").mkdir()
    owner = {"mine": {"build": {"context": str(tmp_path / "mine")}}}

    def digest() -> str:
        return inputs_digest(lab, model_of(lab.clone, **owner).services["mine"])

    before = digest()
    (tmp_path / "mine" / "packages.in").write_text("x\n")
    assert digest() != before


def test_a_large_file_counts_by_size_and_time_and_a_link_by_where_it_points(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(LARGE)
    assert content(large).split()[0] == str(LARGE).encode()
    (tmp_path / "link").symlink_to("nowhere")
    assert content(tmp_path / "link") == b"nowhere"


@pytest.mark.parametrize(("label", "backend"), [("auto", "pypi"), ("cu126", "cu126"), ("", "")])
def test_the_label_of_a_build(label: str, backend: str) -> None:
    assert named_backend(label) == backend


def row(name: str, **told: str) -> dict[str, Any]:
    return {"Id": f"sha256:{name}", "RepoTags": [name], "Size": 7, "Config": {"Labels": told}}


def test_images_are_read_by_service_in_one_question(clone: Clone, double: Double) -> None:
    told = {labels.INPUTS: "1a", labels.BACKEND: "auto"}
    rows = [row("lab-test-1/jupyter:latest", **told), row("redis:8")]
    double.expect(
        "docker",
        "image",
        "inspect",
        stdout=json.dumps(rows),
        stderr="Error: No such image: lab-test-1/tensorboard",
        returncode=1,
    )
    found = read_images(model_of(clone))
    assert set(found) == {"jupyter", "cache"}
    one = found["jupyter"]
    assert (one.inputs, one.backend, one.size, one.service) == ("1a", "pypi", 7, "jupyter")
    assert (found["cache"].inputs, found["cache"].backend) == ("", "")
    assert len(double.calls) == 1


def test_a_foreign_image_under_the_labs_name_is_stale_and_no_crash(
    double: Double, lab: Lab
) -> None:
    """`docker tag` and `docker import` make such images."""
    raw = {"services": {"jupyter": {"image": "lab/jupyter", "build": {"context": "x"}}}}
    for config in ({}, {"Config": None}, {"Config": {"Labels": None}}):
        rows = [{"Id": "sha256:1", "RepoTags": ["lab/jupyter:latest", "mine:1"], **config}]
        double.expect("docker", "image", "inspect", stdout=json.dumps(rows))
        found = read_images(parse_model(raw))
        assert (found["jupyter"].inputs, found["jupyter"].backend) == ("", "")
    assert stale_services(lab, parse_model(raw), found) == ["jupyter"]


def test_no_answer_is_not_no_images(clone: Clone, double: Double) -> None:
    double.expect("docker", "image", "inspect", stderr="Cannot connect", returncode=1)
    with pytest.raises(Unanswered):
        read_images(model_of(clone))


def test_a_lab_without_services_asks_nothing(double: Double) -> None:
    assert read_images(parse_model({"services": {}})) == {}
    assert double.calls == []


def test_stale_is_what_is_missing_or_was_built_from_something_else(lab: Lab) -> None:
    model = model_of(lab.clone)
    inputs, _ = digests(lab)
    current = Image(id="1", name="x", inputs=inputs)
    assert stale_services(lab, model, {}) == ["jupyter", "tensorboard"]
    assert stale_services(lab, model, {"jupyter": current}) == ["tensorboard"]
    other = replace(current, inputs="other")
    assert stale_services(lab, model, {"jupyter": other, "tensorboard": other}) == [
        "jupyter",
        "tensorboard",
    ]


def test_a_build_is_labelled_logged_and_leaves_no_old_image(
    lab: Lab, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "#5 [torch 2/3] RUN : labcrate 'PyTorch'; uv\n#5 DONE 41.2s\n"
    double.expect("docker", "compose", "build", stdout=said)
    double.expect("docker", "image", "ls", stdout="sha256:b\nsha256:a\nsha256:b\n")
    double.expect("docker", "image", "rm")
    double.expect("docker", "image", "inspect")
    remember_images(lab.clone, ["sha256:a", "sha256:b"])
    build_images(lab, model_of(lab.clone), ["jupyter"])
    (command,) = double.called("docker", "compose", "build")
    assert command[-2:] == ("build", "jupyter")
    overlay = json.loads((lab.clone.root / command[command.index("-f") + 3]).read_text())
    told = overlay["services"]["jupyter"]["build"]["labels"]
    assert told == {labels.PROJECT: "lab-test-1", labels.INPUTS: digests(lab)[0]}
    assert (lab.clone.state / "build.log").read_text() == said.rstrip()
    removed = [argv[-1] for argv in double.called("docker", "image", "rm")]
    assert removed == ["sha256:a", "sha256:b"]
    assert " 41.2 s PyTorch" in capsys.readouterr().out


def test_a_failed_build_keeps_its_log(lab: Lab, double: Double) -> None:
    double.expect("docker", "compose", "build", stdout="no space left on device", returncode=1)
    double.expect("docker", "image", "ls").expect("docker", "image", "inspect")
    with pytest.raises(LabError) as caught:
        build_images(lab, model_of(lab.clone), ["jupyter"])
    assert caught.value.code is Code.DISK_FULL
    assert "no space left" in (lab.clone.state / "build.log").read_text()


def test_a_dry_build_writes_and_removes_nothing(lab: Lab, double: Double) -> None:
    with process.in_mode(process.Mode(dry=True)):
        assert build_images(lab, model_of(lab.clone), ["jupyter"]) == 0.0
    assert list(lab.clone.state.iterdir()) == []
    assert double.calls == []


def test_the_parts_are_copied_with_modes_of_their_own(clone: Clone) -> None:
    parts = clone.state / "parts"
    parts.mkdir()
    (parts / "gone.py").touch()
    provide_parts(clone)
    names = {path.name for path in PARTS.iterdir() if path.is_file()}
    assert {path.name for path in parts.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in parts.iterdir()} == {0o644}
    times = {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    provide_parts(clone)
    assert {path: path.stat().st_mtime_ns for path in parts.iterdir()} == times


def test_a_base_that_setup_built_must_still_be_here(settings: Settings, double: Double) -> None:
    require_base(settings)
    assert double.calls == []
    own = replace(settings, base_image="localhost/labcrate/debian:trixie")
    double.expect("docker", "image", "inspect", stdout="sha256:1\n")
    require_base(own)
    absent = "Error response from daemon: No such image: x:latest"
    double.expect("docker", "image", "inspect", stderr=absent, returncode=1)
    assert image_id("x") == ""
    with pytest.raises(LabError) as caught:
        require_base(own)
    assert caught.value.code is Code.BASE_IMAGE


def test_an_engine_that_is_away_does_not_read_as_an_image_that_is_gone(
    settings: Settings, double: Double
) -> None:
    own = replace(settings, base_image="localhost/labcrate/debian:trixie")
    said = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    double.expect("docker", "image", "inspect", stderr=said, returncode=1)
    with pytest.raises(LabError) as caught:
        require_base(own)
    assert caught.value.code is Code.ENGINE_DOWN


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("write /root/.cache/uv/x: no space left on device", Code.DISK_FULL),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", Code.DISK_FULL),
        (
            "failed to receive status: rpc error: code = Unavailable desc = error reading from "
            "server: read unix @->/var/run/docker.sock: read: connection reset by peer",
            Code.ENGINE_DOWN,
        ),
        ("rpc error: code = Unavailable desc = error reading from server: EOF", Code.ENGINE_DOWN),
        (
            "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            Code.ENGINE_DOWN,
        ),
        ("error: Failed to fetch: `http://172.17.0.1:1/down/x/`", Code.NETWORK),
        ("Connection reset by peer while reading the index: connection broken", Code.NETWORK),
        ("debian:gone: failed to resolve source metadata for x: not found", Code.BASE_IMAGE),
        ("pull access denied, repository does not exist", Code.BASE_IMAGE),
        ("gcc: error: unrecognized command-line option", Code.BUILD),
    ],
)
def test_the_words_of_a_failed_build(text: str, code: Code) -> None:
    """Words that real builds ended with."""
    error = build_failure(f"#12 3.4 {text}\n")
    assert error.code is code
    assert error.fix
    assert text in error.problem


def test_a_reason_far_above_the_end_is_found_and_shown() -> None:
    log = "\n".join(["#9 write x: no space left on device", *["#8 CANCELED"] * 60])
    error = build_failure(log)
    assert error.code is Code.DISK_FULL
    assert "no space left on device\n...\n" in error.problem
