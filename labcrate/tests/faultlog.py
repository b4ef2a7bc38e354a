"""The account of the faults and attacks that tests/engine tries; the pages in labcrate/docs/.

A test marked `fault("...")`, `attack("...")` or `load("...")` says in its marker what it tries,
and tells the fixture `happened` what came of it. `nox -s faults` and `nox -s load` run them, then:

python -m faultlog fault attack > labcrate/docs/faults.md
python -m faultlog load > labcrate/docs/load.md
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = ROOT / "reports" / "faults.json"
KINDS = ("fault", "attack", "load")

HEADS = {
    "fault": ("Faults and attacks", "nox -s faults"),
    "load": ("Under load", "nox -s load"),
}
TITLES = {"fault": "Faults", "attack": "Attacks", "load": "Load"}


@dataclass(kw_only=True)
class Row:
    """One test: what it tried, what came of it. times: how often it tried, over all its cases."""

    test: str
    kind: str
    tried: str
    outcome: str = "passed"
    seconds: float = 0.0
    times: int = 0
    happened: list[str] = field(default_factory=list)


class Happened:
    """What a test calls to tell what came of it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.times = 0

    def __call__(self, what: str, times: int = 1) -> None:
        self.said.append(anonymous(what))
        self.times += times


def anonymous(text: str) -> str:
    """Without what differs from run to run: folders, project names, ports, process ids."""
    text = re.sub(r"(?<![\w.:/])/(?:tmp|root|home)/[^\s`')”]*", "…", text)
    text = re.sub(r"\blab-[\w-]+?-[0-9a-f]{6}\b", "lab", text)
    text = re.sub(r"\b(?!127\.)\d+\.\d+\.\d+\.\d+\b", "ADDRESS", text)
    text = re.sub(r"\bprocess \d+", "process N", text)
    return re.sub(r"_PORT=\d+", "_PORT=N", text)


def told(done: Any) -> str:
    """How a task ended: its exit code, and the first line of its error where it has one."""
    text = done.stdout + (done.stderr or "")
    found = re.search(r"error: (.*)", text)
    return f"exit {done.returncode}" + (f": “{found[1].strip().rstrip(':')}”" if found else "")


@pytest.fixture
def happened(request: pytest.FixtureRequest) -> Happened:
    kept: Happened = request.node.stash.setdefault(KEY, Happened())
    return kept


KEY: pytest.StashKey[Happened] = pytest.StashKey()


def marked(item: pytest.Item) -> pytest.Mark | None:
    return next((m for kind in KINDS if (m := item.get_closest_marker(kind))), None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note each marked test as it ends; a failed one too, so that no table hides it."""
    report = yield
    mark = marked(item)
    if mark and (report.when == "call" or report.failed):
        said = item.stash.get(KEY, Happened())
        name = f"{Path(str(item.path)).name}::{getattr(item, 'originalname', item.name)}"
        row = Row(test=name, kind=mark.name, tried=mark.args[0], seconds=report.duration)
        row.outcome = report.outcome
        row.times, row.happened = max(1, said.times), said.said
        keep(item.config, row)
    return report


ROWS: pytest.StashKey[dict[str, Row]] = pytest.StashKey()


def keep(config: pytest.Config, row: Row) -> None:
    """Add a case to its test's row, and write the account: a run that is cut off has one, too."""
    rows = config.stash.setdefault(ROWS, {})
    if before := rows.get(row.test):
        row.times += before.times
        row.seconds += before.seconds
        row.happened = list(dict.fromkeys([*before.happened, *row.happened]))
        row.outcome = before.outcome if before.outcome != "passed" else row.outcome
    rows[row.test] = row
    ACCOUNT.parent.mkdir(exist_ok=True)
    # Another process may run tests, too.
    with FileLock(ACCOUNT.with_suffix(".lock")):
        kept = json.loads(ACCOUNT.read_text()) if ACCOUNT.exists() else {}
        kept[row.test] = asdict(row)
        ACCOUNT.write_text(json.dumps(kept, indent=2, ensure_ascii=False))


def document(rows: Iterable[Row], kinds: tuple[str, ...]) -> str:
    """The page in labcrate/docs/: one table a kind, one row a test."""
    title, command = HEADS[kinds[0]]
    listed = [row for row in rows if row.kind in kinds]
    tries = sum(row.times for row in listed)
    lines = [
        f"# {title}",
        "",
        f"Written by `{command}` from what the tests in labcrate/tests/engine/ did on a real "
        f"engine: {len(listed)} tests, {tries} tries. Seconds are of two cores.",
    ]
    for kind in kinds:
        lines += ["", f"## {TITLES[kind]}", "", "| tried | times | what happened | s | test |"]
        lines += ["|---|--:|---|--:|---|"]
        lines += [table_row(row) for row in listed if row.kind == kind]
    return "\n".join([*lines, ""])


def table_row(row: Row) -> str:
    what = "; ".join(row.happened) or "nothing"
    what = what if row.outcome == "passed" else f"**{row.outcome.upper()}** {what}"
    cells = (row.tried, str(row.times), what, f"{row.seconds:.1f}", f"`{row.test}`")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def rows_of(text: str) -> Iterator[tuple[str, str]]:
    """(test, what was tried) of each row of a page."""
    for line in text.splitlines():
        if found := re.fullmatch(r"\| (.*?) \| \d+ \| .* \| `(\S+)` \|", line):
            yield found[2], found[1]


def main(kinds: tuple[str, ...]) -> None:
    kept = json.loads(ACCOUNT.read_text())
    rows = sorted((Row(**row) for row in kept.values()), key=lambda row: row.test)
    print(document(rows, kinds), end="")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
