"""What a user typed after `add-package` -> requirements, or a refusal that says what to type."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from labcrate import output
from labcrate.clone.place import Clone
from labcrate.errors import LabError
from labcrate.packages.addresses import (
    archive_project,
    check_address,
    named_address,
    unusable,
)
from labcrate.packages.lists import (
    Line,
    existing_path,
    find_path,
    is_list,
    lines_of_file,
    lines_of_text,
)
from labcrate.packages.locks import PYTHON, applies_in_image, foreign_marker
from labcrate.packages.names import IN_BASE, MODULES

LONGEST = 250
"""Characters of one requirement: names stop at 214, and a URL with its hash has about 200."""

GLUE = "<>=!~@;,[("
"""Characters that join the words on both sides of them into one requirement."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One requirement. line: as packages.in keeps it; path: a wheel or project of this clone, of
    which, if editable, the lab imports the folder itself."""

    name: str
    line: str
    path: Path | None = None
    editable: bool = False

    @property
    def requirement(self) -> Requirement:
        return Requirement(self.line)


def parse_requirements(
    typed: str | Sequence[str], clone: Clone, files: Sequence[str] = ()
) -> tuple[Wanted, ...]:
    """The requirements of one text, or of the words of a command line, and of files.

    A text may hold several, or be that of a requirements file. A path with spaces is one word.
    """
    words = [typed] if isinstance(typed, str) else list(typed)
    if not "".join(words).strip() and not files:
        raise unusable("", "nothing was named", "invoke add-package NAME")
    lines = list(_lines(words, files, clone))
    found = dict.fromkeys(one for line in lines for one in _wanted_line(line, clone))
    for earlier, later in itertools.combinations(found, 2):
        if earlier.name and earlier.name == later.name:
            raise unusable(
                f"{earlier.line} {later.line}", f"{later.name} is named twice", "name it once"
            )
    if not lines:
        raise unusable(" ".join((*words, *files)), "it holds no requirement", "check the file")
    return tuple(found)


def _lines(words: Sequence[str], files: Sequence[str], clone: Clone) -> Iterator[Line]:
    """Everything asked for, one requirement each, not parsed yet."""
    pasted = [word for word in words if "\n" in word.strip()]
    for part in _parts([word for word in words if word not in pasted], clone):
        if is_list(part):
            yield from lines_of_file(part, clone)
        else:
            yield Line(text=part)
    for text in pasted:
        yield from lines_of_text(text, "the text")
    for file in files:
        yield from lines_of_file(file, clone)


def _wanted_line(line: Line, clone: Clone) -> Iterator[Wanted]:
    """The requirement of a line; none where it is a list's and does not apply in the lab."""
    if line.where and (marker := foreign_marker(line.text)):
        output.say(f"{line.where}: left out, because {marker} is not true in the lab")
        return
    try:
        yield _wanted(line.text, clone)
    except LabError as error:
        raise line.error(error) from None


def _parts(words: Sequence[str], clone: Clone) -> Iterator[str]:
    """`a b >= 2` is two requirements: what an operator touches, or a marker holds, belongs on."""
    part = ""
    for word in words:
        if _is_spaced_path(word, clone):
            yield from [part] if part else []
            yield word
            part = ""
            continue
        # A lone line break at the end is the shell's; every other one splits no words.
        for piece in re.split(r"[ \t]+", word.strip(" \t\r\n")):
            if part and (piece[0] in GLUE or part[-1] in GLUE or ";" in part):
                part += f" {piece}"
            else:
                yield from [part] if part else []
                part = piece
    yield from [part] if part else []


def _is_spaced_path(word: str, clone: Clone) -> bool:
    if " " not in word.strip() or len(word) > LONGEST or not is_path(word):
        return False
    return existing_path(word, clone) is not None


