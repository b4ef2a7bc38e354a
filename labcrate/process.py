"""The way to every process: argument lists, never a shell string.

`ask` is for questions: quiet, and asked in a dry run too. `change`, `stream` and `attach` are for
commands that change something or that the user asked for: they are shown so that they can be
copied, and Invoke's `--dry` shows them without running them.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from labcrate import output
from labcrate.starter import (
    NOT_FOUND,
    TIMED_OUT,
    AtOnce,
    RealStarter,
    Result,
    Starter,
    do_nothing,
)

__all__ = ["NOT_FOUND", "TIMED_OUT", "AtOnce", "RealStarter", "Result", "Starter"]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """dry: show commands that change something and do not run them. echo: show questions too."""

    dry: bool = False
    echo: bool = False


@dataclass
class _Now:
    """The starter and the mode in force; replaced as a whole by `using` and `in_mode`."""

    starter: Starter
    mode: Mode


_now = _Now(starter=RealStarter(), mode=Mode())
NO_VARIABLES: Mapping[str, str] = {}


def current_starter() -> Starter:
    """What starts processes now, for a starter that wraps it."""
    return _now.starter


@contextmanager
def using(starter: Starter) -> Iterator[None]:
    """Let another starter run everything meanwhile: the double of the unit tests."""
    before, _now.starter = _now.starter, starter
    try:
        yield
    finally:
        _now.starter = before


@contextmanager
def keeping(file: IO[str] | None) -> Iterator[None]:
    """Processes that a task waits for keep this file open meanwhile, and so its lock."""
    starter = _now.starter
    if file is None or not isinstance(starter, RealStarter):
        yield
        return
    with using(RealStarter(kept=(*starter.kept, file.fileno()))):
        yield


@contextmanager
def in_mode(mode: Mode) -> Iterator[None]:
    """Invoke's --dry and --echo, for the length of a task."""
    before, _now.mode = _now.mode, mode
    try:
        yield
    finally:
        _now.mode = before


def is_dry() -> bool:
    """Whether this is a dry run: nothing may change."""
    return _now.mode.dry


def echo(argv: Sequence[str], extra_env: Mapping[str, str] = NO_VARIABLES) -> None:
    """Show a command so that it can be copied and run as it stands."""
    prefix = [f"{name}={shlex.quote(value)}" for name, value in extra_env.items()]
    output.say("$ " + " ".join([*prefix, shlex.join(argv)]))


def ask(
    argv: Sequence[str],
    *,
    timeout_s: float | None = 30.0,
    stdin: str | None = None,
    extra_env: Mapping[str, str] = NO_VARIABLES,
    cwd: Path | None = None,
) -> Result:
    """Ask a quiet question and return the answer, whatever it is."""
    if _now.mode.echo:
        echo(argv, extra_env)
    return _now.starter.run(argv, timeout_s=timeout_s, stdin=stdin, extra_env=extra_env, cwd=cwd)


def change(
    argv: Sequence[str],
    *,
    timeout_s: float | None = 300.0,
    stdin: str | None = None,
    extra_env: Mapping[str, str] = NO_VARIABLES,
    cwd: Path | None = None,
    quiet: bool = False,
) -> Result:
    """Run a command that changes something; what it says is returned and not shown.

    quiet: not shown either, where the task says in its own words what it does.
    """
    if not _shown(argv, extra_env, quiet):
        return Result(argv=tuple(argv))
    return _now.starter.run(argv, timeout_s=timeout_s, stdin=stdin, extra_env=extra_env, cwd=cwd)


def attach(
    argv: Sequence[str],
    *,
    extra_env: Mapping[str, str] = NO_VARIABLES,
    cwd: Path | None = None,
    quiet: bool = False,
    at_once: AtOnce = do_nothing,
) -> int:
    """Run a command on the user's own terminal and return its exit status.

    at_once: gets what ended the wait for it (Ctrl-C, a signal), before the command itself does.
    """
    if not _shown(argv, extra_env, quiet):
        return 0
    return _now.starter.attach(argv, extra_env=extra_env, cwd=cwd, at_once=at_once)


def stream(
    argv: Sequence[str],
    *,
    line: Callable[[str], None] = output.say,
    extra_env: Mapping[str, str] = NO_VARIABLES,
    cwd: Path | None = None,
    quiet: bool = False,
) -> Result:
    """Run a long command that changes something, hand each line to `line`, keep the whole text.

    stdout and stderr are read as one, so that the text can be matched against known failures.
    """
    if not _shown(argv, extra_env, quiet):
        return Result(argv=tuple(argv))
    return _now.starter.stream(argv, line=line, extra_env=extra_env, cwd=cwd)


def detach(argv: Sequence[str], *, log: Path | None) -> None:
    """Start a daemon that outlives this task. log: the file that gets what it says."""
    if _shown(argv, NO_VARIABLES, quiet=False):
        _now.starter.detach(argv, log=log)


def _shown(argv: Sequence[str], extra_env: Mapping[str, str], quiet: bool) -> bool:
    """Show a command where that is due; whether it is to be run."""
    mode = _now.mode
    if mode.dry or mode.echo or not quiet:
        echo(argv, extra_env)
    return not mode.dry


class Terminated(BaseException):
    """A signal arrived: unwind like Ctrl-C, so that children end and files are put back.

    signum: SIGTERM, or SIGHUP where the terminal went away.
    """

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(signum)
        self.signum = signum


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception for the length of a task; `nohup` keeps its say."""
    both = (signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in both}
    heard = [one for one in both if before[one] is not signal.SIG_IGN]

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        # A terminal that goes away often says so twice: the second must not cut short what the
        # first one has begun.
        for one in heard:
            signal.signal(one, signal.SIG_IGN)
        raise Terminated(signum)

    for one in heard:
        signal.signal(one, on_signal)
    try:
        yield
    finally:
        for one in heard:
            signal.signal(one, before[one])
