"""Only images that the lab's own builds made are removed, and containers of its own project."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from double import Double
from package_lab import raw_model

from labcrate import labels, process
from labcrate.clean.survey import Lot, survey
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.built import (
    BUILDING,
    RECORD,
    drop_superseded,
    named_images,
    recorded,
    remember_images,
    remembered_images,
    settle_record,
    start_record,
)
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.images import build_images
from labcrate.packages.candidate import keep_candidate
from labcrate.packages.transaction import prepare_candidate

OURS = f"label={labels.PROJECT}=lab-test-1"


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings=settings)


class Engine:
    """An engine on which the lab's names move to new images. nameless: what lost its name."""

    def __init__(self, double: Double) -> None:
        self.named = {"lab-test-1/jupyter": "sha256:old"}
        self.nameless = ["sha256:users"]
        self.gone: list[str] = []
        self.away = False
        self.double = double
        double.expect("docker", "compose", "build", does=lambda *_: self.build("sha256:new"))
        double.expect("docker", "image", "rm", does=self.remove)
        double.expect("docker", "tag", does=lambda argv, _: self.build(argv[2]))
        self.listens(("docker", "image", "inspect"), self.inspect)
        self.listens(("docker", "image", "ls"), self.ls)

    def listens(self, words: Sequence[str], told: Callable[[Sequence[str]], str]) -> None:
        def fresh(argv: Sequence[str], _stdin: str | None) -> None:
            away = process.Result(
                argv=(), returncode=1, stderr="Cannot connect to the Docker daemon"
            )
            one.result = away if self.away else process.Result(argv=(), stdout=told(argv))

        self.double.expect(*words, does=fresh)
        one = self.double.expected[0]

    def inspect(self, argv: Sequence[str]) -> str:
        return "".join(f"{self.named[name]}\n" for name in argv if name in self.named)

    def ls(self, argv: Sequence[str]) -> str:
        assert OURS in argv
        if "dangling=true" in argv:
            return "".join(f"{one}\n" for one in self.nameless)
        rows = [f"{ident}\t{name}" for name, ident in self.named.items()]
        return "\n".join([*rows, *(f"{one}\t<none>" for one in self.nameless), "sha256:m\tmine"])

    def build(self, ident: str) -> None:
        before = self.named["lab-test-1/jupyter"]
        self.named["lab-test-1/jupyter"] = ident
        self.nameless.append(before)

    def remove(self, argv: Sequence[str], _stdin: str | None) -> None:
        self.gone.append(argv[-1])
        if argv[-1] in self.nameless:
            self.nameless.remove(argv[-1])


@pytest.fixture
def engine(double: Double, clone: Clone) -> Engine:
    for name in ("packages.in", "packages.lock", "apt.txt", "Dockerfile"):
        (clone.docker / name).write_text("")
    return Engine(double)


def rebuild(lab: Lab) -> None:
    build_images(lab, parse_model(raw_model(lab.clone)), ["jupyter"])


def test_a_rebuild_removes_what_it_replaced_and_not_what_the_user_built(
    lab: Lab, engine: Engine
) -> None:
    """An image FROM the lab's, left nameless, has the lab's labels."""
    rebuild(lab)
    assert engine.gone == ["sha256:old"]
    assert engine.nameless == ["sha256:users"]
    assert remembered_images(lab.clone) == {"sha256:new"}


def test_an_image_that_took_over_the_labs_name_stays_the_users(lab: Lab, engine: Engine) -> None:
    rebuild(lab)
    engine.named["lab-test-1/jupyter"] = "sha256:tagged-by-hand"
    engine.double.expect("docker", "compose", "build", does=lambda *_: engine.build("sha256:3"))
    rebuild(lab)
    assert "sha256:tagged-by-hand" in engine.nameless
    assert remembered_images(lab.clone) == {"sha256:new", "sha256:3"}


def test_a_build_that_fails_half_way_is_on_the_record(lab: Lab, engine: Engine) -> None:
    engine.double.expect(
        "docker", "compose", "build", returncode=1, does=lambda *_: engine.build("sha256:half")
    )
    with pytest.raises(LabError):
        rebuild(lab)
    assert "sha256:half" in remembered_images(lab.clone)


def test_an_image_that_a_container_uses_stays_on_the_record(lab: Lab, engine: Engine) -> None:
    engine.double.expect("docker", "image", "rm", returncode=1)
    rebuild(lab)
    assert remembered_images(lab.clone) == {"sha256:old", "sha256:new"}


