"""The only module that starts a process: argument lists, never a shell string."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
"""The clone. Invoke finds tasks.py from a sub-folder but stays there: every path hangs on this."""

GRACE_S = 15.0
"""Seconds a child gets to end by itself after Ctrl-C; Compose needs up to 10 to stop containers."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a finished process said. returncode 127: not found; 124: over its time limit."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


def echo(argv: Sequence[str], extra_env: Mapping[str, str] | None = None) -> None:
    """Show a command so that it can be copied and run as it stands."""
    prefix = [f"{name}={shlex.quote(value)}" for name, value in (extra_env or {}).items()]
    print("$ " + " ".join([*prefix, shlex.join(argv)]), flush=True)


def capture(
    argv: Sequence[str],
    *,
    timeout_s: float = 30.0,
    stdin: str | None = None,
    extra_env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Result:
    """Ask a quiet question and return the answer, whatever it is."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            cwd=cwd,
            env={**os.environ, **(extra_env or {})},
        )
    except (FileNotFoundError, PermissionError) as error:
        return Result(argv=tuple(argv), returncode=127, stdout="", stderr=str(error))
    except subprocess.TimeoutExpired:
        note = f"no answer within {timeout_s:g} s"
        return Result(argv=tuple(argv), returncode=124, stdout="", stderr=note)
    return Result(
        argv=tuple(argv), returncode=done.returncode, stdout=done.stdout, stderr=done.stderr
    )


def attach(
    argv: Sequence[str],
    *,
    extra_env: Mapping[str, str] | None = None,
    quiet: bool = False,
    cwd: Path = ROOT,
) -> int:
    """Run a command on the user's own terminal and return its exit status."""
    if not quiet:
        echo(argv, extra_env)
    with subprocess.Popen(list(argv), cwd=cwd, env={**os.environ, **(extra_env or {})}) as child:
        return _wait(child)


def stream(
    argv: Sequence[str],
    *,
    line: Callable[[str], None] | None = None,
    extra_env: Mapping[str, str] | None = None,
    quiet: bool = False,
    cwd: Path = ROOT,
) -> Result:
    """Run a long command, hand each output line to `line`, and keep the whole text.

    stdout and stderr are read as one, so that the text can be matched against known failures.
    """
    if not quiet:
        echo(argv, extra_env)
    show = line or (lambda text: print(text, flush=True))
    try:
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**os.environ, **(extra_env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except (FileNotFoundError, PermissionError) as error:
        return Result(argv=tuple(argv), returncode=127, stdout="", stderr=str(error))
    said: list[str] = []
    with child:
        assert child.stdout is not None
        reader = threading.Thread(target=_read, args=(child.stdout, said, show), daemon=True)
        reader.start()
        returncode = _wait(child)
        reader.join()
    return Result(argv=tuple(argv), returncode=returncode, stdout="\n".join(said), stderr="")


def _read(pipe: IO[str], said: list[str], show: Callable[[str], None]) -> None:
    for text in pipe:
        said.append(text.rstrip("\n"))
        show(said[-1])


def _wait(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """Wait for a child; whatever ends the wait ends the child too, so none is orphaned."""
    try:
        return child.wait()
    except BaseException:
        # At a terminal Ctrl-C reached the child already; `kill -INT` on us alone did not.
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise


class Terminated(BaseException):
    """SIGTERM arrived: unwind like Ctrl-C, so that children end and files are put back."""


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception for the length of a task."""

    def on_term(_signum: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_terminal() -> bool:
    """Whether a person is there to answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()
