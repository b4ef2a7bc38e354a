"""Making a host ready: the plan for a machine without an engine, and starting one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from double import Double

from labcrate import environment, process
from labcrate.engine import install as room
from labcrate.engine import plan
from labcrate.engine.engine import Engine
from labcrate.engine.install import (
    act_on,
    describe_engine,
    ensure_engine,
    install_engine,
    start_engine,
    sudo,
)
from labcrate.engine.plan import (
    FORKY,
    FORKY_PIN,
    Step,
    apt_mirror,
    install_plan,
    older_pin,
    read_apt_sources,
    read_os_release,
)
from labcrate.errors import Code, LabError

DEB822 = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
"""
DEBIAN_13 = {"ID": "debian", "VERSION_ID": "13"}


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The programs on PATH, for root on a host without systemd."""
    found = {"docker", "dockerd", "sudo"}
    monkeypatch.setattr(
        environment, "command_path", lambda name: f"/usr/bin/{name}" if name in found else None
    )
    monkeypatch.setattr(environment, "is_root", lambda: True)
    monkeypatch.setattr(room, "has_systemd", lambda: False)
    monkeypatch.setattr(room, "_clear_stale_pid", lambda *_: None)
    monkeypatch.setattr(room.time, "sleep", lambda _: None)
    return found


def engine_answers(double: Double, *, compose: bool = True, **more: Any) -> None:
    plugins = [{"Name": "compose", "Version": "2.40.3"}]
    info = {"ServerVersion": "28.5.2", "ClientInfo": {"Plugins": plugins if compose else []}}
    double.expect("docker", "info", stdout=json.dumps(info), **more)
    double.expect("docker", "--version", stdout="Docker version 28.5.2, build e6534b4\n")
    double.expect("docker", "context", "inspect", stdout="[]")
    double.expect("docker", "context", "show", stdout="default\n")


def yes(_question: str) -> bool:
    return True


def no(_question: str) -> bool:
    return False


def test_mirror_is_the_hosts_own() -> None:
    assert apt_mirror(DEB822, "debian") == "http://mirror.example/debian"
    one_line = "deb [signed-by=/k] http://m.example/ubuntu noble main\n"
    assert apt_mirror(one_line, "ubuntu") == "http://m.example/ubuntu"
    ports = "deb http://ports.ubuntu.com/ubuntu-ports noble main"
    assert apt_mirror(ports, "ubuntu") == "http://ports.ubuntu.com/ubuntu-ports"
    assert apt_mirror(one_line, "debian") is None
    assert apt_mirror("", "debian") is None


@pytest.mark.parametrize(
    ("release", "holds"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, "docker.io/forky"),
        (DEBIAN_13, "docker-compose"),
        ({"ID": "ubuntu", "VERSION_ID": "24.04"}, "docker-compose-v2"),
    ],
)
def test_plans_name_the_distributions_packages(release: dict[str, str], holds: str) -> None:
    steps = install_plan(release, "http://mirror.example/debian")
    assert steps is not None
    assert holds in " ".join(step.describe() for step in steps)
    pinned = [step for step in steps if step.path == plan.PIN]
    assert [step.text for step in pinned] == [FORKY_PIN] * (release["VERSION_ID"] == "12")


def test_the_engine_of_debian_12_gets_updates_and_nothing_else_of_that_release() -> None:
    """A priority below 100 is never upgraded to (apt_preferences(5))."""
    stanzas = [dict(re.findall("^(.+): (.+)$", one, re.MULTILINE)) for one in blocks(FORKY_PIN)]
    assert [(one["Package"], one["Pin-Priority"]) for one in stanzas] == [
        ("*", "50"),
        (" ".join(FORKY), "500"),
    ]


def blocks(text: str) -> list[str]:
    return text.split("\n\n")


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plan, "PIN", tmp_path / "pin")
    return plan.PIN


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("agree", "told"), [(yes, "updates come again"), (no, "updates back: invoke setup --yes")]
)
def test_the_pin_of_an_earlier_version_is_replaced(
    pin: Path,
    double: Double,
    capsys: pytest.CaptureFixture[str],
    agree: Callable[[str], bool],
    told: str,
) -> None:
    pin.write_text("Package: *\nPin: release n=forky\nPin-Priority: 50\n")
    engine_answers(double)

    def tee(_argv: object, text: str | None) -> None:
        pin.write_text(text or "")

    double.expect("tee", str(pin), does=tee)
    ensure_engine(agree)
    assert told in capsys.readouterr().out
    assert (older_pin() is None) is (agree is yes)


def test_no_pin_and_a_current_one_are_left_alone(pin: Path) -> None:
    assert older_pin() is None
    pin.write_text(FORKY_PIN)
    assert older_pin() is None


@pytest.mark.parametrize("release", [{"ID": "fedora"}, {"ID": "debian", "VERSION_ID": "11"}, {}])
def test_no_plan_is_better_than_a_wrong_one(release: dict[str, str]) -> None:
    assert install_plan(release, "http://mirror.example/debian") is None


def test_debian_12_without_a_mirror_has_no_plan() -> None:
    assert install_plan({"ID": "debian", "VERSION_ID": "12"}, None) is None


def test_os_release_is_pythons_own_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    assert read_os_release() == {"ID": "debian"}

    def none_there() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(plan.platform, "freedesktop_os_release", none_there)
    assert read_os_release() == {}


def test_the_hosts_sources_are_read() -> None:
    assert isinstance(read_apt_sources(), str)


@pytest.mark.parametrize(
    ("root", "has_sudo", "prefix"), [(True, False, ()), (False, True, ("sudo",))]
)
def test_root_needs_no_sudo(
    programs: set[str],
    monkeypatch: pytest.MonkeyPatch,
    root: bool,
    has_sudo: bool,
    prefix: tuple[str, ...],
) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: root)
    if not has_sudo:
        programs.remove("sudo")
    assert sudo() == prefix


def test_neither_root_nor_sudo_is_an_error(
    programs: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "is_root", lambda: False)
    programs.clear()
    with pytest.raises(LabError) as caught:
        sudo()
    assert caught.value.code is Code.CONSENT


@pytest.mark.usefixtures("programs")
def test_a_step_is_a_command_or_a_file(double: Double) -> None:
    given: list[str | None] = []
    double.expect("tee", "/etc/x", does=lambda _, stdin: given.append(stdin))
    double.expect("apt-get", "update", returncode=100, stdout="no network\n")
    act_on(Step(path=Path("/etc/x"), text="hello"))
    assert given == ["hello"]
    with pytest.raises(LabError, match=r"this failed \(100\): apt-get update") as caught:
        act_on(Step(argv=("apt-get", "update")))
    assert caught.value.code is Code.INSTALL
    assert Step(path=Path("/etc/x")).describe() == "write /etc/x"


@pytest.mark.usefixtures("programs")
def test_an_engine_is_started_and_waited_for(double: Double) -> None:
    double.expect("dockerd")
    times = iter((False, False, True))

    def come_up(_argv: object, _stdin: object) -> None:
        if next(times):
            double.expect("docker", "info")

    double.expect("docker", "info", returncode=1, does=come_up)
    start_engine()
    assert double.called("dockerd")
    assert len(double.called("docker", "info")) == 4


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(("systemd", "where"), [(True, "journalctl"), (False, "dockerd.log")])
def test_an_engine_that_does_not_answer_names_its_log(
    double: Double, monkeypatch: pytest.MonkeyPatch, systemd: bool, where: str
) -> None:
    monkeypatch.setattr(room, "DOCKERD_START_S", -1.0)
    monkeypatch.setattr(room, "has_systemd", lambda: systemd)
    double.expect("dockerd").expect("systemctl", "enable", "--now", "docker")
    double.expect("docker", "info", returncode=1)
    with pytest.raises(LabError) as caught:
        start_engine()
    assert (caught.value.code, where in caught.value.fix) == (Code.ENGINE_DOWN, True)
    assert bool(double.called("systemctl")) is systemd


def test_the_pid_file_of_a_daemon_that_was_killed_goes(double: Double, tmp_path: Path) -> None:
    double.expect("rm", "-f")
    path = tmp_path / "docker.pid"
    room._clear_stale_pid(path, ())
    assert double.calls == []
    with subprocess.Popen(["true"]) as child:
        child.wait()
    path.write_text(str(child.pid))
    room._clear_stale_pid(path, ("sudo",))
    assert double.calls == [("sudo", "rm", "-f", str(path))]


@pytest.mark.usefixtures("programs")
def test_a_running_engine_is_left_alone(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    engine_answers(double)
    assert ensure_engine(no).version == (28, 5)
    assert "already runs: Docker 28.5, Compose 2.40" in capsys.readouterr().out
    assert len(double.calls) == 2


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("stderr", "host", "code"),
    [
        ("permission denied", "", Code.ENGINE_DENIED),
        ("Cannot connect", "ssh://far", Code.ENGINE_DOWN),
    ],
)
def test_what_setup_cannot_mend_is_reported(
    double: Double, monkeypatch: pytest.MonkeyPatch, stderr: str, host: str, code: Code
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    engine_answers(double, returncode=1, stderr=stderr)
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert caught.value.code is code
    assert not double.called("dockerd")


def stopped(double: Double) -> None:
    """An engine that is installed and answers once it was started."""
    engine_answers(double, returncode=1, stderr="Cannot connect")
    double.expect("dockerd", does=lambda *_: engine_answers(double))


@pytest.mark.usefixtures("programs")
def test_a_stopped_engine_is_started_where_that_is_agreed(
    double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(double)
    with pytest.raises(LabError) as caught:
        ensure_engine(no)
    assert caught.value.code is Code.CONSENT
    assert ensure_engine(yes).compose == (2, 40)
    assert "engine             started: Docker 28.5" in capsys.readouterr().out


def test_a_missing_engine_is_installed_and_started(
    programs: set[str],
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    programs.remove("docker")
    monkeypatch.setattr(room, "read_os_release", lambda: DEBIAN_13)
    stopped(double)
    double.expect("apt-get", "update")
    double.expect("apt-get", "install", does=lambda *_: programs.add("docker"))
    with pytest.raises(LabError, match="install the container engine") as caught:
        ensure_engine(no)
    assert caught.value.code is Code.CONSENT
    ensure_engine(yes)
    told = capsys.readouterr().out
    assert "installed and started: " in told
    assert "security updates: sudo apt-get update && sudo apt-get upgrade" in told
    assert not double.called("usermod")


def test_an_ordinary_user_joins_the_engines_group(
    programs: set[str], double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert programs
    monkeypatch.setattr(environment, "is_root", lambda: False)
    monkeypatch.setattr(room, "read_os_release", lambda: DEBIAN_13)
    monkeypatch.setattr(environment, "user_name", lambda: "ada")
    double.expect("sudo", "apt-get").expect("sudo", "usermod")
    asked: list[str] = []

    def agree(question: str) -> bool:
        asked.append(question)
        return True

    install_engine(agree)
    join = ("usermod", "--append", "--groups", "docker", "ada")
    assert double.calls[-1] == ("sudo", *join)
    # To use the engine is to be root: that belongs to what is agreed to.
    assert " ".join(join) in asked[0]


def test_a_users_engine_answers_although_he_may_not_use_it_yet(
    programs: set[str], double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His session is older than his membership: that is no engine that does not start."""
    assert programs
    monkeypatch.setattr(environment, "is_root", lambda: False)
    monkeypatch.setattr(environment, "is_joining", lambda _group: True)
    engine_answers(double, returncode=1, stderr="Cannot connect")

    def come_up(*_: object) -> None:
        denied = "permission denied while trying to connect"
        engine_answers(double, returncode=1, stderr=denied)
        double.expect("sudo", "docker", "info")

    double.expect("sudo", "sh", "-c", does=come_up)
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert (caught.value.code, "newgrp" in caught.value.fix) == (Code.ENGINE_DENIED, True)
    (started,) = double.called("sudo", "sh", "-c")
    assert "setsid --fork dockerd" in started[-1]
    assert str(room.DOCKERD_LOG) in started[-1]


@pytest.mark.usefixtures("programs")
def test_an_unknown_distribution_installs_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "read_os_release", lambda: {"ID": "x", "PRETTY_NAME": "X Linux"})
    with pytest.raises(LabError, match="no plan for X Linux") as caught:
        install_engine(yes)
    assert caught.value.code is Code.ENGINE_MISSING


@pytest.mark.usefixtures("programs")
def test_a_dry_run_ends_where_it_needs_the_engine(double: Double) -> None:
    engine_answers(double, returncode=1, stderr="Cannot connect")
    with process.in_mode(process.Mode(dry=True)), pytest.raises(LabError, match="dry run ends"):
        ensure_engine(yes)
    assert not double.called("dockerd")


def test_an_engine_in_words() -> None:
    engine = replace(Engine(), version=(28, 5), compose=(5, 0))
    assert describe_engine(engine) == "Docker 28.5, Compose 5.0"
