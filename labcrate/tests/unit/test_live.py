"""The running lab's packages: asked for, changed, and put back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from double import Double
from package_lab import about, fill_docker, snapshot_of

from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.compose import Lab
from labcrate.packages.live import (
    NOTE,
    Installed,
    Live,
    in_image,
    in_lab,
    installed_by_hand,
    recover_live,
    requirements_by_hand,
)
from labcrate.packages.locks import pins_of


def one(version: str, *, url: str = "", asked: bool = True) -> Installed:
    return Installed(version=version, url=url, needs=(), requested=asked)


def test_what_the_running_lab_and_the_image_hold(settings: Settings, double: Double) -> None:
    double.expect("exec", "installed", stdout=json.dumps({"a": about("1", ["b"])}))
    double.expect("run", "installed", stdout=json.dumps({"a": about("2")}))
    snapshot = snapshot_of(settings)
    expected = Installed(version="1", url="", needs=("b",), requested=True)
    assert in_lab(snapshot) == {"a": expected}
    assert in_image(snapshot)["a"].version == "2"


def test_only_what_is_not_there_is_empty(settings: Settings, double: Double) -> None:
    snapshot = snapshot_of(settings, running=False, built=False)
    assert in_lab(snapshot) == {}
    assert in_image(snapshot) == {}
    assert double.calls == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (("", "container is paused", 1), "container is paused"),
        (("", "", 137), "exit code 137"),
        (("hello", "", 0), "'hello'"),
    ],
)
def test_an_answer_that_failed_never_reads_as_an_empty_one(
    settings: Settings, double: Double, answer: tuple[str, str, int], told: str
) -> None:
    stdout, stderr, returncode = answer
    double.expect("docker", stdout=stdout, stderr=stderr, returncode=returncode)
    snapshot = snapshot_of(settings)
    for ask, code in ((in_lab, Code.UNHEALTHY), (in_image, Code.BUILD)):
        with pytest.raises(LabError) as caught:
            ask(snapshot)
        assert (caught.value.code, told in caught.value.problem) == (code, True), caught.value


def test_by_hand_is_what_only_the_running_lab_has() -> None:
    running = {"a": one("1"), "b": one("2"), "c": one("1")}
    image = {"a": one("1"), "b": one("1"), "d": one("1")}
    assert installed_by_hand(running, image) == ["b", "c"]


def test_only_what_was_named_becomes_a_requirement() -> None:
    running = {"a": one("1"), "b": one("1", asked=False), "c": one("1", url="https://h/c.whl")}
    assert requirements_by_hand(running, ["a", "b", "c"]) == {"a": "a", "c": "c @ https://h/c.whl"}
    assert requirements_by_hand(running, ["b"]) == {"b": "b"}


def live(settings: Settings, **before: Installed) -> Live:
    return Live(lab=Lab(settings=settings), before=before)


def test_bring_installs_what_changed_or_is_missing_and_removes_the_rest(
    settings: Settings, double: Double
) -> None:
    given: list[str | None] = []
    double.expect("exec", "uv", "pip", "uninstall")
    double.expect("exec", "uv", "pip", "install", does=lambda _, stdin: given.append(stdin))
    after = pins_of("a==2\nb==1\nc==1\n")
    fill_docker(settings.clone)
    running = live(settings, a=one("1"), b=one("1"), gone=one("1"))
    running.bring(settings.clone.docker, ["a", "gone", "never"], after)
    assert given == ["a==2\nc==1"]
    assert [call[-2:] for call in double.called("uninstall")] == [("uninstall", "gone")]
    assert running.touched == ("a", "c", "gone")


def test_a_local_archive_is_put_where_its_address_says(settings: Settings, double: Double) -> None:
    double.expect("exec", "mkdir").expect("cp").expect("exec", "uv")
    after = pins_of("mine @ file:///tmp/docker/local/x/mine-1.tar.gz\n")
    fill_docker(settings.clone)
    live(settings).bring(settings.clone.docker, ["mine"], after)
    kinds = [" ".join(call[2:]) for call in double.calls]
    assert kinds[0] == "exec --no-TTY jupyter mkdir -p /tmp/docker"
    assert kinds[1] == f"cp {settings.clone.docker / 'local'} jupyter:/tmp/docker"
    assert "uv pip install" in kinds[2]


def test_put_back_restores_versions_and_addresses(settings: Settings, double: Double) -> None:
    fill_docker(settings.clone)
    double.expect("exec", "mkdir").expect("cp").expect("exec", "uv")
    url = "file:///tmp/docker/local/x/mine-1.tar.gz"
    running = live(settings, a=one("1"), mine=one("1", url=url))
    running.touched = ("a", "mine", "new")
    running.put_back()
    assert double.called("uninstall", "new")
    assert double.called("install", "--no-deps", "a==1", f"mine @ {url}")
    assert double.called("cp", str(settings.clone.docker / "local"))


def test_a_putting_back_that_fails_is_said(
    settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double.expect("exec", "uv", returncode=1, stderr="no such container")
    running = live(settings)
    running.touched = ("new",)
    running.put_back()
    assert "keeps what was tried" in capsys.readouterr().out


def test_nothing_touched_is_nothing_to_put_back(settings: Settings, double: Double) -> None:
    live(settings, a=one("1")).put_back()
    assert double.calls == []


def test_a_lab_that_refuses_an_install_is_an_error(settings: Settings, double: Double) -> None:
    double.expect("exec", "uv", returncode=1, stderr="a strange end")
    fill_docker(settings.clone)
    with pytest.raises(LabError, match="the running lab does not accept it:\na strange end"):
        live(settings).bring(settings.clone.docker, ["a"], pins_of("a==1\n"))


@pytest.fixture
def cut_off(settings: Settings, double: Double, tmp_path: Path) -> Lab:
    """A lab whose change was killed after it had installed something live."""
    fill_docker(settings.clone)
    (tmp_path / "packages.lock").write_text("the lock of the change")
    double.expect("exec", "uv", "pip")
    running = live(settings, a=one("1"))
    running.container = "one"
    running.bring(tmp_path, ["a"], pins_of("a==2\nnew==1\n"))
    double.calls.clear()
    return running.lab


def test_the_next_task_puts_back_what_a_killed_change_installed(
    cut_off: Lab, double: Double
) -> None:
    double.expect("ps", "running", stdout="one\n")
    assert recover_live(cut_off)
    assert double.called("uninstall", "new")
    assert double.called("install", "--no-deps", "a==1")
    double.calls.clear()
    assert not recover_live(cut_off)
    assert double.calls == []


def test_another_container_is_left_alone(cut_off: Lab, double: Double) -> None:
    double.expect("ps", "running", stdout="two\n")
    assert not recover_live(cut_off)
    assert not double.called("uv")
    assert not (cut_off.clone.state / NOTE).exists()


def test_a_change_that_was_kept_is_left_alone(cut_off: Lab, double: Double) -> None:
    (cut_off.clone.docker / "packages.lock").write_text("the lock of the change")
    assert not recover_live(cut_off)
    assert double.calls == []


def test_where_nobody_answers_the_note_stays(cut_off: Lab, double: Double) -> None:
    double.expect("ps", returncode=1, stderr="the engine is away")
    assert not recover_live(cut_off)
    assert (cut_off.clone.state / NOTE).exists()


def test_putting_back_waits_for_the_install_and_ends_all_others(
    settings: Settings, double: Double
) -> None:
    """SIGTERM may come while another thread installs."""
    fill_docker(settings.clone)
    started, go_on = Event(), Event()

    def install(_argv: object, _stdin: object) -> None:
        started.set()
        assert go_on.wait(10)

    double.expect("exec", "uv", "uninstall").expect("exec", "uv", "install", does=install)
    running = live(settings)
    with ThreadPoolExecutor() as pool:
        brought = pool.submit(running.bring, settings.clone.docker, ["a"], pins_of("a==1\n"))
        assert started.wait(10)
        putting_back = pool.submit(running.put_back)
        assert not double.called("uninstall")
        go_on.set()
        brought.result()
        putting_back.result()
    assert [call[-2] for call in double.calls] == ["-r", "uninstall"]
    running.bring(settings.clone.docker, ["a"], pins_of("a==1\n"))
    assert len(double.calls) == 2
    assert not (settings.clone.state / NOTE).exists()
