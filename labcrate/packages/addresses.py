"""Addresses and file names of packages: what a build can fetch, and which project it is."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from labcrate.errors import Code, LabError

SCHEMES = ("https", "http", "git+https", "git+http")

SHOWN = 60
"""Characters of something typed that a message repeats."""


def unusable(text: str, why: str, fix: str) -> LabError:
    """The refusal of something typed, shown without what a terminal would act on."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:SHOWN])
    shown += "..." if len(text) > SHOWN else ""
    return LabError(
        f"{shown!r} is not a package that can be added: {why}", fix=fix, code=Code.PACKAGE_REFUSED
    )


def archive_project(text: str, name: str) -> str:
    """The project that a wheel or an sdist holds, by the name of the file. text: as typed."""
    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)[0]
        return parse_sdist_filename(name)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        raise unusable(
            text, "that is not the name of a wheel or an sdist", "name a .whl or a .tar.gz"
        ) from None


def named_address(text: str) -> tuple[str, str]:
    """(project, requirement) of a bare URL: a file's name says its project, a git address not."""
    address = check_address(text, text)
    last = address.path.rpartition("/")[2]
    if address.scheme.startswith("git+"):
        guess = re.sub(r"(\.git)?(@.*)?$", "", last) or "NAME"
        raise unusable(text, "a git address needs a name", f"invoke add-package '{guess} @ {text}'")
    name = archive_project(text, last)
    return name, f"{name} @ {text}"


def check_address(text: str, url: str) -> SplitResult:
    """The parts of an address that a build can fetch from, and that may stand in a file."""
    try:
        address = urlsplit(url)
    except ValueError as error:
        raise unusable(text, str(error), "write NAME @ https://host/path") from None
    if address.scheme not in SCHEMES:
        raise unusable(
            text,
            f"a build cannot fetch from {address.scheme or 'this'}: there are no keys in there",
            f"use one of: {', '.join(SCHEMES)}, or a path inside this clone",
        )
    if not address.hostname:
        raise unusable(text, "the address names no host", "write NAME @ https://host/path")
    if address.username or address.password:
        # packages.in and the lock go into git, and the address into the image's metadata.
        raise LabError(
            "the address holds a user or a password, which docker/packages.in would show",
            fix="put the credentials into pip's settings or ~/.netrc, and name the package",
            code=Code.PACKAGE_REFUSED,
        )
    return address
