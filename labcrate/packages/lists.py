"""Requirements files, and pasted ones: which lines of them are requirements."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labcrate import output
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.packages.addresses import unusable
from labcrate.packages.locks import numbered_lines

ENDINGS = (".txt", ".in")
"""How the names of requirements files end. No project of an index has a name like this."""

MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""The first bytes of a file that PowerShell's `pip freeze > requirements.txt` wrote."""

INCLUDE = re.compile(r"(-r|--requirement)(\s+|=|(?=[^\s-]))(?P<file>.+)")
INDEX = re.compile(
    r"(-i|-f|--(?P<key>index-url|extra-index-url|find-links|trusted-host|no-index))\b[\s=]*(?P<value>\S*)"
)
SHORT = {"-i": "index-url", "-f": "find-links"}
HASH = re.compile(r"\s--hash[=\s]\S+")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One requirement, not parsed yet. where: file and line; "" for a word of the command line."""

    text: str
    where: str = ""

    def error(self, error: LabError) -> LabError:
        """The same error, with the place."""
        where = f"{self.where}: " if self.where else ""
        return LabError(f"{where}{error.problem}", fix=error.fix, code=error.code, why=error.why)


def find_path(text: str, clone: Clone) -> Path:
    """Where a typed path leads: from where the user stands, else from the top of the clone."""
    path = Path(text.removeprefix("file://"))
    here, top = ((folder / path).resolve() for folder in (clone.here, clone.root))
    return top if top.exists() and not here.exists() else here


def existing_path(text: str, clone: Clone) -> Path | None:
    """The same, where something is there."""
    try:
        path = find_path(text, clone)
        return path if path.exists() else None
    except (OSError, RuntimeError):  # e.g. a name that is too long for the file system
        return None


def is_list(text: str) -> bool:
    """Whether something typed is meant as a requirements file, whether it exists or not."""
    return text.endswith(ENDINGS) and "@" not in text and "://" not in text


def lines_of_file(typed: str, clone: Clone, seen: frozenset[Path] = frozenset()) -> Iterator[Line]:
    """The requirements of a file, of those that it includes, too. seen: files that include it."""
    try:
        path = find_path(typed, clone)
        text = "" if path in seen else _decoded(path.read_bytes())
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise unusable(
            typed, f"it cannot be read as a requirements file: {reason}", "check the path"
        ) from None
    place = Clone(root=clone.root, here=path.parent)
    for line in lines_of_text(text, path.name):
        if include := INCLUDE.fullmatch(line.text):
            try:
                yield from lines_of_file(include["file"].strip(), place, seen | {path})
            except LabError as error:
                raise line.error(error) from None
        else:
            yield line


def _decoded(data: bytes) -> str:
    encoding = next((code for mark, code in MARKS.items() if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def lines_of_text(text: str, name: str) -> Iterator[Line]:
    """The requirements of a text, without comments and hashes; options are refused.

    The lab's own lock gets the hashes of the index.
    """
    # A line that goes on keeps its number: the lines that it takes up stay, empty.
    joined = re.sub(r"((?:[^\n]*\\\r?\n)+)([^\n]*)", _one_line, text)
    hashes = False
    for number, bare in numbered_lines(joined):
        short = HASH.sub("", bare).strip()
        hashes |= short != bare
        line = Line(text=short, where=f"{name}, line {number}")
        if short.startswith("-") and not INCLUDE.fullmatch(short):
            raise line.error(_refused_option(short))
        yield line
    if hashes:
        output.say(f"{name}: its hashes are not used; the lab's lock gets those of the index.")


def _one_line(found: re.Match[str]) -> str:
    parts = re.split(r"\\\r?\n", found[1])
    return " ".join(part.strip() for part in (*parts, found[2])) + "\n" * (len(parts) - 1)


def _refused_option(text: str) -> LabError:
    """An option of a requirements file that the lab does not take, and the form that works."""
    fix = "remove the line, and run the same command again"
    if found := INDEX.match(text):
        key = found["key"] or SHORT[found[1]]
        fix = f"pip config set global.{key} {found['value'] or 'true'}, then: invoke setup; {fix}"
    elif found := re.match(r"(-e|--editable)[\s=]*(?P<value>.+)", text):
        value = found["value"]
        fix = f"write NAME @ {value} there"
        if "://" not in value:
            fix = f"remove the line, and add the project itself: invoke add-package -e {value}"
    elif re.match(r"-c|--constraint", text):
        fix = f"write its versions into the requirements (name==1.2), {fix}"
    return LabError(
        f"{text[:60]!r} is an option, and add-package takes requirements only",
        fix=fix,
        code=Code.PACKAGE_REFUSED,
    )
