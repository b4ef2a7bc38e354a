"""add-package, remove-package, packages, capture, lock: what is asked, changed and said."""

from __future__ import annotations

import json
import re

import pytest
from package_lab import SOURCES, Engine, about, texts_of
from task_lab import TaskLab, answers, context, failed

from labcrate.clone.index_settings import FILES
from labcrate.errors import Code
from labcrate.packages.locks import pins_of
from labcrate.tasks.packages import add_package, capture, lock, remove_package, show_packages

OLD_LOCK = "matplotlib==3.1\npillow==9.0\ntqdm==4.0\n"
IMAGE = {name: about(version) for name, version in (("matplotlib", "3.1"), ("tqdm", "4.0"))}
IMAGE |= {"pillow": about("9.0", asked=False), "torch": about("2.14.0")}
IMAGE["matplotlib"]["needs"] = ["pillow"]


@pytest.fixture
def engine(task_lab: TaskLab) -> Engine:
    """The task's lab, on an engine that answers a change of the packages."""
    double = task_lab.double
    made = Engine(task_lab.clone, double, lock="einops==0.8\n" + OLD_LOCK)
    # The whole lab's model and images again, which the engine of packages/ has a smaller one of.
    task_lab.answer("docker", "compose", "config", told=task_lab.raw)
    names = ("lab-test-1/jupyter", "lab-test-1/tensorboard", "mlflow:3")
    task_lab.answer("docker", "image", "inspect", *names, told=task_lab.images)
    double.expect("docker", "run", "--rm", "installed", stdout=json.dumps(IMAGE))
    made.runs(**IMAGE)
    for name in FILES:
        (task_lab.clone.state / name).touch()
    return made


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_package_is_added_live_and_for_good(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    add_package(context(), "einops")
    assert texts_of(engine.clone)["packages.in"].splitlines()[-1] == "einops"
    assert engine.double.called("docker", "compose", "exec", "uv", "pip", "install")
    told = shown(capsys)
    assert "einops" in told
    assert "In the running lab now." in told
    assert "phases" in told


def test_the_next_up_is_announced_where_it_replaces_the_lab(
    engine: Engine, task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    recreate = " Container lab-test-1-jupyter-1  Recreate\n"
    task_lab.answer("docker", "compose", "--dry-run", "up", told=lambda: recreate)
    add_package(context(), "einops")
    assert "the next `invoke up` starts the lab from it" in shown(capsys)
    assert engine.baked


def test_what_is_there_already_is_not_added_again(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    add_package(context(), "tqdm")
    assert "nothing to do" in shown(capsys)
    assert engine.baked == []


def test_upgrade_looks_for_a_newer_one(engine: Engine) -> None:
    add_package(context(), "tqdm", upgrade=True)
    assert engine.baked


def test_files_only(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    add_package(context(), "einops", no_live=True, no_build=True)
    assert not engine.double.called("docker", "compose", "exec", "install")
    assert not engine.double.called("docker", "tag")
    assert "The image is as it was: the next `invoke up` builds it." in shown(capsys)


def test_package_settings_are_brought_where_there_are_none_yet(engine: Engine) -> None:
    for name in FILES:
        (engine.clone.state / name).unlink()
    add_package(context(), "einops", no_live=True)
    assert all((engine.clone.state / name).exists() for name in FILES)


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.usefixtures("engine")
def test_quiet_shows_the_result_alone(capsys: pytest.CaptureFixture[str], system: bool) -> None:
    name = "libgl1" if system else "einops"
    add_package(context(), (name,), system=system, quiet=True)
    told = shown(capsys)
    assert not [word for word in ("resolve", "phases", "keep:", "$ docker") if word in told]
    assert system or "einops" in told
    add_package(context(), (name,), system=system, quiet=True)
    assert "there already" in shown(capsys)


def test_a_wrong_requirement_is_refused_before_anything_is_asked(engine: Engine) -> None:
    code, _ = failed(add_package, packages="==")
    assert code == Code.PACKAGE_REFUSED
    assert engine.double.calls == []


def test_a_requirements_file_is_added(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    (engine.clone.root / "requirements.txt").write_text("einops # why\ntqdm\n")
    add_package(context(), (), requirement=["requirements.txt"])
    assert texts_of(engine.clone)["packages.in"].splitlines()[-1] == "einops"
    assert "tqdm 4.0 is there already" in shown(capsys)


@pytest.mark.usefixtures("engine")
def test_a_requirements_file_holds_no_system_packages() -> None:
    code, message = failed(add_package, requirement=["a.txt"], system=True)
    assert (code, "do not go with --system" in message) == (Code.PACKAGE_REFUSED, True)
    code, message = failed(add_package, editable=["./mine"], system=True)
    assert (code, "do not go with --system" in message) == (Code.PACKAGE_REFUSED, True)


def test_an_editable_project_is_added(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    project = engine.clone.root / "src" / "mine"
    project.mkdir(parents=True)
    (project / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "0.1"\n')
    add_package(context(), ("einops",), editable=["src/mine"])
    *_, other, line = (engine.clone.docker / "packages.in").read_text().splitlines()
    assert other == "einops"
    assert line.startswith("mine @ file:///tmp/docker/local/")
    assert line.endswith("/mine.editable.tar.gz")
    assert "The lab imports an editable folder itself" in shown(capsys)


def test_a_dry_run_says_what_it_would_do(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts_of(engine.clone)
    add_package(context(dry=True), "einops")
    assert "einops" in shown(capsys)
    assert (texts_of(engine.clone), engine.baked) == (before, [])


def test_system_packages_go_to_apt_txt(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    add_package(context(), "ffmpeg graphviz", system=True)
    assert texts_of(engine.clone)["apt.txt"].split()[-2:] == ["ffmpeg", "graphviz"]
    assert "ffmpeg is there already." in shown(capsys)
    engine.baked.clear()
    add_package(context(), "ffmpeg", system=True)
    assert engine.baked == []


def test_a_package_is_removed_with_what_only_it_needed(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.lock = "tqdm==4.0\n"
    remove_package(context(), "matplotlib")
    assert "matplotlib" not in texts_of(engine.clone)["packages.in"]
    told = shown(capsys)
    assert "Gone from the running lab now." in told
    assert engine.double.called("docker", "compose", "exec", "uninstall", "matplotlib")


def test_a_package_that_another_needs_stays_in_the_image(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = {**IMAGE, "tqdm": about("4.0", ["matplotlib"])}
    engine.double.expect("docker", "run", "--rm", "installed", stdout=json.dumps(needs))
    engine.lock = OLD_LOCK
    remove_package(context(), "matplotlib")
    assert "matplotlib stays in the image: tqdm needs it." in shown(capsys)


def test_what_nobody_asked_for_cannot_be_removed(engine: Engine) -> None:
    code, message = failed(remove_package, packages="pillow")
    assert code == Code.PACKAGE_UNKNOWN
    assert "matplotlib needs it" in message
    assert engine.baked == []


def test_a_system_package_is_removed(engine: Engine) -> None:
    code, message = failed(remove_package, packages="graphviz", system=True)
    assert (code, "graphviz: not in docker/apt.txt" in message) == (Code.PACKAGE_UNKNOWN, True)
    remove_package(context(), "ffmpeg", system=True)
    assert "ffmpeg" not in texts_of(engine.clone)["apt.txt"]


def test_packages_are_shown_beside_each_other(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    running = {**IMAGE, "einops": about("0.8"), "torch": about("2.14.0")}
    engine.runs(**running)
    show_packages(context(), json_=True)
    rows = {row["package"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["einops"]["note"] == "by hand: invoke capture keeps it"
    assert rows["tqdm"]["asked for"] == "tqdm"
    show_packages(context())
    assert "einops" in shown(capsys)


def test_a_stale_lock_is_named(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    path = engine.clone.docker / "packages.in"
    path.write_text(path.read_text() + "einops\n")
    show_packages(context())
    assert ": invoke lock" in shown(capsys)


@pytest.fixture
def by_hand(engine: Engine) -> Engine:
    """Somebody installed einops in the running lab."""
    engine.runs(**{**IMAGE, "einops": about("0.8")})
    return engine


def test_capture_keeps_what_was_installed_by_hand(
    by_hand: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    capture(context(), yes=True)
    assert "Installed by hand: einops 0.8" in shown(capsys)
    assert "einops" in texts_of(by_hand.clone)["packages.in"]
    assert "einops==0.8" in by_hand.files[0]["keep.txt"]


@pytest.mark.parametrize(("said", "code"), [("n", None), ("", Code.CONSENT)])
def test_capture_asks(
    by_hand: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str,
    code: Code | None,
) -> None:
    if code is None:
        answers(monkeypatch, said)
        capture(context())
        assert "Nothing was added." in shown(capsys)
    else:
        assert failed(capture)[0] == code
    assert by_hand.baked == []


def test_capture_finds_nothing_or_no_lab(
    engine: Engine, task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    capture(context())
    assert "Nothing was installed by hand." in shown(capsys)
    task_lab.containers = {}
    assert failed(capture)[0] == Code.NOT_UP
    assert engine.baked == []


def tools(engine: Engine, lock_text: str) -> None:
    """The clone's own tools, asked for and locked."""
    engine.clone.project_file.write_text('[project]\nname = "x"\ndependencies = ["invoke>=3"]\n')
    engine.clone.tools_lock.write_text(lock_text)


def test_lock_check_needs_no_engine(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    tools(engine, "invoke==3.1\n")
    for path in engine.clone.docker.glob("*.lock"):
        path.write_text(re.sub(r"(?m)==\S+$", r"\g<0> \\\n    --hash=sha256:aa", path.read_text()))
    lock(context(), check=True)
    assert "Every lock holds what was asked for." in shown(capsys)
    tools(engine, "invoke==2.0\n")
    code, message = failed(lock, check=True)
    assert (code, "requirements.lock" in message) == (Code.LOCK_STALE, True)
    assert engine.double.calls == []


def test_lock_moves_what_the_user_added(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.lock = OLD_LOCK.replace("tqdm==4.0", "tqdm==4.9")
    lock(context())
    assert pins_of(texts_of(engine.clone)["packages.lock"])["tqdm"].version == "4.9"
    assert "4.9" in shown(capsys)


def test_lock_all_moves_the_base_and_the_tools_too(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    tools(engine, "invoke==3.1\n")
    engine.double.expect("uv", "pip", "compile", stdout="invoke==3.2\n")
    for name, (_, old) in SOURCES.items():
        engine.double.expect("uv", "pip", "compile", f"{name}.in", stdout=old)
    engine.lock = OLD_LOCK
    lock(context(), all_=True)
    assert engine.clone.tools_lock.read_text() == "invoke==3.2\n"
    assert "3.2" in shown(capsys)


def test_a_name_that_debian_dropped_becomes_its_successor(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    add_package(context(), ("libgl1-mesa-glx", "libgl1"), system=True)
    assert texts_of(engine.clone)["apt.txt"].split()[-1] == "libgl1"
    assert "libgl1-mesa-glx" not in texts_of(engine.clone)["apt.txt"]
    assert "Debian has libgl1 in place of libgl1-mesa-glx." in shown(capsys)
