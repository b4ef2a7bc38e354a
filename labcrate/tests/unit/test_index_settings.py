"""The host's package settings, turned into files for builds and the lab."""

from __future__ import annotations

import os
import stat
import subprocess
import tomllib
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import pytest
from double import Double

from labcrate import process
from labcrate.clone import index_settings
from labcrate.clone.fresh import refresh_package_settings
from labcrate.clone.index_logins import without_login
from labcrate.clone.index_settings import (
    FILES,
    ca_bundle,
    has_package_settings,
    pip_conf,
    put,
    uv_toml,
    write_package_settings,
)
from labcrate.clone.pip_settings import (
    PROXIES,
    PackageSettings,
    package_settings,
    parse_pip_config,
    read_package_settings,
)
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.images import PARTS

LISTED = """global.extra-index-url='https://u:p@two.example/simple file:///opt/index'
global.index-url='https://one.example/simple'
global.trusted-host='one.example'
install.find-links='/'
:env:.timeout='60'
download.cache='/x'
"""
OWNER = (os.getuid(), os.getgid())


def test_pips_answer_is_read() -> None:
    found = parse_pip_config(LISTED)
    assert found["index-url"] == ["https://one.example/simple"]
    assert "cache" not in found


@pytest.mark.parametrize(
    "lines",
    [
        ("global.index-url='https://file.example'", ":env:.index-url='https://env.example'"),
        (":env:.index-url='https://env.example'", "global.index-url='https://file.example'"),
    ],
)
def test_the_environment_wins_wherever_pip_prints_it(lines: tuple[str, str]) -> None:
    assert parse_pip_config("\n".join(lines))["index-url"] == ["https://env.example"]


def test_a_line_that_is_no_literal_is_left_out() -> None:
    assert parse_pip_config("global.index-url=[1,\nnonsense\n") == {}


def test_what_a_container_cannot_reach_is_named() -> None:
    wanted = package_settings(parse_pip_config(LISTED), {})
    assert wanted.extra == ("https://u:p@two.example/simple",)
    assert "left out, because no container can reach it: file:///opt/index" in wanted.notes
    assert wanted.find_links == (Path("/"),)


def test_find_links_on_a_server_are_out_of_reach_too() -> None:
    wanted = package_settings({"find-links": ["https://one.example/wheels"]}, {})
    assert wanted.find_links == ()
    assert [note.split()[-1] for note in wanted.notes] == ["https://one.example/wheels"]


def test_uvs_own_variables_win() -> None:
    environ = {"UV_DEFAULT_INDEX": "https://uv.example/simple"}
    wanted = package_settings(parse_pip_config(LISTED), environ)
    assert wanted.index == "https://uv.example/simple"


@pytest.mark.parametrize("works", [True, False])
def test_this_interpreters_pip_is_asked(double: Double, works: bool) -> None:
    double.expect("pip", "config", "list", stdout=LISTED, returncode=0 if works else 1)
    assert bool(read_package_settings().trusted) is works


def test_both_forms_say_the_same() -> None:
    wanted = PackageSettings(
        index="https://one.example/simple",
        extra=("https://u:p@two.example/simple",),
        trusted=("one.example",),
    )
    uv = tomllib.loads(uv_toml(wanted, wheels=True))
    assert uv["find-links"] == ["/wheels"]
    assert uv["allow-insecure-host"] == ["one.example"]
    assert [index.get("default", False) for index in uv["index"]] == [False, True]
    pip = ConfigParser(interpolation=None)
    pip.read_string(pip_conf(wanted, wheels=True))
    assert pip["global"]["index-url"] == uv["index"][1]["url"]
    assert pip["global"]["extra-index-url"] == uv["index"][0]["url"]
    assert pip["global"]["find-links"] == "/wheels"


def test_nothing_configured_names_no_index() -> None:
    """The installers then use the public one by themselves."""
    assert "index" not in tomllib.loads(uv_toml(PackageSettings(), wheels=False))
    pip = ConfigParser(interpolation=None)
    pip.read_string(pip_conf(PackageSettings(), wheels=False))
    assert dict(pip["global"]) == {}


def test_files_of_an_index_stay_cached_and_its_pages_are_soon_asked_for_again() -> None:
    """Somebody may have uploaded what is about to be added."""
    own = PackageSettings(index="https://one.example/simple", extra=("https://two.example/simple",))
    found = tomllib.loads(uv_toml(own, wheels=False))["index"]
    assert [index["cache-control"]["api"] for index in found] == ["max-age=60"] * 2
    assert all("immutable" in index["cache-control"]["files"] for index in found)


def test_the_bundle_is_the_one_the_host_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"own CA")
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert ca_bundle() == b"own CA"
    monkeypatch.setattr(index_settings, "CA_FALLBACKS", (str(bundle),))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone"))
    assert len(ca_bundle()) >= len(b"own CA")


def test_a_host_without_a_bundle_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    with pytest.raises(LabError) as caught:
        ca_bundle()
    assert caught.value.code is Code.INSTALL
    assert "ca-certificates" in caught.value.fix


