"""A project folder of the clone as a source archive, made without running any of its code.

Notebooks write these folders, and a setup.py or a build backend would run on this machine, with
.env and the engine's socket in reach. So files are only read here; the image builds the wheel.
"""

from __future__ import annotations

import configparser
import errno
import gzip
import io
import os
import posixpath
import re
import stat
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.utils import InvalidName, canonicalize_name

from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError

SKIPPED = {
    ".git",
    ".venv",
    ".nox",
    ".tox",
    ".env",
    "lab.env",
    ".labcrate",
    "__pycache__",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
}
"""What is no part of a project, wherever it lies. The clone itself may be one: its token stays."""

BUILT = {"build", "dist"}
"""What an earlier build left at the top; deeper down it may be a package of that name."""

LONG_AGO = 315_619_200
"""Every file's time, in seconds: the second day of 1980. A wheel is a zip file, which knows no
time before 1980, wherever on earth it is made."""


FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""How things are opened that a notebook may swap for a link, or a pipe, at any moment."""


def pack_project(project: Path, clone: Clone) -> tuple[str, bytes]:
    """(name, archive) of a project folder. The same files make the same bytes."""
    top = clone.root.resolve()
    shown = project.relative_to(top).as_posix()
    with _explained(shown), _open_below(top, project) as folder:
        name = read_name(folder, shown)
        return name, _archive(folder, name)


def read_archive(path: Path, clone: Clone) -> bytes:
    """A wheel or an sdist of the clone; nothing that a link leads to."""
    top = clone.root.resolve()
    shown = path.relative_to(top).as_posix()
    with _explained(shown), _open_below(top, path.parent) as folder:
        data = _read(folder, path.name)
        if data is None:
            raise FileNotFoundError(errno.ENOENT, "it is no file any more")
        return data


@contextmanager
def _explained(shown: str) -> Iterator[None]:
    """What cannot be read, as one message."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        raise LabError(
            f"{shown} cannot be packed: {error.strerror}{where}",
            fix="make all of it readable for you, then run the same command again",
            code=Code.PACKAGE_BROKEN,
        ) from None


@contextmanager
def _open_below(top: Path, path: Path) -> Iterator[int]:
    """A folder below another, opened step by step: no link on the way is followed."""
    number = os.open(top, FOLDER)
    try:
        for part in path.relative_to(top).parts:
            below = os.open(part, FOLDER, dir_fd=number)
            os.close(number)
            number = below
        yield number
    finally:
        os.close(number)


def read_name(folder: int, shown: str) -> str:
    """The project's name, from the files that say it. folder: open; shown: its path."""
    pyproject = _read_table(_read(folder, "pyproject.toml"), f"{shown}/pyproject.toml")
    tables = (pyproject.get("project"), _below(pyproject.get("tool"), "poetry"))
    names = [_below(table, "name") for table in tables]
    setup = _read(folder, "setup.cfg")
    if setup is not None:
        names.append(_read_setup(setup, f"{shown}/setup.cfg"))
    found = next((name for name in names if name), "")
    try:
        return canonicalize_name(str(found), validate=True)
    except InvalidName:
        pass
    said = f"its name is {found!r}" if found else "no file says its name"
    raise LabError(
        f"{shown} is not a project that can be added: {said} "
        "(its setup.py is never run on this machine)",
        fix=f"add [project] with name and version to {shown}/pyproject.toml",
        code=Code.PACKAGE_REFUSED,
    )


def _below(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, dict) else None


def _read(folder: int, name: str) -> bytes | None:
    """A regular file in an open folder; None where there is none."""
    try:
        number = os.open(name, FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    with os.fdopen(number, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(number).st_mode) else None


def _read_table(data: bytes | None, shown: str) -> dict[str, Any]:
    try:
        return tomllib.loads((data or b"").decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _invalid(shown, error.object[: error.start].count(b"\n") + 1, "not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at line (\d+)", str(error))
        line = int(where[1]) if where else (data or b"").count(b"\n") + 1
        raise _invalid(shown, line, str(error).partition(" (at ")[0]) from None


def _read_setup(data: bytes, shown: str) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(data.decode("utf-8"), shown)
    except UnicodeDecodeError as error:
        raise _invalid(shown, error.object[: error.start].count(b"\n") + 1, "not UTF-8") from None
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or getattr(error, "errors", [(1, "")])[0][0]
        raise _invalid(shown, line, type(error).__name__) from None
    return parser.get("metadata", "name", fallback="")


def _invalid(shown: str, line: int, reason: str) -> LabError:
    return LabError(
        f"{shown}, line {line}: {reason}",
        fix="correct that line, then run the same command again",
        code=Code.PACKAGE_BROKEN,
    )


def _archive(folder: int, name: str) -> bytes:
    """Everything below an open folder as a tar.gz, in one folder of that name."""
    made = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=made, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, data, entry in _members(folder):
            entry.name = posixpath.normpath(posixpath.join(name, path))
            entry.size, entry.mtime = len(data), LONG_AGO
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _members(folder: int) -> Iterator[tuple[str, bytes, tarfile.TarInfo]]:
    """Path, content and entry of each file and folder, in one order everywhere."""
    walk = os.fwalk(".", onerror=_stop, follow_symlinks=False, dir_fd=folder)
    for where, folders, files, number in walk:
        folders[:] = sorted(name for name in folders if is_of_project(name, where == "."))
        yield where, b"", _entry(tarfile.DIRTYPE, 0o755)
        for name in sorted([*folders, *files]):
            path = posixpath.normpath(posixpath.join(where, name))
            member = _member(path, name, number) if is_of_project(name, where == ".") else None
            if member:
                yield path, *member


def _stop(error: OSError) -> None:
    """A folder that cannot be read must not be left out without a word."""
    raise error


def is_of_project(name: str, at_top: bool) -> bool:
    built = at_top and name in BUILT
    return not built and name not in SKIPPED and not name.endswith(".egg-info")


def _member(path: str, name: str, folder: int) -> tuple[bytes, tarfile.TarInfo] | None:
    """A file or a link of an open folder; None for anything else, and for what is gone."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(name, dir_fd=folder)
            link = _entry(tarfile.SYMTYPE, 0o777, target)
            return (b"", link) if stays_inside(path, target) else None
        data = _read(folder, name) if stat.S_ISREG(found.st_mode) else None
    except FileNotFoundError:
        return None
    mode = 0o755 if found.st_mode & 0o111 else 0o644
    return None if data is None else (data, _entry(tarfile.REGTYPE, mode))


def _entry(kind: bytes, mode: int, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.mode, made.linkname = kind, mode, link
    return made


def stays_inside(path: str, target: str) -> bool:
    """Whether a link of the project leads to something of the project, as it is written."""
    steps = target.split("/")
    back = [step for step in steps if step == ".."]
    # Further on, `..` could step out of another link.
    if target.startswith("/") or steps[: len(back)] != back:
        return False
    return len(back) <= path.count("/")
