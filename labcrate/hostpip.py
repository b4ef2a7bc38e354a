"""The host's own package settings, carried into builds and the lab as files that no layer keeps.

pip's settings are the ones people have (an index with credentials, a mirror, a CA bundle), and uv
does not read them, so both get a file of their own form.
"""

from __future__ import annotations

import ast
import os
import re
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pip._internal.models.index import PyPI

from labcrate import shell
from labcrate.shell import ROOT

STATE = ROOT / ".labcrate"
"""What the tasks keep beside .env: git ignores it, only the owner reads it."""

FILES = ("uv.toml", "pip.conf", "ca.pem")
"""What builds and the running lab get as secrets."""

WHEELS_IN_CONTAINER = "/wheels"

FOREVER = "max-age=31536000, immutable"
"""What uv is to make of every file of an index, a year in seconds. A file of one name never changes
there, and locks hold its hash; but many mirrors and proxies do not say so, and behind one of those
every build would download everything anew."""

PAGES_PUBLIC, PAGES_OWN = "max-age=600", "max-age=60"
"""And of its pages, in seconds: for the public index what that says itself, for another one as long
as one change takes, so that its build sees what it was resolved from."""

CA_FALLBACKS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, kw_only=True)
class PackageSettings:
    """Index addresses as configured, credentials included; find_links are existing folders."""

    index: str = ""
    extra: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    find_links: tuple[Path, ...] = ()
    unreachable: tuple[str, ...] = ()


def parse_pip_config(text: str) -> dict[str, list[str]]:
    """`pip config list` -> {option: values}; the environment's values come last there and win."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and name.split(".")[0] in ("global", "install", ":env:"):
            try:
                words = str(ast.literal_eval(value)).split()
            except (SyntaxError, ValueError):
                continue
            found[name.rpartition(".")[2]] = words
    return found


def settings(pip: Mapping[str, list[str]], environ: Mapping[str, str]) -> PackageSettings:
    """pip's settings, overridden by uv's variables where those are set."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    extra = (environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL") or "").split()
    addresses = extra or pip.get("extra-index-url", [])
    links = [Path(link.removeprefix("file://")) for link in pip.get("find-links", [])]
    remote = [link for link in pip.get("find-links", []) if "://" in link]
    return PackageSettings(
        index=index or (pip.get("index-url") or [""])[0],
        extra=tuple(url for url in addresses if not url.startswith("file:")),
        trusted=tuple(pip.get("trusted-host", [])),
        find_links=tuple(path for path in links if path.is_dir()),
        # A folder index of the host is not there inside a build.
        unreachable=(*(url for url in addresses if url.startswith("file:")), *remote),
    )


def read(environ: Mapping[str, str] = os.environ) -> PackageSettings:
    """Ask this interpreter's pip, which knows every place its settings may come from."""
    answer = shell.capture((sys.executable, "-m", "pip", "config", "list"), timeout_s=20)
    return settings(parse_pip_config(answer.stdout if answer.ok else ""), environ)


def without_login(address: str) -> str:
    """An address as it may be shown: without its user name and password."""
    return re.sub(r"//[^/@\s]*@", "//***@", address)


def uv_toml(wanted: PackageSettings, wheels: bool) -> str:
    lines = ["# Written by `invoke setup` from this host's pip and uv settings."]
    if wheels:
        lines.append(f'find-links = ["{WHEELS_IN_CONTAINER}"]')
    if wanted.trusted:
        lines.append(f"allow-insecure-host = {list(wanted.trusted)!r}".replace("'", '"'))
    for url in wanted.extra:
        lines += ["[[index]]", f'url = "{url}"', cache_control(PAGES_OWN)]
    pages = PAGES_OWN if wanted.index else PAGES_PUBLIC
    lines += ["[[index]]", f'url = "{wanted.index or PyPI.simple_url}"', "default = true"]
    lines.append(cache_control(pages))
    return "\n".join(lines) + "\n"


def cache_control(pages: str) -> str:
    return f'cache-control = {{ api = "{pages}", files = "{FOREVER}" }}'


def pip_conf(wanted: PackageSettings, wheels: bool) -> str:
    pairs = {
        "index-url": wanted.index,
        "extra-index-url": " ".join(wanted.extra),
        "trusted-host": " ".join(wanted.trusted),
        "find-links": WHEELS_IN_CONTAINER if wheels else "",
    }
    lines = [f"{name} = {value}" for name, value in pairs.items() if value]
    return "\n".join(["# Written by `invoke setup`.", "[global]", *lines]) + "\n"


def ca_bundle(environ: Mapping[str, str] = os.environ) -> bytes:
    """The certificate authorities that this host trusts."""
    names = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
    default = ssl.get_default_verify_paths().cafile
    for candidate in (*(environ.get(name) for name in names), default, *CA_FALLBACKS):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    from pip._vendor import certifi  # the last resort, where a machine has no bundle at all

    return Path(certifi.where()).read_bytes()


def write(owner: tuple[int, int], wheels: bool) -> bool:
    """Bring the files below .labcrate up to date; whether anything changed.

    owner: the uid and gid of the lab's user, who must be able to read the mounted files.
    """
    wanted = read()
    (STATE / "wheels").mkdir(parents=True, exist_ok=True)
    STATE.chmod(0o711)
    files = {
        "uv.toml": uv_toml(wanted, wheels).encode(),
        "pip.conf": pip_conf(wanted, wheels).encode(),
        "ca.pem": ca_bundle(),
    }
    changed = [name for name, data in files.items() if put(STATE / name, data, owner)]
    return bool(changed)


def put(path: Path, data: bytes, owner: tuple[int, int]) -> bool:
    """Write a private file in one step, unless it holds that already."""
    if path.exists() and path.read_bytes() == data:
        return False
    # In place, not by rename: a running lab has this very file mounted.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, *owner)
    return True
