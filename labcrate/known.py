"""Known failures by their own text: what each means, and the command that fixes it.

known.toml holds them and says what its keys mean. It is read on first use: an import costs nothing.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from labcrate.errors import Code, LabError

FILE = Path(__file__).with_name("known.toml")
Where = Literal["build", "start", "lab", "host", "ssh", "cluster"]
HEADINGS: dict[Where, str] = {
    "build": "While the images are built",
    "start": "While the lab starts",
    "lab": "Inside the lab",
    "host": "On this machine",
    "ssh": "On the way to another machine",
    "cluster": "On the hosts of a cluster",
}
HEAD = """# Troubleshooting

What a failure says, what it means and how to fix it. Ports, names and versions are examples.
Written from labcrate/known.toml: `python -m labcrate.known > labcrate/docs/troubleshooting.md`"""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An entry of known.toml, whose comment says what each key means."""

    name: str
    where: tuple[Where, ...]
    code: Code
    pattern: re.Pattern[str]
    problem: str
    fix: str
    source: str
    examples: list[str]

    def find(self, text: str) -> Known | None:
        """This failure as a text shows it, or None."""
        if not (found := self.pattern.search(text)):
            return None
        values = found.groupdict(default="")
        if number := values.get("number"):
            values["cuda"] = cuda_version(number)
        line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0].strip()
        problem, fix = self.problem.format(**values), self.fix.format(**values)
        return Known(name=self.name, code=self.code, problem=problem, fix=fix, line=line)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A failure that was recognised. line: the line of the text that shows it."""

    name: str
    code: Code
    problem: str
    fix: str
    line: str


def cuda_version(number: str) -> str:
    """`12.8` of the driver's own number, 12080: 1000 times the major plus 10 times the minor."""
    value = int(number)
    return f"{value // 1000}.{value % 1000 // 10}"


def recognise(text: str, where: Where | None = None) -> Known | None:
    """The first failure that a text shows, or None. where: only those that occur in this place."""
    places = (one for one in failures() if where is None or where in one.where)
    return next((known for one in places if (known := one.find(text))), None)


def recognise_all(text: str, where: Where | None = None) -> list[Known]:
    """All failures that the lines of a log show, each once, in the order of the log."""
    found: dict[str, Known] = {}
    for line in text.splitlines():
        if known := recognise(line, where):
            found.setdefault(known.name, known)
    return list(found.values())


def explain_failure(text: str, where: Where, *, otherwise: LabError) -> LabError:
    """The error for a text: its known problem and fix with the text below, or `otherwise`."""
    known = recognise(text, where)
    if known is None:
        return otherwise
    return LabError(f"{known.problem}:\n{text}", fix=known.fix, code=known.code)


def failures() -> tuple[Failure, ...]:
    """All known failures, the special before the general."""
    return read()[1]


def fix_text(name: str) -> str:
    """A fix that several failures share, by its name in known.toml."""
    return read()[0][name]


@functools.cache
def read(file: Path = FILE) -> tuple[dict[str, str], tuple[Failure, ...]]:
    """The shared fixes and the failures of a TOML file. ValueError names a failure with a fault."""
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    return content["fixes"], tuple(_failure(x, content["fixes"]) for x in content["failure"])


def _failure(entry: Mapping[str, Any], fixes: Mapping[str, str]) -> Failure:
    try:
        pattern = "".join(map(str.strip, entry["pattern"].splitlines()))
        parsed = {
            "where": tuple({w: w for w in get_args(Where)}[word] for word in entry["where"]),
            "code": Code[entry["code"]],
            "pattern": re.compile(pattern, re.IGNORECASE),
            "fix": re.sub(r"@([\w-]+)", lambda found: fixes[found[1]], entry["fix"]),
        }
        return Failure(**{**entry, **parsed})
    except (KeyError, TypeError, re.error) as error:
        raise ValueError(
            f"{FILE.name}: {entry.get('name')}: unknown or missing: {error}"
        ) from error


def troubleshooting() -> str:
    """labcrate/docs/troubleshooting.md; a test holds the file to it."""
    parts = [HEAD]
    for place, heading in HEADINGS.items():
        parts += [f"## {heading}", *(_section(f) for f in failures() if f.where[0] == place)]
    return "\n\n".join(parts) + "\n"


def _section(failure: Failure) -> str:
    known = failure.find(failure.examples[0])
    assert known, f"{failure.name}: the first example does not match"
    code = f"{known.code.value} {known.code.name}"
    rows = {"Meaning": known.problem, "Fix": known.fix, "Exit code": code, "Source": failure.source}
    # Markdown would read a pair of * as emphasis, and < as the start of a tag.
    listed = [f"- **{key}:** " + re.sub(r"([*<])", r"\\\1", rows[key]) for key in rows]
    return "\n".join([f"### {failure.name}", "", "```text", known.line, "```", "", *listed])


if __name__ == "__main__":
    print(troubleshooting(), end="")
