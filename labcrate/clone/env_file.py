"""The text of .env: read, filled in, and written so that nobody else can read it."""

from __future__ import annotations

import errno
import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dotenv

from labcrate import environment
from labcrate.errors import Code, LabError


def parse_env(text: str) -> dict[str, str]:
    """The raw pairs of an env file; a name without `=` counts as empty."""
    pairs = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value or "" for name, value in pairs.items()}


def read_text(path: Path) -> str:
    """The text of an env file, or an error that names the byte that is not UTF-8."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LabError(
            f"{path.name} is not UTF-8: byte 0x{data[error.start]:02x} in line {line}",
            fix=f"save {path.name} as UTF-8, then run the same command again",
            code=Code.SETTINGS,
        ) from None


def read_env(path: Path) -> dict[str, str]:
    return parse_env(read_text(path))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values into the text of an env file, in place, keeping its comments and order."""
    for name, value in values.items():
        line = f"{name}={quote(value)}"
        found = re.search(rf"^{name}=.*$", text, re.MULTILINE)
        if found:
            text = text[: found.start()] + line + text[found.end() :]
        else:
            text = text.rstrip("\n") + f"\n{line}\n"
    return text


def quote(value: str) -> str:
    """Single quotes where Compose or python-dotenv would read more into a value."""
    if re.fullmatch(r"[\w./:,@%+=~-]*", value, re.ASCII):
        return value
    if "'" in value:
        raise LabError(
            f"a path with a single quote cannot stand in .env: {value}",
            fix="choose a folder without one",
            code=Code.FOLDER,
        )
    return f"'{value}'"


def parse_size(text: str) -> int:
    """Bytes of a size as Compose reads it: `8g`, `512M`, `1024`."""
    digits, unit = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, "b")
    return int(digits) << 10 * "bkmg".index(unit.lower())


FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or the user's share of it, has no room left."""


@contextmanager
def if_there_is_room() -> Iterator[None]:
    """For what may stay unwritten on a full disk: the tasks that make room must work there."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


LARGEST_ID = 2**31 - 1
"""The engine starts no container for a larger uid or gid, although Linux has larger ones."""


def is_numeric_id(text: str) -> bool:
    """Whether a container can run under this uid or gid; those of directories have ten digits."""
    return bool(re.fullmatch(r"[0-9]{1,10}", text)) and int(text) <= LARGEST_ID


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, never readable by others, not even for a moment.

    OSError: the disk is full; what was there before is still there.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    except OSError as error:
        if error.errno in FULL:
            raise
        raise LabError(
            f"cannot write {path}: {error.strerror}",
            fix="work in a clone that you can write to",
            code=Code.FOLDER,
        ) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        Path(name).unlink()
        raise
    if environment.is_root():
        owner = path.parent.stat()
        os.chown(name, owner.st_uid, owner.st_gid)
    Path(name).replace(path)


def readable_folder(path: Path) -> bool:
    """Whether this is a folder that this process may list, tried for the same reason as below."""
    try:
        next(path.iterdir(), None)
    except OSError:
        return False
    return True


def writable(path: Path) -> bool:
    """Whether this process may create files there, tried with one that has no name.

    os.access says yes to root wherever it asks, also on a network share that squashes root.
    """
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        return error.errno in FULL
    return True