def test_files_are_private_and_left_alone_when_right(tmp_path: Path) -> None:
    path = tmp_path / "uv.toml"
    assert put(path, b"one", OWNER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    inode = path.stat().st_ino
    assert not put(path, b"one", OWNER)
    assert put(path, b"two", OWNER)
    assert path.stat().st_ino == inode


def test_the_files_come_into_the_clones_state(clone: Clone, double: Double) -> None:
    double.expect("pip", "config", "list", stdout=LISTED)
    assert not has_package_settings(clone)
    with process.in_mode(process.Mode(dry=True)):
        assert not write_package_settings(clone, OWNER, wheels=False)
    assert not has_package_settings(clone)
    assert write_package_settings(clone, OWNER, wheels=False)
    assert has_package_settings(clone)
    assert {path.name for path in clone.state.iterdir()} == {*FILES, "wheels"}
    assert stat.S_IMODE(clone.state.stat().st_mode) == 0o711
    assert not write_package_settings(clone, OWNER, wheels=False)


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
    assert without_login(address) == shown


OPTIONS = """global.proxy='user:pw@proxy.example:3128'
global.no-index='true'
:env:.default-timeout='180'
"""


def test_proxy_and_no_index_reach_both_and_the_timeout_pip() -> None:
    wanted = package_settings(parse_pip_config(OPTIONS), {})
    uv, pip = tomllib.loads(uv_toml(wanted, wheels=True)), ConfigParser(interpolation=None)
    pip.read_string(pip_conf(wanted, wheels=True))
    proxy = "http://user:pw@proxy.example:3128"
    assert uv["http-proxy"] == uv["https-proxy"] == pip["global"]["proxy"] == proxy
    assert uv["no-index"] is pip["global"].getboolean("no-index") is True
    assert pip["global"]["timeout"] == "180"
    assert wanted.notes == tuple(n for n in wanted.notes if "timeout is not carried" in n) != ()


@pytest.mark.parametrize("value", ["0", "false", "no"])
def test_a_switch_of_pip_that_is_off_is_off(value: str) -> None:
    wanted = package_settings({"no-index": [value]}, {})
    assert "no-index" not in uv_toml(wanted, wheels=True) + pip_conf(wanted, wheels=True)


def test_pips_own_authority_is_trusted_beside_the_hosts(
    clone: Clone, double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, own = tmp_path / "system.pem", tmp_path / "own.pem"
    system.write_bytes(b"system CA\n")
    own.write_bytes(b"company CA\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    double.expect("pip", "config", "list", stdout=f"global.cert='{own}'\n")
    write_package_settings(clone, OWNER, wheels=False)
    assert (clone.state / "ca.pem").read_bytes() == b"system CA\ncompany CA\n"
    assert ca_bundle(system) == b"system CA\n"


@pytest.mark.parametrize(
    ("pip", "told"),
    [
        ({"client-cert": ["/k.pem"]}, "client-cert is not carried into builds"),
        ({"constraint": ["/c.txt"]}, "constraint is not carried into builds"),
        ({"cert": ["/no/such.pem"]}, "there is no such file: cert /no/such.pem"),
        ({"proxy": ["u:pw@localhost:3128"]}, "the container itself: proxy http://***@localhost"),
        ({"index-url": ["http://u:pw@127.0.0.1:3141/x"]}, "http://***@127.0.0.1:3141/x is the"),
    ],
)
def test_what_cannot_be_carried_is_named(pip: dict[str, list[str]], told: str) -> None:
    (note,) = package_settings(pip, {}).notes
    assert told in note
    assert "pw" not in note


def test_it_is_named_once_and_again_after_a_change(
    settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = replace(settings, uid=OWNER[0], gid=OWNER[1])
    certificate = "global.client-cert='/k.pem'\n"
    for listed, quiet, times in (
        ("", False, 0),
        # Neither file of the lab changes by this one.
        (certificate, True, 1),
        (certificate, True, 0),
        (certificate, False, 0),
        (certificate + "global.pre='true'\n", False, 1),
    ):
        double.expect("pip", "config", "list", stdout=listed)
        refresh_package_settings(mine, quiet=quiet)
        assert capsys.readouterr().out.count("client-cert") == times


def test_the_hosts_proxies_are_a_file_and_settings_of_uv(
    clone: Clone, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uv that `add-package` starts in the running lab has no variables of JupyterLab's."""
    double.expect("pip", "config", "list")
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    write_package_settings(clone, OWNER, wheels=False)
    assert (clone.state / "proxies").read_text() == ""
    assert "proxy" not in (clone.state / "uv.toml").read_text()
    monkeypatch.setenv("HTTPS_PROXY", "http://u:p=w@proxy.example:3128")
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "localhost, .example")
    write_package_settings(clone, OWNER, wheels=False)
    assert (clone.state / "proxies").read_text().splitlines() == [
        "HTTPS_PROXY=http://u:p=w@proxy.example:3128",
        "NO_PROXY=localhost, .example",
        "http_proxy=proxy.example:3128",
    ]
    assert stat.S_IMODE((clone.state / "proxies").stat().st_mode) == 0o600
    uv = tomllib.loads((clone.state / "uv.toml").read_text())
    assert uv["https-proxy"] == "http://u:p=w@proxy.example:3128"
    assert uv["http-proxy"] == "http://proxy.example:3128"
    assert uv["no-proxy"] == ["localhost", ".example"]


def test_commands_of_the_lab_start_with_the_hosts_proxies(tmp_path: Path) -> None:
    """The script of the image, with the secret where a test may write it."""
    proxies = tmp_path / "proxies"
    script = (PARTS / "with-proxies").read_text().replace("/run/secrets/proxies", str(proxies))
    (tmp_path / "script").write_text(script)
    command = ("sh", str(tmp_path / "script"), "sh", "-c", 'printf %s "$HTTPS_PROXY"; exit 7')
    url = "http://u:$p=w`x`@h:1"
    for text, wanted in (("", ""), (f"NO_PROXY=a, b\nHTTPS_PROXY={url}\n", url)):
        proxies.write_text(text)
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.defpath})
        assert (done.stdout, done.returncode) == (wanted, 7)
