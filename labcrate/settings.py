""".env and the environment -> one frozen Settings, or every problem at once.

Compose reads the same .env, so nothing here is passed on as a re-serialised copy. As in Compose, a
variable of the environment wins over the file.
"""

from __future__ import annotations

import difflib
import io
import ipaddress
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import dotenv

from labcrate.errors import Code, LabError
from labcrate.shell import ROOT

ENV_FILE = ROOT / ".env"
EXAMPLE_FILE = ROOT / ".env.example"
FOLDERS = ("notebooks", "runs", "data", "models")
"""The user's own folders below ROOT_DIR. Nothing in them is ever deleted."""

STRONG_TOKEN = 32
"""Characters of a token that may face other machines; 32 hex digits are 128 random bits."""

VARIED = 8
"""Different characters that such a token must have; 1 in 10^7 of random ones has fewer."""

LEAST_MEMORY = 256 * 2**20
"""Bytes. JupyterLab without a kernel takes 80 MB (measured), a first kernel 60 MB more."""

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
    "BIND_ADDRESS": "127.0.0.1",
    "TZ": "",
    "HOST_WHEELS": "",
    "COMPOSE_FILE": "compose/compose.yaml",
}
REQUIRED = (
    "COMPOSE_PROJECT_NAME",
    "JUPYTER_PORT",
    "JUPYTER_TOKEN",
    "TENSORBOARD_PORT",
    "LAB_UID",
    "LAB_GID",
)
KNOWN = (*REQUIRED, *OPTIONAL)
INTERNAL = ("LAB_JUPYTER_INPUTS", "LAB_TENSORBOARD_INPUTS")
"""Variables that Compose reads and only the tasks set."""

BACKENDS = ("auto", "pypi", "cpu", "cu126", "cu130", "cu132")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one lab is made of. Paths are the host's, *_dir but root_dir are the container's."""

    project: str
    root_dir: Path
    jupyter_port: int
    jupyter_token: str = field(repr=False)
    jupyter_dir: str
    tensorboard_port: int
    tensorboard_dir: str
    uid: int
    gid: int
    base_image: str
    torch_backend: str
    gpu: str
    gpu_devices: str
    bind_address: str
    host_wheels: str
    compose_files: tuple[str, ...] = ("compose/compose.yaml",)

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(self.root_dir / name for name in FOLDERS)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with the settings."""

    text: str
    fix: str
    code: Code = Code.SETTINGS


def read(path: Path = ENV_FILE) -> dict[str, str]:
    """The raw pairs of an env file; a name without `=` counts as empty."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, str]:
    pairs = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value or "" for name, value in pairs.items()}


def load(path: Path = ENV_FILE, environ: Mapping[str, str] = os.environ) -> Settings:
    """The validated settings of this clone."""
    if not path.exists():
        raise LabError(
            f"there is no {path.name} in this clone",
            fix="invoke setup (writes it from .env.example, with a random token and free ports)",
            code=Code.NO_ENV,
        )
    refuse_readable(path)
    values = merged(read(path), environ)
    problems = [*check(values), *check_quoting(path.read_text(encoding="utf-8"))]
    raise_problems(problems, path.name)
    return build(values)


def merged(values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The file's values, overridden by known names of the environment, as Compose does it."""
    return {**values, **{name: environ[name] for name in KNOWN if name in environ}}