@pytest.mark.parametrize("away", [False, True], ids=["the task", "the engine"])
def test_what_a_killed_build_made_is_on_the_record_of_the_next(
    lab: Lab, engine: Engine, away: bool
) -> None:
    """The engine or BuildKit may end the build after the task, or have ended a part of it."""

    def interrupted(*_: object) -> None:
        engine.build("sha256:half")
        engine.away = away
        raise KeyboardInterrupt

    engine.double.expect("docker", "compose", "build", does=interrupted)
    with pytest.raises(KeyboardInterrupt):
        rebuild(lab)
    engine.away = False
    engine.build("sha256:by-buildkit")
    engine.double.expect("docker", "compose", "build", does=lambda *_: engine.build("sha256:new"))
    rebuild(lab)
    assert "sha256:users" in engine.nameless
    assert ("sha256:half" in engine.gone) is not away
    assert ("sha256:by-buildkit" in engine.gone) is away
    assert not (lab.clone.state / BUILDING).exists()


def test_a_build_that_died_with_its_task_is_on_the_record_of_the_next(
    lab: Lab, engine: Engine
) -> None:
    """SIGKILL: nothing of the task ran after it."""
    begun = recorded(lab, ["lab-test-1/jupyter"])
    begun.__enter__()
    note = (lab.clone.state / BUILDING).read_text()
    engine.build("sha256:after-the-kill")
    begun.__exit__(None, None, None)
    (lab.clone.state / BUILDING).write_text(note)
    (lab.clone.state / RECORD).write_text('["sha256:old"]')
    rebuild(lab)
    assert engine.gone == ["sha256:after-the-kill", "sha256:old"]
    assert engine.nameless == ["sha256:users"]


def test_an_engine_that_is_away_is_said_before_the_build(lab: Lab, engine: Engine) -> None:
    engine.away = True
    with pytest.raises(LabError) as caught, recorded(lab, ["lab-test-1/jupyter"]):
        pass
    assert caught.value.code is Code.ENGINE_DOWN
    assert not (lab.clone.state / RECORD).exists()


@pytest.mark.parametrize("text", ["", "[]", '{"names": 3, "before": []}', '{"names": []}'])
@pytest.mark.usefixtures("engine")
def test_a_damaged_note_adds_nothing(lab: Lab, text: str) -> None:
    remember_images(lab.clone, [])
    (lab.clone.state / BUILDING).write_text(text)
    settle_record(lab.clone)
    assert remembered_images(lab.clone) == frozenset()


def test_a_candidate_that_is_kept_replaces_the_labs_image(lab: Lab, engine: Engine) -> None:
    start_record(lab)
    prepare_candidate(lab.clone.state, lab.clone.docker)
    keep_candidate(lab, "sha256:candidate")
    assert engine.gone == ["sha256:old"]


def test_the_record_starts_with_what_an_earlier_version_built(lab: Lab, engine: Engine) -> None:
    start_record(lab)
    assert remembered_images(lab.clone) == {"sha256:old"}
    engine.named["lab-test-1/tensorboard"] = "sha256:later"
    start_record(lab)
    assert remembered_images(lab.clone) == {"sha256:old"}


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, null]", "3"])
def test_a_damaged_record_removes_nothing(lab: Lab, engine: Engine, text: str) -> None:
    (lab.clone.state / RECORD).write_text(text)
    drop_superseded(lab)
    assert engine.gone == []


def test_a_dry_run_writes_no_record(lab: Lab, engine: Engine) -> None:
    with process.in_mode(process.Mode(dry=True)):
        start_record(lab)
        remember_images(lab.clone, ["x"])
        rebuild(lab)
    assert engine.gone == []
    assert not (lab.clone.state / RECORD).exists()


def test_no_names_are_no_question(double: Double) -> None:
    assert named_images([]) == frozenset()
    assert double.calls == []


def test_clean_asks_for_containers_that_the_labs_own_project_made(
    double: Double, clone: Clone
) -> None:
    """Another Compose project's container on the lab's image inherits the lab's label."""
    for words in (("ps",), ("network",), ("image", "ls"), ("volume",), ("buildx", "du")):
        double.expect("docker", *words)
    clone.env_file.write_text("COMPOSE_PROJECT_NAME=lab-test-1\n")
    for project in ("lab-test-1", "lab-gone-1"):
        double.calls.clear()
        survey(Lot(clone=clone, project=project, model=parse_model({"name": project})), ())
        asked = [argv for argv in double.called("docker", "ps") if "{{.ID}}" in str(argv)]
        assert asked
        made = f"label={labels.COMPOSE_PROJECT}={project}"
        assert [argv for argv in asked if made not in argv] == []
