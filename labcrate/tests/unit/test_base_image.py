"""The base image: here, from its registry, or built from the distribution's own packages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from double import Double

from labcrate import environment, labels, process
from labcrate.clone.env_file import read_env
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.engine import base_image as room
from labcrate.engine.base_image import ensure_base_image, local_base
from labcrate.errors import Code, LabError

DEBIAN = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
UBUNTU = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
SOURCES = "deb http://m.example/debian bookworm main\ndeb http://m.example/ubuntu noble main\n"


SHARED = "localhost/labcrate/debian:trixie"


def yes(_question: str) -> bool:
    return True


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, double: Double) -> Double:
    """A Debian host for root, with mmdebstrap; no registry answers and no image is here."""
    monkeypatch.setattr(environment, "is_root", lambda: True)
    monkeypatch.setattr(environment, "command_path", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(room, "read_os_release", lambda: DEBIAN)
    monkeypatch.setattr(room, "read_apt_sources", lambda: SOURCES)
    double.expect("docker", "image", "inspect", returncode=1)
    double.expect("docker", "pull", returncode=1, stderr="dial tcp: no route to host")
    double.expect("mmdebstrap").expect("docker", "import", stdout="sha256:1\n").expect("apt-get")
    double.expect("docker", "tag").expect("docker", "image", "rm")
    return double


def test_an_image_that_is_here_is_used(settings: Settings, host: Double) -> None:
    host.expect("docker", "image", "inspect")
    ensure_base_image(settings, lambda _: False)
    assert len(host.calls) == 1


@pytest.mark.parametrize(
    ("days", "ending", "old"), [(59, "Z", False), (61, "Z", True), (400, ".123456789Z", True)]
)
def test_an_old_base_image_is_named_with_the_way_to_renew_it(
    settings: Settings,
    host: Double,
    capsys: pytest.CaptureFixture[str],
    days: int,
    ending: str,
    old: bool,
) -> None:
    made = (datetime.now(UTC) - timedelta(days=days, hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    host.expect("docker", "image", "inspect", stdout=f"{made}{ending}\n")
    ensure_base_image(settings, yes)
    assert (f"{days} days old (labcrate/docs/updating.md" in capsys.readouterr().out) is old


def test_a_registry_that_answers_gives_it(
    settings: Settings, host: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    host.expect("docker", "pull")
    ensure_base_image(settings, lambda _: False)
    assert "pulled: debian:trixie-slim" in capsys.readouterr().out


@pytest.mark.parametrize("said", ["manifest unknown", "pull access denied", "toomanyrequests"])
def test_a_registry_that_refuses_is_no_missing_network(
    settings: Settings, host: Double, said: str
) -> None:
    host.expect("docker", "pull", returncode=1, stderr=said)
    with pytest.raises(LabError, match=said) as caught:
        ensure_base_image(settings, yes)
    assert caught.value.code is Code.BASE_IMAGE
    assert not host.called("mmdebstrap")


def test_without_a_registry_one_is_built_and_kept_in_env(settings: Settings, host: Double) -> None:
    settings.clone.env_file.write_text("# mine\nBASE_IMAGE=debian:trixie-slim\n")
    ensure_base_image(settings, yes)
    (made,) = host.called("mmdebstrap")
    assert made[2:4] == ("mmdebstrap", "--mode=root")
    assert (made[-3], made[-1]) == ("trixie", "http://m.example/debian")
    (imported,) = host.called("docker", "import")
    assert f"LABEL {labels.BASE}={SHARED}" in imported
    assert host.called("docker", "tag") == [("docker", "tag", "sha256:1", SHARED)]
    assert read_env(settings.clone.env_file)["BASE_IMAGE"] == SHARED
    assert not Path(made[-2]).parent.exists()


def test_a_second_clone_uses_the_one_that_is_here(settings: Settings, host: Double) -> None:
    settings.clone.env_file.write_text("BASE_IMAGE=debian:trixie-slim\n")
    host.expect("docker", "image", "inspect", SHARED)
    ensure_base_image(settings, lambda _: False)
    assert not host.called("mmdebstrap")
    assert read_env(settings.clone.env_file)["BASE_IMAGE"] == SHARED


@pytest.mark.parametrize("name", [SHARED, "lab-test-1/debian:trixie"])
def test_no_registry_is_asked_for_an_image_that_was_built_here(
    settings: Settings, host: Double, name: str
) -> None:
    """Whoever owns such a name there could hand any image to the lab."""
    own = replace(settings, base_image=name)
    own.clone.env_file.write_text(f"BASE_IMAGE={name}\n")
    ensure_base_image(own, yes)
    assert not host.called("docker", "pull")
    assert host.called("docker", "import")


def test_one_that_another_clone_built_meanwhile_is_used(clone: Clone, host: Double) -> None:
    host.expect("docker", "image", "inspect", "x")
    room.build_base(clone, "x", "trixie", "http://m.example/debian")
    assert not host.called("docker", "import")


def test_one_that_came_while_ours_was_read_in_keeps_its_name(clone: Clone, host: Double) -> None:
    """Else it would stay without a name, where no `clean` looks for it."""

    def arrives(*_: object) -> None:
        host.expect("docker", "image", "inspect", "x")

    host.expect("docker", "import", stdout="sha256:2\n", does=arrives)
    room.build_base(clone, "x", "trixie", "http://m.example/debian")
    assert not host.called("docker", "tag")
    assert host.called("docker", "image", "rm") == [("docker", "image", "rm", "sha256:2")]


def test_building_one_is_asked_first(settings: Settings, host: Double) -> None:
    with pytest.raises(LabError) as caught:
        ensure_base_image(settings, lambda _: False)
    assert caught.value.code is Code.CONSENT
    assert not host.called("mmdebstrap")


def test_a_dry_run_keeps_nothing(settings: Settings, host: Double) -> None:
    with process.in_mode(process.Mode(dry=True)):
        host.expect("docker", "pull", returncode=1)
        ensure_base_image(settings, yes)
    assert not settings.clone.env_file.exists()


def test_the_tool_is_installed_where_it_is_missing(
    clone: Clone, host: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "command_path", lambda _: None)
    room.build_base(clone, "x", "trixie", "http://m.example/debian")
    assert host.called("apt-get", "install", "mmdebstrap")


def test_a_base_that_cannot_be_built_says_why(clone: Clone, host: Double) -> None:
    host.expect("mmdebstrap", returncode=1, stdout="one\nE: no such suite\n")
    with pytest.raises(LabError, match="no such suite") as caught:
        room.build_base(clone, "x", "trixie", "http://m.example/debian")
    assert caught.value.code is Code.BASE_IMAGE


@pytest.mark.parametrize(
    ("release", "base"),
    [
        (DEBIAN, (SHARED, "trixie", "http://m.example/debian")),
        (UBUNTU, ("localhost/labcrate/ubuntu:noble", "noble", "http://m.example/ubuntu")),
    ],
)
@pytest.mark.usefixtures("host")
def test_debian_gets_its_stable_and_others_their_own_release(
    release: dict[str, str], base: tuple[str, str, str]
) -> None:
    assert local_base(release) == base


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("release", [{"ID": "fedora", "VERSION_CODENAME": "42"}, {}])
def test_a_host_without_apt_needs_an_image_that_is_here(
    release: dict[str, str],
) -> None:
    with pytest.raises(LabError, match="no apt to build") as caught:
        local_base(release)
    assert caught.value.code is Code.BASE_IMAGE
