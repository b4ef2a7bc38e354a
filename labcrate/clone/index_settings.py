"""The host's own package settings, carried into builds and the lab as files that no layer keeps.

pip's settings are the ones people have (an index with credentials, a mirror, a CA bundle), and uv
does not read them, so both get a file of their own form.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from labcrate import environment, process
from labcrate.clone.pip_settings import PackageSettings, read_package_settings, with_scheme
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError

FILES = ("uv.toml", "pip.conf", "ca.pem", "proxies")
"""What the running lab gets as secrets, and builds, too; but those get proxies as arguments."""

WHEELS_IN_CONTAINER = "/wheels"

FOREVER = "max-age=31536000, immutable"
"""What uv is to make of every file of an index, a year in seconds. A file of one name never changes
there, and locks hold its hash; but many mirrors and proxies do not say so, and behind one of those
every build would download everything anew."""

PAGES = "max-age=60"
"""And of the pages of an index that is set here, in seconds: as long as one change takes, so that
its build sees what it was resolved from."""

CA_FALLBACKS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def uv_toml(wanted: PackageSettings, wheels: bool) -> str:
    """uv's settings. Any string survives: JSON's strings are TOML's basic strings, too."""
    lines = ["# Written by `invoke setup` from this host's pip and uv settings."]
    if wheels:
        lines.append(f"find-links = {toml([WHEELS_IN_CONTAINER])}")
    if wanted.trusted:
        lines.append(f"allow-insecure-host = {toml(list(wanted.trusted))}")
    if wanted.no_index:
        lines.append("no-index = true")
    if wanted.proxy:
        lines += [f"{name} = {toml(wanted.proxy)}" for name in ("http-proxy", "https-proxy")]
    else:
        lines += uv_proxies(dict(wanted.proxies))
    for url in wanted.extra:
        lines += ["[[index]]", f"url = {toml(url)}", CACHE_CONTROL]
    if wanted.index:
        lines += ["[[index]]", f"url = {toml(wanted.index)}", "default = true", CACHE_CONTROL]
    return "\n".join(lines) + "\n"


def uv_proxies(environ: Mapping[str, str]) -> Iterator[str]:
    """The host's proxies for a uv that is started beside JupyterLab, without its variables."""
    for option in ("http-proxy", "https-proxy"):
        name = option.replace("-", "_")
        if url := environ.get(name) or environ.get(name.upper()):
            yield f"{option} = {toml(with_scheme(url))}"
    if names := environ.get("no_proxy") or environ.get("NO_PROXY"):
        yield f"no-proxy = {toml([name for name in re.split('[, ]+', names) if name])}"


def toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


CACHE_CONTROL = f'cache-control = {{ api = "{PAGES}", files = "{FOREVER}" }}'


def pip_conf(wanted: PackageSettings, wheels: bool) -> str:
    pairs = {
        "index-url": wanted.index,
        "extra-index-url": " ".join(wanted.extra),
        "trusted-host": " ".join(wanted.trusted),
        "find-links": WHEELS_IN_CONTAINER if wheels else "",
        "no-index": "true" if wanted.no_index else "",
        "proxy": wanted.proxy,
        "timeout": wanted.timeout,
    }
    lines = [f"{name} = {value}" for name, value in pairs.items() if value]
    return "\n".join(["# Written by `invoke setup`.", "[global]", *lines]) + "\n"


def ca_bundle(own: Path | None = None) -> bytes:
    """The certificate authorities that this host trusts, and those of pip's own `cert`."""
    found = host_bundle()
    more = own.read_bytes() if own else b""
    return found if more.strip() in found else found.rstrip() + b"\n" + more


def host_bundle() -> bytes:
    named = [environment.variable(n) for n in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")]
    default = ssl.get_default_verify_paths().cafile
    for candidate in (*named, default, *CA_FALLBACKS):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    raise LabError(
        "this machine has no bundle of certificate authorities",
        fix="sudo apt-get install ca-certificates (or set SSL_CERT_FILE to a bundle)",
        code=Code.INSTALL,
    )


def write_package_settings(clone: Clone, owner: tuple[int, int], wheels: bool) -> bool:
    """Bring the files below .labcrate up to date; whether anything changed.

    owner: the uid and gid of the lab's user, who must be able to read the mounted files.
    """
    if process.is_dry():
        return False
    wanted = read_package_settings()
    (clone.state / "wheels").mkdir(parents=True, exist_ok=True)
    clone.state.chmod(0o711)
    files = {
        "uv.toml": uv_toml(wanted, wheels).encode(),
        "pip.conf": pip_conf(wanted, wheels).encode(),
        "ca.pem": ca_bundle(wanted.cert),
        "proxies": "".join(f"{name}={url}\n" for name, url in wanted.proxies).encode(),
    }
    changed = [name for name, data in files.items() if put(clone.state / name, data, owner)]
    return bool(changed)


def has_package_settings(clone: Clone) -> bool:
    """Whether they were written at all; a build brings them up to date."""
    return all((clone.state / name).is_file() for name in FILES)


def put(path: Path, data: bytes, owner: tuple[int, int]) -> bool:
    """Write a private file in one step, unless it holds that already."""
    if path.exists() and path.read_bytes() == data:
        return False
    # In place, not by rename: a running lab has this very file mounted.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    path.chmod(0o600)
    if environment.is_root():
        os.chown(path, *owner)
    return True
