"""What this host's pip and uv are set to: read, and what of it cannot reach a container named."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labcrate import environment, process
from labcrate.clone.index_logins import add_login, read_logins, with_login, without_login
from labcrate.clone.ports import names_this_machine

NOT_CARRIED = {
    "client-cert": "its key would lie in the lab, open to every notebook",
    "constraint": "the lab's own constraints hold; name the versions in docker/packages.in",
    "only-binary": "docker/packages.in decides",
    "no-binary": "docker/packages.in decides",
    "pre": "name the version: invoke add-package 'NAME==2.0rc1'",
    "timeout": "pip in the lab has it; uv, which builds use, gives an index 30 s",
}
"""Options of pip that change what is installed, or whether it can be, and do not reach builds."""


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Variables of this host that the lab gets, too."""


@dataclass(frozen=True, kw_only=True)
class PackageSettings:
    """Index addresses as configured, credentials included; find_links are existing folders.

    proxy: pip's own. proxies: the host's variables. timeout: seconds, as pip writes them. notes:
    what of the host's settings does not reach the lab, without its passwords; one line each.
    """

    index: str = ""
    extra: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    find_links: tuple[Path, ...] = ()
    proxy: str = ""
    proxies: tuple[tuple[str, str], ...] = ()
    cert: Path | None = None
    no_index: bool = False
    timeout: str = ""
    notes: tuple[str, ...] = ()


def parse_pip_config(text: str) -> dict[str, list[str]]:
    """`pip config list` -> {option: values}. The environment wins, wherever pip prints it."""
    of_files: dict[str, list[str]] = {}
    of_environment: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        section = name.split(".")[0]
        if not separator or section not in ("global", "install", ":env:"):
            continue
        try:
            words = str(ast.literal_eval(value)).split()
        except (SyntaxError, ValueError):
            continue
        found = of_environment if section == ":env:" else of_files
        found[name.rpartition(".")[2]] = words
    return {**of_files, **of_environment}


def package_settings(pip: Mapping[str, list[str]], environ: Mapping[str, str]) -> PackageSettings:
    """pip's settings, overridden by uv's variables where those are set."""
    index = uv_index(environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or "", environ)
    named = (environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL") or "").split()
    extra = [uv_index(one, environ) for one in named]
    addresses = extra or pip.get("extra-index-url", [])
    links = [Path(link.removeprefix("file://")) for link in pip.get("find-links", [])]
    proxy = proxy_of(pip)
    cert = Path(" ".join(pip["cert"])) if pip.get("cert") else None
    found = PackageSettings(
        index=index or (pip.get("index-url") or [""])[0],
        extra=tuple(url for url in addresses if not url.startswith("file:")),
        trusted=tuple(pip.get("trusted-host", [])),
        find_links=tuple(path for path in links if path.is_dir()),
        proxy="" if names_this_machine(proxy) else proxy,
        proxies=tuple((name, environ[name]) for name in PROXIES if environ.get(name)),
        cert=cert if cert and cert.is_file() else None,
        no_index="".join(pip.get("no-index", [])).lower() in ("1", "true", "yes", "on"),
        timeout="".join(pip.get("timeout", pip.get("default-timeout", []))),
    )
    return replace(found, notes=tuple(notes_on(found, pip, addresses)))


def uv_index(text: str, environ: Mapping[str, str]) -> str:
    """The address of `NAME=URL`, with the login that uv takes from variables with that name."""
    name, _, url = text.partition("=")
    if not url or not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        return text
    prefix = f"UV_INDEX_{re.sub('[^A-Z0-9]', '_', name.upper())}"
    user, password = (environ.get(f"{prefix}_{part}", "") for part in ("USERNAME", "PASSWORD"))
    return add_login(url, user, password) if user or password else url


def uv_files() -> Iterator[Path]:
    """The settings files of this user's and this machine's own uv."""
    home = environment.variable("XDG_CONFIG_HOME") or "~/.config"
    named = environment.variable("UV_CONFIG_FILE")
    for path in (named, f"{home}/uv/uv.toml", "/etc/uv/uv.toml"):
        if path and Path(path).expanduser().is_file():
            yield Path(path).expanduser()


def notes_on(
    found: PackageSettings, pip: Mapping[str, list[str]], addresses: Sequence[str]
) -> Iterator[str]:
    """What the lab does not get of pip's settings, or cannot use. addresses: the extra indexes."""
    # A folder index of the host is not there inside a build.
    folders = [url for url in addresses if url.startswith("file:")]
    for place in (*folders, *(link for link in pip.get("find-links", []) if "://" in link)):
        yield f"left out, because no container can reach it: {without_login(place)}"
    for place in (found.index, *found.extra):
        if names_this_machine(place):
            yield (
                f"in a container, {without_login(place)} is the container itself: let the index "
                "answer on an address of this machine, and name that"
            )
    if not found.proxy and (proxy := without_login(proxy_of(pip))):
        yield f"left out, because in a container it is the container itself: proxy {proxy}"
    if pip.get("cert") and not found.cert:
        yield f"left out, because there is no such file: cert {' '.join(pip['cert'])}"
    for name, why in NOT_CARRIED.items():
        if pip.get(name) or (name == "timeout" and found.timeout):
            yield f"pip's {name} is not carried into builds: {why}"


def proxy_of(pip: Mapping[str, list[str]]) -> str:
    """pip's proxy as an address; pip takes one without a scheme, too."""
    return with_scheme("".join(pip.get("proxy", [])))


def with_scheme(proxy: str) -> str:
    """A proxy as a URL; without a scheme it is one for HTTP."""
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def read_package_settings() -> PackageSettings:
    """Ask this interpreter's pip, which knows every place its settings may come from."""
    answer = process.ask((sys.executable, "-m", "pip", "config", "list"), timeout_s=20)
    pip = parse_pip_config(answer.stdout if answer.ok else "")
    found = package_settings(pip, environment.variables())
    keyring = pip.get("keyring-provider") != ["disabled"]
    notes = [*found.notes, *(f"not read, only pip's settings are: {path}" for path in uv_files())]
    logins = read_logins(notes)
    return replace(
        found,
        index=with_login(found.index, logins, keyring),
        extra=tuple(with_login(url, logins, keyring) for url in found.extra),
        notes=tuple(notes),
    )
