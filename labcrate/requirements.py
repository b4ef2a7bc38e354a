"""What a user typed after `add-package` -> requirements, or a refusal that says what to type."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from labcrate.errors import Code, LabError

LONGEST = 250
"""Characters of one requirement. Project names stop at 214 where registries set a limit, and a
direct URL with its hash has about 200."""

SCHEMES = ("https", "http", "git+https", "git+http")
MODULES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dotenv": "python-dotenv",
    "pil": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What one imports, where the package has another name. Some of these exist as empty packages."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One requirement. line: as packages.in keeps it; path: a wheel or project of this clone."""

    name: str
    line: str
    path: Path | None = None

    @property
    def requirement(self) -> Requirement:
        return Requirement(self.line)


def refused(text: str, why: str, fix: str) -> LabError:
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:60])
    shown += "..." if len(text) > 60 else ""
    return LabError(
        f"{shown!r} is not a package that can be added: {why}", fix=fix, code=Code.PACKAGE_REFUSED
    )


def parse(text: str, clone: Path) -> tuple[Wanted, ...]:
    """The requirements of one argument, several of them separated by spaces."""
    if not text.strip():
        raise refused(text, "it is empty", "invoke add-package NAME")
    if any(unicodedata.category(c).startswith("C") for c in text):
        raise refused(text, "it holds control characters", "type the name by hand")
    found = tuple(one(part, clone) for part in split(text))
    for earlier, later in itertools.combinations(found, 2):
        if earlier.name and earlier.name == later.name:
            raise refused(text, f"{later.name} is named twice", "name each package once")
    return found


def split(text: str) -> Iterator[str]:
    """`a b >= 2` is two requirements: what an operator touches, or a marker holds, belongs on."""
    part = ""
    for word in text.split():
        if part and (word[0] in "<>=!~@;,[(" or part[-1] in "<>=!~@;,[(" or ";" in part):
            part += f" {word}"
        else:
            yield from [part] if part else []
            part = word
    yield part


def one(text: str, clone: Path) -> Wanted:
    if len(text) > LONGEST:
        raise refused(text, f"it has {len(text)} characters", f"use {LONGEST} at the most")
    if text.startswith("-"):
        raise refused(
            text,
            "it is an option",
            "name packages only; an index goes into pip's own settings on this host "
            "(pip config set global.index-url ...), which builds and the lab take over",
        )
    if is_path(text):
        return local(text, clone)
    if re.match(r"[a-z+]+://", text):
        return from_url(text)
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise refused(
            text, reason[0].lower() + reason[1:], "write e.g. 'transformers', 'peft>=0.10', 'x[y]'"
        ) from None
    if parsed.url:
        check_url(text, parsed.url)
    name = canonicalize_name(parsed.name)
    if name in MODULES and not parsed.url:
        raise refused(
            text,
            f"{parsed.name} is what one imports, and the package is {MODULES[name]}",
            f"invoke add-package {MODULES[name]}",
        )
    return Wanted(name=name, line=str(parsed))


def is_path(text: str) -> bool:
    named = text.startswith((".", "/", "~", "file:")) or text.endswith((".whl", ".tar.gz"))
    return named and not re.match(r"(https?|git\+\w+)://", text) and "@" not in text


def local(text: str, clone: Path) -> Wanted:
    """A wheel, an sdist or a project folder inside the clone; its name, as far as a file tells."""
    path = Path(text.removeprefix("file://"))
    path = (path if path.is_absolute() else clone / path).resolve()
    if not path.is_relative_to(clone.resolve()):
        raise refused(
            text, "it lies outside this clone, where no build can see it", "copy it into the clone"
        )
    if not path.exists():
        raise refused(text, "there is no such file or folder in this clone", "check the path")
    if path.is_dir():
        if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
            raise refused(text, "the folder holds no Python project", "add a pyproject.toml to it")
        return Wanted(name="", line="", path=path)
    return Wanted(name=file_name(text, path.name), line="", path=path)


def file_name(text: str, name: str) -> str:
    """The project that a wheel or an sdist holds, by the name of the file."""
    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)[0]
        return parse_sdist_filename(name)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        raise refused(
            text, "that is not the name of a wheel or an sdist", "name a .whl or a .tar.gz"
        ) from None


def from_url(text: str) -> Wanted:
    """A bare URL: a file tells its project's name, a git repository does not."""
    address = check_url(text, text)
    last = address.path.rpartition("/")[2]
    if address.scheme.startswith("git+"):
        guess = re.sub(r"(\.git)?(@.*)?$", "", last) or "NAME"
        raise refused(text, "a git address needs a name", f"invoke add-package '{guess} @ {text}'")
    name = file_name(text, last)
    return Wanted(name=name, line=f"{name} @ {text}")


def check_url(text: str, url: str) -> SplitResult:
    """The parts of an address that a build can fetch from, and that may stand in a file."""
    try:
        address = urlsplit(url)
    except ValueError as error:
        raise refused(text, str(error), "write NAME @ https://host/path") from None
    if address.scheme not in SCHEMES:
        raise refused(
            text,
            f"a build cannot fetch from {address.scheme or 'this'}: there are no keys in there",
            f"use one of: {', '.join(SCHEMES)}, or a path inside this clone",
        )
    if not address.hostname:
        raise refused(text, "the address names no host", "write NAME @ https://host/path")
    if address.username or address.password:
        # packages.in and the lock go into git, and the address into the image's metadata.
        raise LabError(
            "the address holds a user or a password, which docker/packages.in would show",
            fix="put the credentials into pip's settings or ~/.netrc, and name the package",
            code=Code.PACKAGE_REFUSED,
        )
    return address


def names(text: str) -> tuple[str, ...]:
    """The projects to remove: plain names, without versions."""
    found = tuple(dict.fromkeys(text.split()))
    if not found:
        raise refused(text, "it is empty", "invoke remove-package NAME")
    for name in found:
        if len(name) > LONGEST or not re.fullmatch(
            r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", name, re.IGNORECASE | re.ASCII
        ):
            raise refused(name, "that is no package's name", "invoke packages (shows the names)")
    return tuple(canonicalize_name(name) for name in found)


def debian_names(text: str) -> tuple[str, ...]:
    """The system packages of one argument, each a name that Debian's policy allows (5.6.1)."""
    names = tuple(dict.fromkeys(text.split()))
    if not names:
        raise refused(text, "it is empty", "invoke add-package --system 'ffmpeg libgl1'")
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name, re.ASCII):
            raise refused(
                name,
                "Debian's package names have small letters, digits and + - . only",
                "look the name up with: apt-cache search WORD",
            )
    return names
