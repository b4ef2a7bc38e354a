"""The host's package settings, turned into files for builds and the lab."""

from __future__ import annotations

import stat
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

from labcrate import hostpip
from labcrate.hostpip import PackageSettings

LISTED = """global.extra-index-url='https://u:p@two.example/simple file:///opt/index'
global.index-url='https://one.example/simple'
global.trusted-host='one.example'
install.find-links='/'
:env:.timeout='60'
download.cache='/x'
"""


def test_pips_answer_is_read() -> None:
    found = hostpip.parse_pip_config(LISTED)
    assert found["index-url"] == ["https://one.example/simple"]
    assert "cache" not in found


def test_a_line_that_is_no_literal_is_left_out() -> None:
    assert hostpip.parse_pip_config("global.index-url=[1,\nnonsense\n") == {}


def test_what_a_container_cannot_reach_is_named() -> None:
    wanted = hostpip.settings(hostpip.parse_pip_config(LISTED), {})
    assert wanted.extra == ("https://u:p@two.example/simple",)
    assert wanted.unreachable == ("file:///opt/index",)
    assert wanted.find_links == (Path("/"),)


def test_uvs_own_variables_win() -> None:
    environ = {"UV_DEFAULT_INDEX": "https://uv.example/simple"}
    wanted = hostpip.settings(hostpip.parse_pip_config(LISTED), environ)
    assert wanted.index == "https://uv.example/simple"


def test_both_forms_say_the_same() -> None:
    wanted = PackageSettings(
        index="https://one.example/simple",
        extra=("https://u:p@two.example/simple",),
        trusted=("one.example",),
    )
    uv = tomllib.loads(hostpip.uv_toml(wanted, wheels=True))
    assert uv["find-links"] == ["/wheels"]
    assert uv["allow-insecure-host"] == ["one.example"]
    assert [index.get("default", False) for index in uv["index"]] == [False, True]
    pip = ConfigParser(interpolation=None)
    pip.read_string(hostpip.pip_conf(wanted, wheels=True))
    assert pip["global"]["index-url"] == uv["index"][1]["url"]
    assert pip["global"]["extra-index-url"] == uv["index"][0]["url"]


def test_nothing_configured_is_the_public_index() -> None:
    """Named, so that it can be told that its files never change."""
    (index,) = tomllib.loads(hostpip.uv_toml(PackageSettings(), wheels=False))["index"]
    assert index["default"]
    assert index["url"].endswith("/simple")
    assert "immutable" in index["cache-control"]["files"]
    assert index["cache-control"]["api"] == "max-age=600"


def test_pages_of_an_own_index_are_soon_asked_for_again() -> None:
    """Somebody may have uploaded what is about to be added."""
    own = PackageSettings(index="https://one.example/simple", extra=("https://two.example/simple",))
    found = tomllib.loads(hostpip.uv_toml(own, wheels=False))["index"]
    assert [index["cache-control"]["api"] for index in found] == ["max-age=60"] * 2


def test_the_bundle_is_the_one_the_host_names(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"own CA")
    assert hostpip.ca_bundle({"SSL_CERT_FILE": str(bundle)}) == b"own CA"
    assert len(hostpip.ca_bundle({"SSL_CERT_FILE": str(tmp_path / "gone")})) > 100


def test_files_are_private_and_left_alone_when_right(tmp_path: Path) -> None:
    path = tmp_path / "uv.toml"
    owner = (path.parent.stat().st_uid, path.parent.stat().st_gid)
    assert hostpip.put(path, b"one", owner)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    inode = path.stat().st_ino
    assert not hostpip.put(path, b"one", owner)
    assert hostpip.put(path, b"two", owner)
    assert path.stat().st_ino == inode


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:s3cret@host/simple", "https://***@host/simple"),
        ("https://t0ken@host:8443/x", "https://***@host:8443/x"),
        ("file:///srv/wheels", "file:///srv/wheels"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_a_shown_address_has_no_login(address: str, shown: str) -> None:
    assert hostpip.without_login(address) == shown
