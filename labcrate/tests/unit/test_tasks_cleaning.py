"""clean: the plan, the question, what goes and what is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from task_lab import TaskLab, answers, context, failed

from labcrate.errors import Code
from labcrate.tasks.cleaning import clean

LABEL = "label=dev.labcrate.project=lab-test-1"


@pytest.fixture
def engine(task_lab: TaskLab) -> TaskLab:
    """An engine with a container, a network, two images, a volume and a cache record of the lab;
    what is removed is gone at the next listing."""
    listed = {
        ("ps",): "c1\tlab-test-1-jupyter-1\t0B",
        ("network", "ls"): "n1\tlab-test-1_default\t0B",
        ("image", "ls", "--no-trunc"): "i1\tlab-test-1/jupyter:latest\t7GB",
        ("volume", "ls"): "lab-test-1_home\tlab-test-1_home\t0B",
        ("buildx", "du"): "ID: r1\nSize: 1MB\nDescription: x /bin/sh -c : labcrate 'x'\n",
    }
    gone: set[str] = set()

    def told(text: str) -> Any:
        ref = text.split("\t", maxsplit=1)[0] if "\t" in text else "r1"
        return lambda: "" if ref in gone else text

    def goes(*refs: str) -> Any:
        return lambda *_: gone.update(refs)

    double = task_lab.double
    for words, text in listed.items():
        double.expect("docker", *words)
        task_lab.answer("docker", *words, *([LABEL] if "du" not in words else []), told=told(text))
    double.expect("docker", "image", "ls", "--quiet")
    double.expect("docker", "system", "df", stdout='[{"Name": "lab-test-1_home", "Size": "2GB"}]')
    double.expect("docker", "container", "rm", does=goes("c1"))
    double.expect("docker", "network", "rm", does=goes("n1"))
    double.expect("docker", "image", "rm", does=goes("i1"))
    double.expect("docker", "volume", "rm", does=goes("lab-test-1_home"))
    double.expect("docker", "buildx", "prune", does=goes("r1"))
    return task_lab


def removals(lab: TaskLab) -> list[str]:
    """What was removed, in order."""
    made = (argv for argv in lab.double.calls if {"rm", "prune"} & set(argv))
    return [argv[1] for argv in made]


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_plan_is_a_plan(engine: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    clean(context(), all_=True, dry_run=True)
    told = shown(capsys)
    for text in ("lab-test-1-jupyter-1", "7.0 GB", "2.0 GB", "1 records of build steps"):
        assert text in told
    assert removals(engine) == []


def test_containers_and_network_go_by_default(
    engine: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    clean(context(), yes=True)
    assert removals(engine) == ["container", "network"]
    told = shown(capsys)
    assert "Removed 2 things; " in told
    assert told.count("stays") >= 3


def test_all_goes(engine: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    (engine.clone.state / "build.log").touch()
    clean(context(), all_=True, yes=True)
    assert removals(engine) == ["container", "network", "image", "volume", "buildx"]
    assert "Removed 6 things" in shown(capsys)
    assert not (engine.clone.state / "build.log").exists()
    assert engine.clone.env_file.exists()


def test_the_cache_that_stays_is_said(engine: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    clean(context(), images=True, yes=True)
    assert "The build cache still holds the layers" in shown(capsys)
    assert engine.calls


def test_a_cache_that_another_clone_uses_stays(
    engine: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.double.expect("docker", "volume", "label=dev.labcrate.project", stdout="lab-other-1\n")
    clean(context(), cache=True, yes=True)
    assert "What others use of the build cache stays: lab-other-1." in shown(capsys)
    assert "buildx" not in removals(engine)


def test_what_comes_back_is_the_disks_own_figure(
    engine: TaskLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = iter((9_000_000_000, 2_000_000_000))
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, next(figures), 0))
    clean(context(), images=True, yes=True)
    assert "7.0 GB came back." in shown(capsys)
    assert engine.calls


@pytest.mark.parametrize("said", ["n", "", None])
def test_a_no_is_a_no(
    engine: TaskLab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str | None,
) -> None:
    """Ctrl-D too."""
    answers(monkeypatch, said)
    clean(context())
    assert "Nothing was removed." in shown(capsys)
    assert removals(engine) == []


def test_a_yes_is_a_yes(engine: TaskLab, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "y")
    clean(context())
    assert removals(engine) == ["container", "network"]


@pytest.mark.parametrize("what", ["kernel", "run"])
def test_what_computes_is_spared_also_with_yes(engine: TaskLab, what: str) -> None:
    if what == "run":
        engine.runs = {"train": {}}
    else:
        engine.work["busy"] = ["train.ipynb"]
    lines = engine.listing()
    engine.double.expect("docker", "ps", "--no-trunc", stdout=lines)
    code, message = failed(clean, all_=True, yes=True)
    assert (code, "train" in message, "invoke clean --force" in message) == (Code.BUSY, True, True)
    assert removals(engine) == []
    clean(context(), yes=True, force=True)
    assert removals(engine) == ["container", "network"]


def test_what_goes_is_named_before_the_question(
    engine: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.work["idle"] = ["eda.ipynb"]
    engine.double.expect("docker", "ps", "--no-trunc", stdout=engine.listing())
    clean(context(), yes=True)
    assert "kernels, whose variables go: eda.ipynb" in shown(capsys)
    assert removals(engine) == ["container", "network"]


def test_a_plan_alone_asks_nobody(engine: TaskLab) -> None:
    engine.work["busy"] = ["train.ipynb"]
    engine.double.expect("docker", "ps", "--no-trunc", stdout=engine.listing())
    clean(context(), all_=True, dry_run=True)
    assert removals(engine) == []


def test_another_labs_runs_are_spared(engine: TaskLab, tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "compose"
    row = ["c9", "lab-old-1.train", "Up 2 hours", "", "lab-old-1", "jupyter", str(gone), "True"]
    line = "\t".join([*row, "lab-old-1", "running", "train", '"python x.py"'])
    engine.double.expect("docker", "ps", "--no-trunc", stdout=line + "\n")
    label = "label=dev.labcrate.project=lab-old-1"
    engine.double.expect("docker", "ps", label, stdout="c9\tlab-old-1.train\t0B\n")
    code, message = failed(clean, lab="lab-old-1", yes=True)
    assert code == Code.BUSY
    assert "invoke clean --lab lab-old-1 --force" in message
    assert removals(engine) == []


def test_nobody_to_answer_is_an_error(engine: TaskLab) -> None:
    code, message = failed(clean)
    assert (code, "fix: invoke clean --yes" in message) == (Code.CLEAN, True)
    assert removals(engine) == []


def test_a_dry_run_shows_its_commands_and_removes_nothing(
    engine: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    clean(context(dry=True), all_=True)
    told = shown(capsys)
    assert "$ docker container rm --force c1" in told
    assert "$ docker buildx prune" in told
    assert "Removed" not in told
    assert removals(engine) == []


def test_nothing_there_is_nothing_to_remove(
    engine: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("ps",), ("network", "ls"), ("image", "ls"), ("volume", "ls"), ("buildx", "du")):
        engine.double.expect("docker", *words)
    clean(context(), yes=True)
    assert "Nothing to remove." in shown(capsys)


def test_what_would_not_go_is_an_error(engine: TaskLab) -> None:
    engine.double.expect("docker", "network", "rm", stderr="is in use", returncode=1)
    code, message = failed(clean, yes=True)
    assert code == Code.CLEAN
    assert "network lab-test-1_default: is in use" in message
