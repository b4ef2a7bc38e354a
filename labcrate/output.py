"""The only module that prints. Everything a person reads on the terminal passes through here."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.text import Text


@dataclass
class _Now:
    """quiet: whether all but errors is kept back."""

    quiet: bool


_now = _Now(quiet=False)


@contextmanager
def hushed(quiet: bool) -> Iterator[None]:
    """Keep back what is said meanwhile, or, inside of another, say it all the same."""
    before, _now.quiet = _now.quiet, quiet
    try:
        yield
    finally:
        _now.quiet = before


def accept_any_text() -> None:
    """Let a terminal or a file that knows ASCII alone show `?` where it cannot show a letter."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def printable(text: str) -> str:
    """A text from elsewhere, without what a terminal would act on."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def say(text: str = "") -> None:
    """One message, at once: the lines of a child process must not overtake it."""
    if not _now.quiet:
        _print(text, sys.stdout)


def say_always(text: str) -> None:
    """One message that nobody may miss, also with --quiet."""
    with hushed(False):
        say(text)


def say_error(text: str) -> None:
    _print(text, sys.stderr)


def _print(text: str, where: TextIO) -> None:
    try:
        print(text, file=where, flush=True)
    except OSError as error:
        # The terminal went away: nobody reads this, and what is being put back must go on.
        if error.errno != errno.EIO:
            raise


def row(name: str, state: str, width: int = 12) -> None:
    """One aligned line of a task's report."""
    say(f"  {name:<{width}} {state}")


def setup_row(name: str, state: str) -> None:
    """The same for `setup`, whose names are longer."""
    row(name, state, 18)


def seconds(what: str, taken: float) -> None:
    say(f"  {what} ({taken:.1f} s)")


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    title: str = "",
    caption: str = "",
    lines: bool = False,
    numbers: bool = False,
    whole: Sequence[str] = (),
) -> None:
    """A table. Cells are plain text: nothing in them is read as markup.

    lines: a rule between the rows. numbers: every column is aligned to the right. whole: headings
    of columns that are to be copied, and so are never cut or folded, however narrow the terminal.
    """
    if _now.quiet:
        return
    # Here, because few tasks show a table, and these take a quarter of the time of a short task.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    cells = [[Text(c) if isinstance(c, str) else c for c in line] for line in rows]
    made = Table(title=title or None, caption=caption or None, show_lines=lines)
    for place, heading in enumerate(headings):
        longest = max((line[place].cell_len for line in cells), default=0)
        made.add_column(
            heading,
            overflow="fold",
            justify="right" if numbers else "left",
            no_wrap=heading in whole,
            min_width=longest if heading in whole else None,
        )
    for line in cells:
        made.add_row(*line)
    Console().print(made)
