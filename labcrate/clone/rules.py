"""What a value of .env must be: one small rule a group of variables, each with its fix."""

from __future__ import annotations

import difflib
import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from labcrate.clone.device_list import device_list_problem
from labcrate.clone.env_file import LARGEST_ID, is_numeric_id, readable_folder, writable
from labcrate.clone.limits import limit_problems
from labcrate.clone.place import Clone
from labcrate.clone.ports import LAST_PORT, PORTS, is_loopback
from labcrate.errors import Code

FOLDERS = ("notebooks", "src", "runs", "data", "models")
"""The owner's folders below ROOT_DIR. Nothing in them is ever deleted."""

STRONG_TOKEN = 32
"""Characters of a token that may face other machines; 32 hex digits are 128 random bits."""

VARIED = 8
"""Different characters that such a token must have; 1 in 10^7 of random ones has fewer."""

TYPO = 0.85
"""How like a variable of the lab (difflib's ratio) an unknown name must be to count as a typo of
it. Owner's variables for services of their own are welcome: MLFLOW_PORT is 0.7 of JUPYTER_PORT,
and JUPYTR_PORT is 0.96."""

OPTIONAL = {
    "ROOT_DIR": "",
    "JUPYTER_DIR": "/lab/notebooks",
    "TENSORBOARD_DIR": "/lab/runs",
    "BASE_IMAGE": "debian:trixie-slim",
    "TORCH_BACKEND": "auto",
    "GPU": "auto",
    "GPU_DEVICES": "all",
    "SHM_SIZE": "8g",
    "MEMORY_LIMIT": "0",
    "PIDS_LIMIT": "16384",
    "IDLE_HOURS": "0",
    "BIND_ADDRESS": "127.0.0.1",
    "TZ": "",
    "HOST_WHEELS": "",
    "COMPOSE_FILE": "compose/compose.yaml",
    "SEARCH_PORT": "",
    "SHARED_MODELS": "",
}
REQUIRED = (
    *("COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "JUPYTER_TOKEN", "TENSORBOARD_PORT"),
    *("LAB_UID", "LAB_GID"),
)
KNOWN = (*REQUIRED, *OPTIONAL)

BACKENDS = ("auto", "pypi", "cpu", "cu126", "cu130", "cu132")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with the settings."""

    text: str
    fix: str
    code: Code = Code.SETTINGS


def check(values: Mapping[str, str], clone: Clone) -> list[Problem]:
    """Every problem of a set of values; reads the file system for its folders alone."""
    rules = (_typo, _missing, _ports, _token, _container_dirs)
    more = (_choices, _limits, _address, _devices, _ids)
    found = [problem for rule in (*rules, *more) for problem in rule(values)]
    return [*found, *_folders(values, clone), *_shared_models(values)]


def check_quoting(text: str) -> Iterator[Problem]:
    """Compose expands `$name` where python-dotenv does not: ask for quotes, which both honour."""
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if not name.startswith("#") and "$" in value and not value.strip().startswith("'"):
            yield Problem(
                text=f"{name} holds a `$`, which Compose would expand",
                fix=f"put the value in single quotes: {name}='...'",
            )


def _typo(values: Mapping[str, str]) -> Iterator[Problem]:
    """A name that is almost a variable of the lab; any other is the owner's own."""
    for name in (one for one in values if one not in KNOWN):
        near = difflib.get_close_matches(name.upper(), KNOWN, n=1, cutoff=TYPO)
        if near:
            yield Problem(
                text=f"{name} is not a variable of the lab",
                fix=f"did you mean {near[0]}? (a variable of your own needs another name)",
            )


def _missing(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in REQUIRED:
        if name != "JUPYTER_TOKEN" and not values.get(name, "").strip():
            yield Problem(text=f"{name} is not set", fix="invoke setup (fills in what is missing)")


def _ports(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in PORTS:
        value = values.get(name, "")
        if value and not (re.fullmatch(r"[0-9]{1,5}", value) and 1 <= int(value) <= LAST_PORT):
            yield Problem(
                text=f"{name}={value} is not a port", fix=f"set {name} to a number in 1024-65535"
            )
    for first, second in itertools.combinations(PORTS, 2):
        if values.get(first) and values[first] == values.get(second):
            problem = f"{first} and {second} are both {values[first]}"
            yield Problem(text=problem, fix=f"give {second} another number")


def _token(values: Mapping[str, str]) -> Iterator[Problem]:
    token = values.get("JUPYTER_TOKEN", "")
    if not token.strip():
        yield Problem(
            text="JUPYTER_TOKEN is empty, which would let anyone in",
            fix="invoke setup (writes a random one)",
        )
    elif not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
        yield Problem(
            text="JUPYTER_TOKEN holds characters that a link cannot carry",
            fix="use letters, digits, and . _ ~ - only",
        )
    elif not is_loopback(values.get("BIND_ADDRESS") or "127.0.0.1") and not is_strong(token):
        yield Problem(
            text=f"BIND_ADDRESS={values['BIND_ADDRESS']} lets other machines in, and the token "
            f"is too easily guessed ({len(token)} characters, {len(set(token))} different)",
            fix="empty JUPYTER_TOKEN and run `invoke setup`, or set a random one of "
            f"{STRONG_TOKEN} characters or more",
        )


def is_strong(token: str) -> bool:
    return len(token) >= STRONG_TOKEN and len(set(token)) >= VARIED


def _folders(values: Mapping[str, str], clone: Clone) -> Iterator[Problem]:
    value = values.get("ROOT_DIR", "")
    path = Path(value) if value else clone.root
    if value and not path.is_absolute():
        yield Problem(
            text=f"ROOT_DIR={value} is not an absolute path",
            fix=f"write ROOT_DIR={(clone.root / value).resolve()} (or leave it empty: this clone)",
            code=Code.FOLDER,
        )
    elif not path.exists():
        yield Problem(
            text=f"ROOT_DIR={value} does not exist",
            fix=f"mkdir -p '{value}', or leave ROOT_DIR empty to use this clone",
            code=Code.FOLDER,
        )
    elif not path.is_dir():
        yield Problem(text=f"ROOT_DIR={value} is a file", fix="name a folder", code=Code.FOLDER)
    elif not all((path / name).is_dir() for name in FOLDERS) and not writable(path):
        yield Problem(
            text=f"ROOT_DIR={value or clone.root} is not writable for this user",
            fix="name a folder of your own, or change this one's owner",
            code=Code.FOLDER,
        )


def _shared_models(values: Mapping[str, str]) -> Iterator[Problem]:
    value = values.get("SHARED_MODELS", "")
    if value and not (Path(value).is_absolute() and readable_folder(Path(value))):
        yield Problem(
            text=f"SHARED_MODELS={value} is not a folder that this user can read",
            fix="write the whole path of a folder, from / on, or leave it empty: none",
            code=Code.FOLDER,
        )


def _container_dirs(values: Mapping[str, str]) -> Iterator[Problem]:
    mounted = [f"/lab/{name}" for name in FOLDERS]
    for name in ("JUPYTER_DIR", "TENSORBOARD_DIR"):
        value = values.get(name) or OPTIONAL[name]
        path = PurePosixPath(value)
        inside = any(path.is_relative_to(mount) for mount in mounted) and ".." not in path.parts
        if not inside:
            yield Problem(
                text=f"{name}={value} is not inside a folder that the lab keeps",
                fix=f"set {name} to {OPTIONAL[name]}, or below one of {', '.join(mounted)}",
                code=Code.FOLDER,
            )


def _choices(values: Mapping[str, str]) -> Iterator[Problem]:
    allowed = {"GPU": ("auto", "on", "off"), "TORCH_BACKEND": BACKENDS}
    for name, choices in allowed.items():
        value = values.get(name) or choices[0]
        if value not in choices:
            yield Problem(
                text=f"{name}={value} is not a choice", fix=f"use one of: {', '.join(choices)}"
            )


def _limits(values: Mapping[str, str]) -> Iterator[Problem]:
    for text, fix in limit_problems({**OPTIONAL, **{k: v for k, v in values.items() if v}}):
        yield Problem(text=text, fix=fix)


def _address(values: Mapping[str, str]) -> Iterator[Problem]:
    address = values.get("BIND_ADDRESS") or OPTIONAL["BIND_ADDRESS"]
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        yield Problem(
            text=f"BIND_ADDRESS={address} is not an IPv4 address",
            fix="use 127.0.0.1 (this machine only) or an address of this machine",
        )


def _devices(values: Mapping[str, str]) -> Iterator[Problem]:
    found = device_list_problem(values.get("GPU_DEVICES") or OPTIONAL["GPU_DEVICES"])
    if found:
        yield Problem(text=found[0], fix=found[1])


def _ids(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("LAB_UID", "LAB_GID"):
        value = values.get(name, "")
        if value and not is_numeric_id(value):
            problem = f"{name}={value} is not a numeric id up to {LARGEST_ID}, the engine's largest"
            yield Problem(text=problem, fix="use the output of `id -u`/`id -g` of such a user")
    project = values.get("COMPOSE_PROJECT_NAME", "")
    if project and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        yield Problem(
            text=f"COMPOSE_PROJECT_NAME={project} is not a name that Compose takes",
            fix="use lower-case letters, digits, - and _",
        )
