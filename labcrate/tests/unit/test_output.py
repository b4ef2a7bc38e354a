"""The only module that prints."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable

import pytest
from rich.text import Text

from labcrate import output


def test_rows_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.row("gpu", "off")
    output.setup_row("gpu", "off")
    output.seconds("built", 1.26)
    output.say_error("wrong")
    told = capsys.readouterr()
    assert told.out == "  gpu          off\n  gpu                off\n  built (1.3 s)\n"
    assert told.err == "wrong\n"


def test_nothing_in_a_cell_is_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("a", "b"), [("[red]x[/red]", Text("y", style="red"))], title="t", numbers=True)
    assert "[red]x[/red]" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_letters_shows_the_rest(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """PYTHONIOENCODING=ascii, and cron on many machines; tables, too, whose lines are drawn."""
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding, errors="strict"))
    with pytest.raises(UnicodeEncodeError):
        output.say("日本")
    output.accept_any_text()
    output.say("lab 日本 …")
    output.table(("nàme", "b"), [("日本 is whole", "2")], title="clean “x”", caption="é")
    shown = kept.getvalue().decode(encoding)
    assert "lab ?? ?" in shown
    assert "is whole" in shown


def test_a_stream_of_another_kind_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    output.accept_any_text()
    output.say("é")


@pytest.mark.parametrize("say", [output.say, output.say_error])
def test_a_terminal_that_went_away_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, say: Callable[[str], None]
) -> None:
    """What is put back after SIGHUP talks, too. Another error is one."""

    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(number, "no")

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    number = errno.EIO
    say("x")
    number = errno.ENOSPC
    with pytest.raises(OSError, match="no"):
        say("x")


def test_what_is_hushed_is_kept_back_but_errors_and_what_nobody_may_miss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with output.hushed(True):
        output.say("step")
        output.row("step", "x")
        output.seconds("step", 1)
        output.table(("step",), [("x",)])
        output.say_always("lost")
        output.say("step")
        output.say_error("wrong")
    output.say("result")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("lost\nresult\n", "wrong\n")


@pytest.mark.parametrize(
    ("environ", "is_plain"),
    [
        ({}, False),
        ({"NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, True),
        ({"NO_COLOR": ""}, False),
    ],
)
def test_colours_are_shown_unless_the_terminal_or_the_user_wants_none(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], is_plain: bool
) -> None:
    """https://no-color.org: a variable that is set and not empty."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    output.table(("a",), [(Text("x", style="red"),)])
    assert ("\x1b[31m" not in shown.getvalue()) == is_plain
