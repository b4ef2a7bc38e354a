"""A change of the packages: what is asked of the engine, what is kept, what is put back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from double import Double
from package_lab import CANDIDATE, GOOD, Engine, about, fill_docker, snapshot_of, texts_of

from labcrate import labels, process
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.compose import JUPYTER
from labcrate.lab.images import inputs_digest
from labcrate.lab.snapshot import Snapshot
from labcrate.packages.candidate import keep_candidate
from labcrate.packages.change import add_packages, remove_packages, set_system_packages
from labcrate.packages.phases import Changed, Options, Phases
from labcrate.packages.recovery import recover_packages
from labcrate.packages.requested import parse_requirements
from labcrate.packages.sources import already_there
from labcrate.packages.transaction import prepare_candidate, replace_file

OLD_LOCK = "matplotlib==3.1\npillow==9.0\ntqdm==4.0\n"
NEW_LOCK = "einops==0.8\n" + OLD_LOCK
ROWS = (("einops", "", "0.8"),)
BROKEN = {**GOOD, "broken": {"einops": "import einops: ImportError: libGL.so.1: cannot open"}}


@pytest.fixture
def engine(clone: Clone, double: Double) -> Engine:
    fill_docker(clone)
    return Engine(clone, double, lock=NEW_LOCK)


@pytest.fixture
def down(settings: Settings, engine: Engine) -> Snapshot:
    """The lab does not run."""
    assert engine.double.expected
    return snapshot_of(settings, running=False)


@pytest.fixture
def up(settings: Settings, engine: Engine) -> Snapshot:
    """The lab runs, with what its lock holds."""
    engine.runs(matplotlib=about("3.1"), pillow=about("9.0"), tqdm=about("4.0"))
    return snapshot_of(settings)


def add(snapshot: Snapshot, typed: str = "einops", options: Options | None = None) -> Changed:
    wanted = parse_requirements(typed, snapshot.lab.clone)
    return add_packages(snapshot, wanted, options or Options(), Phases())


def is_stale(snapshot: Snapshot, engine: Engine) -> bool:
    """Whether the last built image would be built again by the next `up`."""
    built = engine.baked[-1]["final"]["labels"][labels.INPUTS]
    return bool(built != inputs_digest(snapshot.lab, snapshot.model.services[JUPYTER]))


def test_add_changes_files_and_image_together(down: Snapshot, engine: Engine, clone: Clone) -> None:
    changed = add(down)
    assert changed == Changed(rows=ROWS, built=True)
    texts = texts_of(clone)
    assert texts["packages.in"] == "# mine\ntqdm  # bars\nmatplotlib\neinops\n"
    assert texts["packages.lock"].endswith(NEW_LOCK)
    assert engine.double.called("docker", "tag", "sha256:new", "lab-test-1/jupyter")
    assert engine.double.called("docker", "image", "rm", CANDIDATE)
    assert not (clone.state / "candidate").exists()


def test_the_resolver_is_told_what_must_not_move(down: Snapshot, engine: Engine) -> None:
    add(down)
    assert engine.files[0]["keep.txt"].split() == [
        "#", "held", "matplotlib==3.1", "pillow==9.0", "tqdm==4.0",
    ]  # fmt: skip
    assert engine.baked[0]["resolved"]["output"] == [
        f"type=local,dest={down.lab.clone.state / 'resolved'}"
    ]
    assert int(engine.baked[0]["resolved"]["args"]["ASKED"])


def test_what_is_asked_for_anew_is_not_held(down: Snapshot, engine: Engine) -> None:
    add(down, "pillow>=9")
    assert "pillow" not in engine.files[0]["keep.txt"]


def test_upgrade_holds_nothing_and_hold_names_versions(down: Snapshot, engine: Engine) -> None:
    wanted = parse_requirements("einops", down.lab.clone)
    add_packages(down, wanted, Options(upgrade=True), Phases(), {"einops": "0.8"})
    assert engine.files[0]["keep.txt"].split() == ["#", "held", "einops==0.8"]


def test_the_new_image_is_labelled_and_not_stale(down: Snapshot, engine: Engine) -> None:
    add(down)
    final = engine.baked[1]["final"]
    assert final["labels"][labels.PROJECT] == "lab-test-1"
    assert final["tags"] == [CANDIDATE]
    assert final["output"] == ["type=docker"]
    assert engine.baked[1]["verified"]["args"]["NAMES"] == "einops"
    assert not is_stale(down, engine)


def test_without_a_build_the_image_stays(down: Snapshot, engine: Engine) -> None:
    changed = add(down, options=Options(build=False))
    assert changed == Changed(rows=ROWS)
    assert len(engine.baked) == 1
    assert not engine.double.called("docker", "tag")


def test_no_running_lab_is_said_and_not_asked(
    down: Snapshot, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    add(down)
    assert "no lab runs" in capsys.readouterr().out
    assert not engine.double.called("docker", "compose", "exec")


def test_a_running_lab_gets_it_too(up: Snapshot, engine: Engine) -> None:
    given: list[str | None] = []
    engine.double.expect(
        "docker", "compose", "exec", "uv", "install", does=lambda _, stdin: given.append(stdin)
    )
    assert add(up).live
    assert given == ["einops==0.8"]


def test_no_live_leaves_the_running_lab_alone(
    up: Snapshot, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not add(up, options=Options(live=False)).live
    assert not engine.double.called("docker", "compose", "exec")
    assert "no lab runs" not in capsys.readouterr().out


def test_a_running_lab_that_gives_no_answer_stops_the_change(
    up: Snapshot, engine: Engine, clone: Clone
) -> None:
    """Read as an empty lab, everything of the lock would be installed into it."""
    engine.double.expect(
        "docker", "compose", "exec", "installed", returncode=1, stderr="container is paused"
    )
    before = texts_of(clone)
    with pytest.raises(LabError, match="container is paused") as caught:
        add(up)
    assert "--no-live" in caught.value.fix
    assert texts_of(clone) == before


@pytest.mark.parametrize("spoilt", ["resolve", "build", "verify", "tag"])
def test_a_failure_leaves_everything_as_it_was(
    up: Snapshot, engine: Engine, clone: Clone, spoilt: str
) -> None:
    if spoilt == "resolve":
        engine.refusal = "No solution found\n  cause: Because there is no version of einops==9"
    elif spoilt == "build":
        engine.double.expect("buildx", "verified", stdout="strange end", returncode=1)
    elif spoilt == "verify":
        engine.seen = BROKEN
    else:
        engine.double.expect("docker", "tag", "sha256:new", returncode=1, stderr="no")
    before = texts_of(clone)
    with pytest.raises(LabError):
        add(up)
    assert texts_of(clone) == before
    assert not (clone.state / "undo.json").exists()
    put_back = engine.double.called("uv", "pip", "uninstall", "einops")
    assert len(put_back) == (0 if spoilt == "resolve" else 1)


def test_what_cannot_be_put_back_at_once_is_put_back_by_the_next_task(
    down: Snapshot, engine: Engine, clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts_of(clone)
    engine.double.expect("docker", "tag", returncode=1, stderr="engine is gone")
    made = prepare_candidate(clone.state, clone.docker)
    (made / "packages.in").write_text("einops\n")
    with pytest.raises(LabError, match="engine is gone"):
        keep_candidate(down.lab, "sha256:new")
    assert (clone.state / "undo.json").exists()
    engine.double.expect("docker", "tag")
    recover_packages(down.lab)
    assert "has been put back" in capsys.readouterr().out
    assert texts_of(clone) == before


def test_an_old_answer_is_not_read_as_this_ones(down: Snapshot, engine: Engine) -> None:
    add(down)
    engine.double.expect("docker", "buildx", "bake")
    with pytest.raises(LabError, match="without an answer") as caught:
        add(down, "inflection")
    assert caught.value.code is Code.BUILD


def test_remove_says_what_was_removed(up: Snapshot, engine: Engine, clone: Clone) -> None:
    engine.lock = "tqdm==4.0\n"
    changed = remove_packages(up, ["matplotlib"], Options(), Phases())
    assert changed.removed == ("matplotlib",)
    assert [row[0] for row in changed.rows] == ["matplotlib", "pillow"]
    assert texts_of(clone)["packages.in"] == "# mine\ntqdm  # bars\n"
    assert engine.double.called("uv", "pip", "uninstall", "matplotlib", "pillow")
    assert not engine.double.called("uv", "pip", "install")


def test_system_packages_are_set_and_reported(down: Snapshot, engine: Engine, clone: Clone) -> None:
    changed = set_system_packages(down, ["tree"], Options(), Phases())
    assert changed == Changed(removed=("ffmpeg",), built=True)
    assert texts_of(clone)["apt.txt"] == "# why\ntree\n"
    assert not is_stale(down, engine)
    kept = set_system_packages(down, ["tree"], Options(build=False), Phases())
    assert kept == Changed()


def project(clone: Clone, text: str) -> Path:
    folder = clone.root / "notebooks" / "mine"
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_a_project_comes_along_and_goes_again(down: Snapshot, engine: Engine, clone: Clone) -> None:
    """The image is not stale after either, although docker/local changes with it."""
    project(clone, "[project]\nname = 'Mine'\n")
    engine.lock = "mine @ file:///tmp/docker/local/x/mine.tar.gz\n" + OLD_LOCK
    assert add(down, "./notebooks/mine").rows[0][0] == "mine"
    asked = (clone.docker / "packages.in").read_text().splitlines()
    (line,) = [one for one in asked if "mine @" in one]
    archive = line.removeprefix("mine @ file:///tmp/docker/")
    assert (clone.docker / archive).read_bytes().startswith(b"\x1f\x8b")
    assert not is_stale(down, engine)
    engine.lock = OLD_LOCK
    remove_packages(down, ["mine"], Options(), Phases())
    assert not (clone.docker / "local").exists()
    assert not is_stale(down, engine)


def test_a_wheel_of_the_clone_is_staged_as_it_is(
    down: Snapshot, engine: Engine, clone: Clone
) -> None:
    (clone.root / "my wheels").mkdir()
    (clone.root / "my wheels" / "x-1.0-py3-none-any.whl").write_text("wheel")
    engine.lock = OLD_LOCK
    wanted = parse_requirements(["my wheels/x-1.0-py3-none-any.whl"], clone)
    add_packages(down, wanted, Options(), Phases())
    assert "/x-1.0-py3-none-any.whl" in texts_of(clone)["packages.in"]


def test_a_project_that_cannot_be_packed_says_why(
    down: Snapshot, engine: Engine, clone: Clone
) -> None:
    assert engine.double.calls == []
    project(clone, "[")
    with pytest.raises(LabError, match=r"notebooks/mine/pyproject\.toml, line 1: ") as caught:
        add(down, "./notebooks/mine")
    assert caught.value.code is Code.PACKAGE_BROKEN


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    up: Snapshot, engine: Engine, clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(clone, "[project]")
    before = {p: p.stat().st_mtime_ns for p in clone.root.rglob("*")}
    with process.in_mode(process.Mode(dry=True)):
        assert add(up, "einops ./notebooks/mine") == Changed()
        assert remove_packages(up, ["tqdm"], Options(), Phases()) == Changed()
        assert set_system_packages(up, ["tree"], Options(), Phases()) == Changed()
        recover_packages(up.lab)
    said = capsys.readouterr().out
    for told in ("get: einops", f"get: {folder}", "lose: tqdm  #", "get: tree", "lose: ffmpeg"):
        assert told.removesuffix("  #") in said
    assert {p: p.stat().st_mtime_ns for p in clone.root.rglob("*")} == before
    assert engine.double.calls == []


@pytest.mark.parametrize(
    ("text", "fix"),
    [("tqdm\n\neinops=>0.8\n", "change line 3"), ("a\nb\n<<<<<<< HEAD\n", "finish the merge")],
)
def test_a_line_that_is_no_requirement_is_named(
    down: Snapshot, engine: Engine, clone: Clone, text: str, fix: str
) -> None:
    replace_file(clone.docker / "packages.in", text)
    acts = (
        lambda: add(down),
        lambda: remove_packages(down, ["tqdm"], Options(), Phases()),
        lambda: already_there(parse_requirements("tqdm", clone)[0], clone.docker),
    )
    for act in acts:
        with pytest.raises(LabError, match=r"docker/packages\.in, line 3") as caught:
            act()
        assert fix in caught.value.fix
        assert caught.value.code is Code.LOCK_STALE
    assert engine.double.calls == []


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("numpy", "numpy 2.5.5 is in the base already"),
        ("numpy>=2", "numpy 2.5.5 is in the base already"),
        ("numpy<2", ""),
        ("tqdm", "tqdm 4.0 is there already"),
        ("tqdm>=5", ""),
        ("pillow", ""),
        ("einops", ""),
        ("numpy @ https://host/numpy-1-py3-none-any.whl", ""),
    ],
)
def test_what_is_there_already_is_said(engine: Engine, clone: Clone, typed: str, told: str) -> None:
    assert engine.double.calls == []
    (wanted,) = parse_requirements(typed, clone)
    assert already_there(wanted, clone.docker) == told


def test_phases_are_announced_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    phases = Phases()
    with phases("one", "what it does"):
        pass
    assert capsys.readouterr().out == "one: what it does\n"
    assert 0 <= phases.seconds["one"] < 1
    assert json.dumps(phases.seconds).startswith('{"one":')
