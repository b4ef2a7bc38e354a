"""Measure what a user waits for: the lab against the same by hand, in turn in one run.

python labcrate/tests/bench/measure.py          all rows; writes docs/benchmark.md and its picture
python labcrate/tests/bench/measure.py quick    the rows that take seconds, against the record

What counts is the ratio of each pair. `quick` fails where one is LATE times the recorded one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
DOCS = ROOT / "labcrate" / "docs"
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE.parent / "engine")]

import rows  # noqa: E402
from clone import Lab  # noqa: E402
from cold import first_build  # noqa: E402
from conftest import make_lab, remove_lab  # noqa: E402
from recipe import remove_images  # noqa: E402
from rows import Row  # noqa: E402

RECORD = DOCS / "benchmark.json"
BEGIN, END = "<!-- measured: nox -s bench -->", "<!-- end -->"

LATE = 1.5
"""A ratio so many times the recorded one is a fault, and no noise: the quickest of a few turns
vary by 0.2."""

CASES = (
    ("einops", "pure Python", 0.15),
    ("accelerate", "imports PyTorch", 0.25),
    ("datasets", "pulls 20, with big wheels", 0.25),
)


@contextmanager
def lab_up(folder: Path) -> Iterator[Lab]:
    lab = make_lab(folder)
    try:
        lab.invoke("up", timeout=1200)
        yield lab
    finally:
        remove_lab(lab)
        remove_images(lab)


def warm_rows(short: Lab, long: Lab, folder: Path, turns: int) -> Iterator[Row]:
    """All rows but the first build. long: a second clone, whose list of packages will grow."""
    yield rows.sharing(long)
    yield from rows.starting(short, turns)
    yield from rows.short_tasks(short, turns)
    yield rows.importing(short, turns)
    yield rows.shipping(short)
    yield from rows.adding(short, folder, turns, CASES)
    yield from rows.growing(short, long, turns, ("einops", "peft"))
    yield rows.disk(short)


def quick_rows(lab: Lab, turns: int = 4) -> Iterator[Row]:
    yield from rows.starting(lab, turns)
    yield from rows.short_tasks(lab, turns)
    yield rows.importing(lab, 2)
    yield rows.shipping(lab)


def late(found: Sequence[Row], record: Path = RECORD) -> list[str]:
    """The rows that have fallen behind the record."""
    rows_then = json.loads(record.read_text())
    known = {one["name"]: min(one["ours"]) / min(one["theirs"]) for one in rows_then}
    return [
        f"{row.name}: {row.best:.2f} of {row.against}; recorded {known[row.name]:.2f}"
        for row in found
        if row.best > LATE * known[row.name]
    ]


def shown(row: Row) -> str:
    """One line of the table."""
    ours, theirs = (figure(values, row.unit) for values in (row.ours, row.theirs))
    goal = f"{row.goal:.2f} s" if row.absolute else f"{row.goal:.2f}"
    met = "yes" if row.reached <= row.goal else "no"
    if met == "no" and row.limit:
        met += f"; limit {row.limit:.2f}" + " s" * row.absolute
    cells = (row.name, row.what, f"{theirs}: {row.against}", ours, f"{row.ratio:.3g}", goal, met)
    return f"| {' | '.join(cells)} |"


def figure(values: Sequence[float], unit: str) -> str:
    middle = sorted(values)[len(values) // 2]
    return f"{middle:.2f} s" if unit == "s" else f"{middle / 1e6:,.1f} MB"


def table(found: Sequence[Row]) -> str:
    heading = "| what | | by hand | with the lab | ratio | goal | reached |"
    return "\n".join([heading, "|---|---|---|---|---|---|---|", *map(shown, found)])


def picture(lab: Lab, text: str) -> bytes:
    """Drawn by the lab's own matplotlib: this host has none."""
    command = ("docker", "compose", "exec", "-T", "jupyter", "python", "-", text)
    script = (HERE / "plot.py").read_bytes()
    return subprocess.run(
        command, cwd=lab.root, input=script, capture_output=True, check=True
    ).stdout


def chain(steps: Sequence[tuple[str, float]]) -> str:
    """The longer steps of the first build; some of them run at the same time."""
    rows = [f"| {what} | {taken:.0f} |" for what, taken in steps if taken >= 1]
    return "\n".join(["| a step of the lab's first build | s |", "|---|--:|", *rows])


def write_down(found: Sequence[Row], steps: Sequence[tuple[str, float]], lab: Lab) -> None:
    text = json.dumps([{**asdict(row), "ratio": row.ratio} for row in found], indent=1) + "\n"
    RECORD.write_text(text)
    (DOCS / "benchmark.png").write_bytes(picture(lab, text))
    page = DOCS / "benchmark.md"
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n{chain(steps)}\n\n{END}{after}")


def told(measured: Iterable[Row]) -> Iterator[Row]:
    for row in measured:
        print(shown(row), flush=True)
        yield row


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="labcrate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if sys.argv[1:] == ["quick"]:
            with lab_up(folder / "lab") as lab:
                behind = late(list(told(quick_rows(lab))))
            sys.exit("\n".join(behind))
        turns = int(sys.argv[1]) if sys.argv[1:] else 3
        built, steps = first_build(folder)
        found = list(told([built]))
        with lab_up(folder / "short") as short, lab_up(folder / "long") as long:
            found += told(warm_rows(short, long, folder, turns))
            write_down(found, steps, short)


if __name__ == "__main__":
    main()
