"""What `setup` does about a card that the engine cannot give to containers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from double import Double
from machines import (
    BARE,
    DESKTOP,
    DRIVEN,
    MISMATCH,
    SMI_FAILS,
    WSL,
    WSL_HOST,
    make_engine,
)

from labcrate import environment
from labcrate.clone.settings import Settings
from labcrate.engine.engine import Engine
from labcrate.gpu import toolkit as room
from labcrate.gpu.cards import Host
from labcrate.gpu.toolkit import BY_HAND, PACKAGE, ensure_toolkit

CANDIDATE = f"{PACKAGE}:\n  Installed: (none)\n  Candidate: 1.18.1-1\n"
NONE = f"{PACKAGE}:\n  Installed: (none)\n  Candidate: (none)\n"
CDI = ("nvidia-ctk", "cdi", "generate", "--output=/var/run/cdi/nvidia.yaml")

Ensure = Callable[..., list[str]]


@pytest.fixture
def ensure(
    double: Double,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ensure:
    """What `setup` says, as root, line by line. programs: those on PATH."""

    def ensured(
        host: Host = DRIVEN,
        engine: Engine | None = None,
        *,
        programs: tuple[str, ...] = ("apt-get", "apt-cache"),
        yes: bool = True,
        gpu: str = "auto",
    ) -> list[str]:
        monkeypatch.setattr(room, "read_host", lambda: host)
        monkeypatch.setattr(environment, "is_root", lambda: True)
        monkeypatch.setattr(environment, "command_path", lambda n: n if n in programs else None)
        asked = replace(settings, gpu=gpu)
        ensure_toolkit(asked, engine or make_engine(), lambda _: yes)
        return capsys.readouterr().out.splitlines()

    double.expect("apt-cache", "policy", stdout=NONE)
    return ensured


def changes(double: Double) -> list[tuple[str, ...]]:
    return [argv for argv in double.calls if argv[0] != "apt-cache"]


def test_the_package_is_installed_where_the_machines_sources_have_it(
    ensure: Ensure, double: Double
) -> None:
    double.expect("apt-cache", "policy", PACKAGE, stdout=CANDIDATE)
    double.expect("apt-get", "install", PACKAGE).expect(*CDI)
    told = ensure()
    assert told[0].startswith("  gpu                NOT USED: the engine offers no GPU, although")
    assert [argv[-1] for argv in changes(double)] == [PACKAGE, CDI[-1]]


def test_a_no_changes_nothing_and_says_the_steps(ensure: Ensure, double: Double) -> None:
    double.expect("apt-cache", "policy", PACKAGE, stdout=CANDIDATE)
    told = ensure(yes=False)
    assert changes(double) == []
    assert told[1] == "    to use it, as root:"
    assert told[-1] == "    " + " ".join(CDI)


def test_the_engine_is_told_of_a_toolkit_that_is_there(ensure: Ensure, double: Double) -> None:
    double.expect(*CDI)
    ensure(replace(DRIVEN, tools=("nvidia-ctk",)))
    assert changes(double) == [CDI]


def test_a_failure_leaves_the_lab_on_the_cpu(ensure: Ensure, double: Double) -> None:
    double.expect("apt-cache", "policy", PACKAGE, stdout=CANDIDATE)
    double.expect("apt-get", "install", returncode=100)
    told = ensure()
    assert "error: this failed (100): apt-get install" in " ".join(told)
    assert told[-1] == "The lab can go on on the CPU."


@pytest.mark.parametrize("installer", BY_HAND)
def test_else_the_exact_commands_are_said(ensure: Ensure, double: Double, installer: str) -> None:
    """An engine of 28.2 or newer reads CDI specifications; an older one is configured."""
    told = ensure(programs=(installer, "apt-cache"))
    assert told[1] == "    to use it:"
    assert told[2:-1] == [f"    {line}" for line in BY_HAND[installer]]
    assert told[-1] == "    sudo " + " ".join(CDI)
    older = ensure(engine=make_engine(ServerVersion="26.1.5"), programs=(installer,))
    assert older[2:-1] == told[2:-1]
    assert "nvidia-ctk runtime configure --runtime=docker && sudo systemctl" in older[-1]
    assert changes(double) == []


def test_an_unknown_distribution_gets_it_in_words(ensure: Ensure) -> None:
    told = ensure(programs=())
    assert told[-1].startswith("    install nvidia-container-toolkit, then: sudo nvidia-ctk")


@pytest.mark.parametrize(
    ("host", "engine", "fix"),
    [
        (MISMATCH, make_engine(), "reboot"),
        (SMI_FAILS, make_engine(), "dmesg"),
        (DRIVEN, make_engine(**DESKTOP), "docker context use default"),
        (DRIVEN, replace(make_engine(), client_path="/snap/bin/docker"), "snap remove docker"),
    ],
)
def test_what_no_package_mends_is_said(
    ensure: Ensure, double: Double, host: Host, engine: Engine, fix: str
) -> None:
    told = ensure(host, engine)
    assert fix in told[-1]
    assert changes(double) == []


def test_a_rootless_engine_is_the_users_own_to_configure(ensure: Ensure, double: Double) -> None:
    double.expect("apt-cache", "policy", PACKAGE, stdout=CANDIDATE)
    told = ensure(engine=make_engine(SecurityOptions=["name=rootless"]))
    assert "systemctl --user restart docker" in told[-1]
    assert changes(double) == []


@pytest.mark.parametrize(
    ("host", "engine", "gpu"),
    [
        (BARE, make_engine(), "auto"),
        (DRIVEN, make_engine(), "off"),
        (DRIVEN, make_engine(host="ssh://server"), "auto"),
    ],
)
def test_nothing_is_said_without_a_card_to_use(
    ensure: Ensure, host: Host, engine: Engine, gpu: str
) -> None:
    assert ensure(host, engine, gpu=gpu) == []


@pytest.mark.parametrize(
    ("host", "engine"),
    [(DRIVEN, make_engine("all")), (WSL_HOST, make_engine(**{**DESKTOP, **WSL}))],
)
def test_a_card_that_is_offered_is_left_alone(
    ensure: Ensure, double: Double, host: Host, engine: Engine
) -> None:
    assert ensure(host, engine) == ["  gpu                already offered by the engine"]
    assert double.calls == []
