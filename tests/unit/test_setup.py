"""Filling in .env, and the plan for a machine without an engine."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from labcrate import host, setup
from labcrate.errors import Code, LabError

DEB822 = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
"""


def test_blanks_fill_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    filled = setup.blanks({"JUPYTER_TOKEN": "mine", "LAB_UID": "1234"}, clone=tmp_path)
    assert not {"JUPYTER_TOKEN", "LAB_UID"} & set(filled)
    assert {"COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "TENSORBOARD_PORT", "LAB_GID"} <= set(filled)


def test_two_clones_of_one_name_differ(tmp_path: Path) -> None:
    names = {setup.blanks({}, clone=tmp_path)["COMPOSE_PROJECT_NAME"] for _ in range(5)}
    assert len(names) == 5


@pytest.mark.parametrize("name", ["My Lab", "lab tést (1)", "日本語", "-x-", "a" * 80])
def test_project_names_suit_compose(tmp_path: Path, name: str) -> None:
    from labcrate.settings import check

    folder = tmp_path / name
    folder.mkdir()
    project = setup.blanks({}, clone=folder)["COMPOSE_PROJECT_NAME"]
    told = [p.text for p in check({"COMPOSE_PROJECT_NAME": project}) if "Compose" in p.text]
    assert told == []


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        assert not setup.port_is_free("127.0.0.1", port)
        assert setup.free_port(port, set()) > port


def test_fill_keeps_comments_and_order() -> None:
    text = "# one\nA=\n# two\nB=2\n"
    assert setup.fill(text, {"A": "x y", "C": "3"}) == "# one\nA='x y'\n# two\nB=2\nC=3\n"


def test_fill_takes_backslashes_literally() -> None:
    assert setup.fill("A=\n", {"A": r"/data\1"}) == "A='/data\\1'\n"


def test_a_single_quote_is_refused_not_mangled() -> None:
    with pytest.raises(LabError) as caught:
        setup.quote("/home/o'brien")
    assert caught.value.code is Code.FOLDER


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_private_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        setup.write_private(tmp_path / ".env", "A=1\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize(
    ("environ", "owner", "ids"),
    [
        ({}, (0, 0), (1000, 1000)),
        ({}, (1234, 1235), (1234, 1235)),
        ({"SUDO_UID": "501", "SUDO_GID": "20"}, (0, 0), (501, 20)),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, (0, 0), (1000, 1000)),
    ],
)
def test_root_never_becomes_the_labs_user(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    owner: tuple[int, int],
    ids: tuple[int, int],
) -> None:
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    real = tmp_path.stat()
    fake = os.stat_result((real.st_mode, 0, 0, 1, *owner, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda self: fake)
    assert setup.caller_ids(environ, tmp_path) == ids


def test_an_ordinary_caller_is_the_labs_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1001)
    assert setup.caller_ids({}) == (os.getuid(), os.getgid())


def test_mirror_is_the_hosts_own() -> None:
    assert host.apt_mirror(DEB822, "debian") == "http://mirror.example/debian"
    one_line = "deb [signed-by=/k] http://m.example/ubuntu noble main\n"
    assert host.apt_mirror(one_line, "ubuntu") == "http://m.example/ubuntu"
    assert host.apt_mirror(one_line, "debian") is None
    assert host.apt_mirror("", "debian") is None


@pytest.mark.parametrize(
    ("release", "holds"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, "docker.io/forky"),
        ({"ID": "debian", "VERSION_ID": "13"}, "docker-compose"),
        ({"ID": "ubuntu", "VERSION_ID": "24.04"}, "docker-compose-v2"),
    ],
)
def test_plans_name_the_distributions_packages(release: dict[str, str], holds: str) -> None:
    plan = host.install_plan(release, "http://mirror.example/debian")
    assert plan is not None
    assert holds in " ".join(step.describe() for step in plan)
    if release["VERSION_ID"] == "12":
        assert any("Pin-Priority: 50" in step.text for step in plan)


@pytest.mark.parametrize("release", [{"ID": "fedora"}, {"ID": "debian", "VERSION_ID": "11"}, {}])
def test_no_plan_is_better_than_a_wrong_one(release: dict[str, str]) -> None:
    assert host.install_plan(release, "http://mirror.example/debian") is None


def test_os_release_is_read() -> None:
    read = host.os_release('ID=debian\nVERSION_ID="12"\n# note\n')
    assert (read["ID"], read["VERSION_ID"]) == ("debian", "12")
