"""lab.env, the owner's variables for notebooks: what Compose would misread, and who may read it.

Compose's own messages name .env for it, or nothing. Values are never shown: they are secrets.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from labcrate.clone.env_file import read_text
from labcrate.clone.place import Clone
from labcrate.clone.rules import Problem
from labcrate.errors import Code, LabError

OVERRIDDEN = frozenset(
    {
        "JUPYTER_DIR",
        "TENSORBOARD_DIR",
        "ROOT_DIR",
        "TENSORBOARD_PROXY_URL",
        "BIND_ADDRESS",
        "IDLE_HOURS",
        "TZ",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "UV_CONFIG_FILE",
        "PIP_CONFIG_FILE",
    }
)
"""Variables that compose.yaml sets itself: Compose lets those win over lab.env."""

LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([\w.\[\]-]+)[ \t]*(?:[=:][ \t]*(.*))?", re.DOTALL)
"""A name and its value, as Compose's parser reads them; without a value it is the shell's."""

EXPANDED = re.compile(r"\$[A-Za-z_{$]")
"""What Compose replaces in a value; it lets any other `$` through."""

REST = re.compile(r"[ \t\r]*(#.*)?")
"""What may follow a closing quote on its line."""


def lab_env_file(clone: Clone) -> Path:
    return clone.root / "lab.env"


def lab_env_problems(clone: Clone) -> Iterator[Problem]:
    """Every problem of lab.env; none where there is no such file."""
    path = lab_env_file(clone)
    if not path.is_file():
        return
    try:
        text = read_text(path).removeprefix("\ufeff")
    except LabError as error:
        yield Problem(text=error.problem, fix=error.fix, code=error.code)
        return
    except OSError as error:
        yield Problem(text=f"lab.env: {error.strerror}", fix="sudo chown $(id -u) lab.env")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and holds_values(text):
        yield Problem(
            text=f"other users can read lab.env (mode {mode:03o}), and its values may be secrets",
            fix="chmod 600 lab.env (or: invoke setup)",
            code=Code.ENV_READABLE,
        )
    for number, problem, fix in check_lines(text):
        yield Problem(text=f"lab.env, line {number}: {problem}", fix=fix)


def holds_values(text: str) -> bool:
    return bool(re.search(r"^[^#\n]*[=:][ \t]*[^\s#]", text, re.MULTILINE))


def check_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, problem, fix) of each line that Compose refuses, or whose value would change."""
    lines = text.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        line, number = lines[at].rstrip("\r\n"), at + 1
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if not found:
            yield number, "this is not NAME=value", "fix the line, or put a # in front of it"
            continue
        name, value = found[1], found[2] or ""
        if name in OVERRIDDEN:
            yield number, f"{name} is set by compose/compose.yaml, so it would not arrive", OWN_NAME
        if value[:1] in ("'", '"'):
            whole = value + "".join(["\n", *lines[at:]])
            end = closing_quote(whole)
            if end < 0:
                yield number, f"the quote of {name} is not closed", f"close it: {name}='...'"
                return
            inner, rest = whole[:end], whole[end + 1 :].partition("\n")[0]
            at += inner.count("\n")
            if not REST.fullmatch(rest):
                problem = f"there is text after the closing quote of {name}, which would be lost"
                yield number, problem, f"put the whole value in one pair of quotes: {name}='...'"
        else:
            inner = re.split(r"[ \t]#", value)[0]
        if EXPANDED.search(inner) and not inner.startswith("'"):
            problem = f"{name} holds a `$` that Compose would expand, so it would arrive changed"
            yield number, problem, f"put the value in single quotes: {name}='...'"


OWN_NAME = "take another name, or set it in .env if it is a setting of the lab"


def closing_quote(text: str) -> int:
    """Where the quote that a text starts with is closed; -1 where it is not."""
    return next(
        (i for i in range(1, len(text)) if text[i] == text[0] and text[i - 1] != "\\"),
        -1,
    )


def protect_lab_env(clone: Clone) -> bool:
    """Make lab.env private where other users could read its values; whether that was needed."""
    open_ones = [one for one in lab_env_problems(clone) if one.code is Code.ENV_READABLE]
    if open_ones:
        lab_env_file(clone).chmod(0o600)
    return bool(open_ones)