def _wanted(text: str, clone: Clone) -> Wanted:
    if any(unicodedata.category(c).startswith("C") for c in text):
        raise unusable(text, "it holds control characters", "type the name by hand")
    if len(text) > LONGEST:
        raise unusable(text, f"it has {len(text)} characters", f"use {LONGEST} at most")
    if text.startswith("-"):
        raise unusable(
            text,
            "it is an option",
            "name packages only, and a requirements file as: invoke add-package -r FILE; an index "
            "goes into pip's own settings on this host (pip config set global.index-url ...), "
            "which builds and the lab use too",
        )
    if is_path(text):
        try:
            return _local(text, clone)
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            raise unusable(text, f"it cannot be read: {error}", "check the path") from None
    if re.match(r"[a-z+]+://", text):
        name, line = named_address(text)
        return Wanted(name=name, line=line)
    if (own := existing_path(text, clone)) and own.is_file():
        raise unusable(
            text,
            "it is a file here, and no index is asked for a name that is one of your files",
            "name a package; a requirements file is taken as: invoke add-package -r FILE",
        )
    return _named(text)


def _named(text: str) -> Wanted:
    """A name, with or without a version, extras, a marker or an address."""
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise unusable(
            text, reason[0].lower() + reason[1:], "write e.g. 'transformers', 'peft>=0.10', 'x[y]'"
        ) from None
    name = canonicalize_name(parsed.name)
    if parsed.url:
        check_address(text, parsed.url)
    else:
        _refuse_other_name(text, parsed.name, name)
    if parsed.marker and not applies_in_image(parsed.marker):
        parsed.marker, marker = None, parsed.marker
        raise unusable(
            text,
            f"nothing would be installed: {marker} is not true in the lab (Linux, Python {PYTHON})",
            f"add it without the marker: invoke add-package '{parsed}'",
        )
    return Wanted(name=name, line=str(parsed))


def _refuse_other_name(text: str, typed: str, name: str) -> None:
    if name in MODULES:
        raise unusable(
            text,
            f"{typed} is what one imports, and the package is {MODULES[name]}",
            f"invoke add-package {MODULES[name]}",
        )
    if name in IN_BASE:
        raise unusable(
            text,
            f"did you mean {IN_BASE[name]}? The base has it",
            f"nothing to add: import {IN_BASE[name]} in a notebook",
        )


def is_path(text: str) -> bool:
    """Whether something typed is meant as a path, whether it exists or not."""
    if re.match(r"(https?|git\+\w+)://", text):
        return False
    archive = text.endswith((".whl", ".tar.gz")) and "@" not in text
    return archive or text.startswith((".", "/", "~", "file:"))


def _local(text: str, clone: Clone) -> Wanted:
    """A wheel, an sdist or a project folder inside the clone; a folder's name is not known yet."""
    path = find_path(text, clone)
    if not path.is_relative_to(clone.root.resolve()):
        raise unusable(
            text, "it lies outside this clone, where no build can see it", "copy it into the clone"
        )
    if not path.exists():
        raise unusable(text, "there is no such file or folder in this clone", "check the path")
    if path.is_dir():
        if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
            raise unusable(text, "the folder holds no Python project", "add a pyproject.toml to it")
        return Wanted(name="", line="", path=path)
    return Wanted(name=archive_project(text, path.name), line="", path=path)


def names_to_remove(typed: str | Sequence[str]) -> tuple[str, ...]:
    """The projects to remove: plain names, without versions."""
    text = typed if isinstance(typed, str) else " ".join(typed)
    found = tuple(dict.fromkeys(text.split()))
    if not found:
        raise unusable(text, "it is empty", "invoke remove-package NAME")
    for name in found:
        if len(name) > LONGEST or not re.fullmatch(
            r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", name, re.IGNORECASE | re.ASCII
        ):
            raise unusable(name, "that is no package's name", "invoke packages (shows the names)")
    return tuple(dict.fromkeys(canonicalize_name(name) for name in found))


def debian_names(typed: str | Sequence[str]) -> tuple[str, ...]:
    """The system packages typed, each a name that Debian's policy allows (5.6.1)."""
    text = typed if isinstance(typed, str) else " ".join(typed)
    found = tuple(dict.fromkeys(text.split()))
    if not found:
        raise unusable(text, "it is empty", "invoke add-package --system ffmpeg libgl1")
    for name in found:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name, re.ASCII):
            raise unusable(
                name,
                "Debian's package names have small letters, digits and + - . only",
                "look the name up with: apt-cache search WORD",
            )
    return found