def refuse_readable(path: Path) -> None:
    """The token is in there: on a shared server other users must not read it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise LabError(
            f"{path.name} can be read by other users (mode {mode:03o}), and holds the token",
            fix=f"chmod 600 {path.name}",
            code=Code.ENV_READABLE,
        )


def raise_problems(problems: Sequence[Problem], source: str = ".env") -> None:
    """Report all problems as one error; its code is theirs where they agree."""
    if not problems:
        return
    codes = {problem.code for problem in problems}
    lines = [f"{p.text}\n      fix: {p.fix}" for p in problems]
    if len(problems) == 1:
        raise LabError(problems[0].text, fix=problems[0].fix, code=problems[0].code)
    raise LabError(
        f"{len(problems)} problems with {source}:\n    - " + "\n    - ".join(lines),
        fix=f"mend them in {source}, then run the same command again",
        code=codes.pop() if len(codes) == 1 else Code.SETTINGS,
    )


def check(values: Mapping[str, str]) -> list[Problem]:
    """Every problem of a set of values; reads the file system for ROOT_DIR alone."""
    checks = (
        _unknown,
        _missing,
        _ports,
        _token,
        _folders,
        _container_dirs,
        _choices,
        _devices,
        _ids,
    )
    return [problem for one in checks for problem in one(values)]


def check_quoting(text: str) -> Iterator[Problem]:
    """Compose expands `$name` where python-dotenv does not: ask for quotes, which both honour."""
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if not name.startswith("#") and "$" in value and not value.strip().startswith("'"):
            yield Problem(
                text=f"{name} holds a `$`, which Compose would expand",
                fix=f"put the value in single quotes: {name}='...'",
            )


def _unknown(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in values:
        if name not in KNOWN:
            near = difflib.get_close_matches(name.upper(), KNOWN, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "delete the line"
            yield Problem(
                text=f"{name} is not a variable of the lab",
                fix=f"{hint} (variables for your own notebooks go into lab.env)",
            )


def _missing(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in REQUIRED:
        if name != "JUPYTER_TOKEN" and not values.get(name, "").strip():
            yield Problem(text=f"{name} is not set", fix="invoke setup (fills in what is missing)")


def _ports(values: Mapping[str, str]) -> Iterator[Problem]:
    names = ("JUPYTER_PORT", "TENSORBOARD_PORT")
    for name in names:
        value = values.get(name, "")
        if value and not (re.fullmatch(r"[0-9]{1,5}", value) and 1 <= int(value) <= 65535):
            yield Problem(
                text=f"{name}={value} is not a port", fix=f"set {name} to a number in 1024-65535"
            )
    first, second = (values.get(name, "") for name in names)
    if first and first == second:
        yield Problem(
            text=f"JUPYTER_PORT and TENSORBOARD_PORT are both {first}",
            fix="give TENSORBOARD_PORT another number",
        )


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


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _folders(values: Mapping[str, str]) -> Iterator[Problem]:
    value = values.get("ROOT_DIR", "")
    path = Path(value) if value else ROOT
    if value and not path.is_absolute():
        yield Problem(
            text=f"ROOT_DIR={value} is not an absolute path",
            fix=f"write ROOT_DIR={(ROOT / value).resolve()} (or leave it empty: this clone)",
            code=Code.FOLDER,
        )
    elif not path.exists():
        yield Problem(
            text=f"ROOT_DIR={value} does not exist",
            fix=f"mkdir -p '{value}', or leave ROOT_DIR empty to use this clone",
            code=Code.FOLDER,
        )
    elif not path.is_dir():
        yield Problem(
            text=f"ROOT_DIR={value} is a file", fix="name a folder instead", code=Code.FOLDER
        )
    elif not all((path / name).is_dir() for name in FOLDERS) and not writable(path):
        yield Problem(
            text=f"ROOT_DIR={value or ROOT} is not writable for this user",
            fix="name a folder of your own, or change this one's owner",
            code=Code.FOLDER,
        )


def writable(path: Path) -> bool:
    """Whether this process can create files there, tried with one that has no name.

    os.access says yes to root wherever it asks, also on a network share that squashes root.
    """
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError:
        return False
    return True


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
    for name in ("SHM_SIZE", "MEMORY_LIMIT"):
        value = values.get(name) or OPTIONAL[name]
        if not re.fullmatch(r"[0-9]+[bkmgBKMG]?", value):
            yield Problem(text=f"{name}={value} is not a size", fix=f"write e.g. {name}=8g")
        elif name == "MEMORY_LIMIT" and 0 < size(value) < LEAST_MEMORY:
            yield Problem(
                text=f"MEMORY_LIMIT={value} is less than JupyterLab itself needs",
                fix="set it to 256m or more (0: no limit)",
            )
    address = values.get("BIND_ADDRESS") or OPTIONAL["BIND_ADDRESS"]
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        yield Problem(
            text=f"BIND_ADDRESS={address} is not an IPv4 address",
            fix="use 127.0.0.1 (this machine only) or an address of this machine",
        )


DEVICE = re.compile(r"[0-9]{1,3}(:[0-9]{1,3})?|(GPU|MIG)-[0-9a-fA-F][0-9a-fA-F-]*")
"""A GPU by index or UUID, or a MIG instance by UUID or as GPU:INSTANCE."""


def _devices(values: Mapping[str, str]) -> Iterator[Problem]:
    value = values.get("GPU_DEVICES") or OPTIONAL["GPU_DEVICES"]
    names = value.split(",")
    if value != "all" and not all(DEVICE.fullmatch(name) for name in names):
        yield Problem(
            text=f"GPU_DEVICES={value} is not a list of GPUs",
            fix="write all, or e.g. 0,1 or GPU-<uuid> or MIG-<uuid> or 0:0, without spaces",
        )
    elif len(set(names)) < len(names):
        yield Problem(text=f"GPU_DEVICES={value} names one twice", fix="name each device once")


def size(text: str) -> int:
    """Bytes of a size as Compose takes it: `8g`, `512M`, `1024`."""
    digits, unit = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, "b")
    return int(digits) << 10 * "bkmg".index(unit.lower())


def _ids(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("LAB_UID", "LAB_GID"):
        value = values.get(name, "")
        if value and not re.fullmatch(r"[0-9]{1,9}", value):
            yield Problem(
                text=f"{name}={value} is not a numeric id", fix="use the output of `id -u`/`id -g`"
            )
    project = values.get("COMPOSE_PROJECT_NAME", "")
    if project and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        yield Problem(
            text=f"COMPOSE_PROJECT_NAME={project} is not a name that Compose takes",
            fix="use lower-case letters, digits, - and _",
        )


def build(values: Mapping[str, str]) -> Settings:
    """Settings from values that passed `check`."""
    get = {name: values.get(name) or default for name, default in OPTIONAL.items()}
    return Settings(
        project=values["COMPOSE_PROJECT_NAME"],
        root_dir=Path(get["ROOT_DIR"]) if get["ROOT_DIR"] else ROOT,
        jupyter_port=int(values["JUPYTER_PORT"]),
        jupyter_token=values["JUPYTER_TOKEN"],
        jupyter_dir=get["JUPYTER_DIR"],
        tensorboard_port=int(values["TENSORBOARD_PORT"]),
        tensorboard_dir=get["TENSORBOARD_DIR"],
        uid=int(values["LAB_UID"]),
        gid=int(values["LAB_GID"]),
        base_image=get["BASE_IMAGE"],
        torch_backend=get["TORCH_BACKEND"],
        gpu=get["GPU"],
        gpu_devices=get["GPU_DEVICES"],
        bind_address=get["BIND_ADDRESS"],
        host_wheels=get["HOST_WHEELS"],
        compose_files=tuple(get["COMPOSE_FILE"].split(":")),
    )
