"""Logins that this host has for its indexes, and which builds and the lab cannot look up."""

from __future__ import annotations

import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from double import Double

from labcrate import environment
from labcrate.clone.fresh import refresh_package_settings
from labcrate.clone.index_logins import read_logins, with_login
from labcrate.clone.index_settings import write_package_settings
from labcrate.clone.pip_settings import package_settings, read_package_settings
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings

NETRC = """machine one.example login me password p/w:d@x
machine two.example login other password second
machine github.com login me password not-for-the-lab
"""


@pytest.fixture
def logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "netrc"
    path.write_text(NETRC)
    monkeypatch.setenv("NETRC", str(path))
    return path


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://one.example/simple", "https://me:p%2Fw%3Ad%40x@one.example/simple"),
        ("https://one.example:8443/simple/", "https://me:p%2Fw%3Ad%40x@one.example:8443/simple/"),
        ("https://other@two.example/simple", "https://other:second@two.example/simple"),
        ("https://mine:own@one.example/simple", "https://mine:own@one.example/simple"),
        ("https://somebody@one.example/simple", "https://somebody@one.example/simple"),
        ("https://three.example/simple", "https://three.example/simple"),
        ("file:///opt/index", "file:///opt/index"),
        ("http://[broken", "http://[broken"),
    ],
)
@pytest.mark.usefixtures("logins")
def test_an_index_gets_the_login_that_netrc_has_for_it(address: str, wanted: str) -> None:
    notes: list[str] = []
    assert with_login(address, read_logins(notes), keyring=False) == wanted
    assert notes == []


@pytest.mark.usefixtures("logins")
def test_builds_and_the_lab_get_that_login_and_no_other(clone: Clone, double: Double) -> None:
    listed = "global.index-url='https://one.example/simple'\n"
    double.expect("pip", "config", "list", stdout=listed)
    write_package_settings(clone, environment.user_ids(), wheels=False)
    uv, pip = ((clone.state / name).read_text() for name in ("uv.toml", "pip.conf"))
    parsed = ConfigParser(interpolation=None)
    parsed.read_string(pip)
    wanted = "https://me:p%2Fw%3Ad%40x@one.example/simple"
    assert tomllib.loads(uv)["index"][0]["url"] == parsed["global"]["index-url"] == wanted
    assert "second" not in uv + pip
    assert "not-for-the-lab" not in uv + pip
    assert not [one for call in double.calls for one in call if "p/w:d" in one]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"machine one.example login me passw0rd s3cret\n", "line 1"),
        (b"machine \xff login\n", "cannot be read"),
    ],
)
def test_a_broken_netrc_is_named_and_shows_no_password(
    logins: Path,
    settings: Settings,
    double: Double,
    data: bytes,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logins.write_bytes(data)
    double.expect("pip", "config", "list", stdout="global.index-url='https://one.example/simple'\n")
    assert read_package_settings().index == "https://one.example/simple"
    refresh_package_settings(settings)
    shown = capsys.readouterr().out
    assert told in shown
    assert str(logins) in shown
    assert "s3cret" not in shown


def test_without_a_netrc_there_are_no_logins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_logins([]) is None


@pytest.mark.parametrize(
    ("setting", "services", "wanted"),
    [
        ("", ["https://one.example/simple"], "https://me%40x:p%20w@one.example/simple"),
        ("", ["one.example"], "https://me%40x:p%20w@one.example/simple"),
        ("", [], "https://me%40x@one.example/simple"),
        ("global.keyring-provider='disabled'\n", [], "https://me%40x@one.example/simple"),
    ],
)
def test_the_keyring_is_asked_for_a_user_without_a_password(
    double: Double,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    services: list[str],
    wanted: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(environment, "command_path", lambda name: f"/usr/bin/{name}")
    listed = f"global.index-url='https://me%40x@one.example/simple'\n{setting}"
    double.expect("pip", "config", "list", stdout=listed)
    if not setting:
        double.expect("keyring", "get", returncode=1)
    for service in services:
        double.expect("keyring", "get", service, "me@x", stdout="p w\n")
    assert read_package_settings().index == wanted


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, "https://one.example/simple?a=b"),
        (
            {"UV_INDEX_IN_HOUSE_USERNAME": "me", "UV_INDEX_IN_HOUSE_PASSWORD": "p/w"},
            "https://me:p%2Fw@one.example/simple?a=b",
        ),
    ],
)
def test_an_index_that_uvs_variables_name_has_its_login_there(
    environ: dict[str, str], wanted: str
) -> None:
    address = "https://one.example/simple?a=b"
    for text in (f"in-house={address}", address):
        given = {**environ, "UV_INDEX": text, "UV_DEFAULT_INDEX": text}
        found = package_settings({}, given)
        expected = wanted if text.startswith("in-") else address
        assert (found.index, found.extra) == (expected, (expected,))


def test_settings_files_of_uv_are_named_as_not_read(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.expect("pip", "config", "list")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    before = read_package_settings().notes
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").touch()
    (note,) = set(read_package_settings().notes) - set(before)
    assert note == f"not read, only pip's settings are: {tmp_path}/uv/uv.toml"
