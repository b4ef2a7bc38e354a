"""How processes are started: for real here, and by a double in the unit tests.

Nothing else uses `subprocess`; everything else asks `process.py`.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from labcrate import environment

GRACE_S = 15.0
"""Seconds a child gets to end by itself after Ctrl-C; Compose needs up to 10 to stop containers."""

NOT_FOUND, TIMED_OUT = 127, 124
"""Return codes for a program that is not there and for one over its time limit, as in a shell."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a finished process said. returncode 127: not found; 124: over its time limit."""

    argv: tuple[str, ...]
    returncode: int = 0
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


AtOnce = Callable[[BaseException], None]
"""What is called first when something else than a child's own end ends the wait for it."""


def do_nothing(_: BaseException) -> None:
    """Where nothing is to be done at once."""


class Starter(Protocol):
    """What starts processes: `RealStarter`, or the double of the unit tests."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None,
        stdin: str | None,
        extra_env: Mapping[str, str],
        cwd: Path | None,
    ) -> Result:
        """Run to the end and keep what was said."""
        ...

    def attach(
        self,
        argv: Sequence[str],
        *,
        extra_env: Mapping[str, str],
        cwd: Path | None,
        at_once: AtOnce,
    ) -> int:
        """Run on the user's own terminal."""
        ...

    def stream(
        self,
        argv: Sequence[str],
        *,
        line: Callable[[str], None],
        extra_env: Mapping[str, str],
        cwd: Path | None,
    ) -> Result:
        """Run, hand each line to `line`, and keep the whole."""
        ...

    def detach(self, argv: Sequence[str], *, log: Path | None) -> None:
        """Start a daemon in a session of its own."""
        ...


@dataclass(frozen=True, kw_only=True)
class RealStarter:
    """Starts real processes. kept: files that a child which is waited for keeps open, too."""

    kept: tuple[int, ...] = ()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None,
        stdin: str | None,
        extra_env: Mapping[str, str],
        cwd: Path | None,
    ) -> Result:
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
                env={**environment.variables(), **extra_env},
                pass_fds=self.kept,
                check=False,
            )
        except (FileNotFoundError, PermissionError) as error:
            return Result(argv=tuple(argv), returncode=NOT_FOUND, stderr=str(error))
        except subprocess.TimeoutExpired:
            note = f"no answer within {timeout_s:g} s"
            return Result(argv=tuple(argv), returncode=TIMED_OUT, stderr=note)
        return Result(
            argv=tuple(argv), returncode=done.returncode, stdout=done.stdout, stderr=done.stderr
        )

    def attach(
        self,
        argv: Sequence[str],
        *,
        extra_env: Mapping[str, str],
        cwd: Path | None,
        at_once: AtOnce,
    ) -> int:
        env = {**environment.variables(), **extra_env}
        with subprocess.Popen(list(argv), cwd=cwd, env=env, pass_fds=self.kept) as child:
            return _wait(child, at_once)

    def stream(
        self,
        argv: Sequence[str],
        *,
        line: Callable[[str], None],
        extra_env: Mapping[str, str],
        cwd: Path | None,
    ) -> Result:
        try:
            child = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env={**environment.variables(), **extra_env},
                pass_fds=self.kept,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except (FileNotFoundError, PermissionError) as error:
            return Result(argv=tuple(argv), returncode=NOT_FOUND, stderr=str(error))
        reader = _Reader(child.stdout, line)
        try:
            reader.start()
            returncode = _wait(child, reader.hush)
        finally:
            reader.finish()
        return Result(argv=tuple(argv), returncode=returncode, stdout="\n".join(reader.said))

    def detach(self, argv: Sequence[str], *, log: Path | None) -> None:
        target = log.open("ab") if log else subprocess.DEVNULL
        subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )


class _Reader:
    """Reads what a child says in a thread of its own, so that Ctrl-C is heard meanwhile."""

    def __init__(self, pipe: IO[str] | None, show: Callable[[str], None]) -> None:
        self.pipe = pipe
        self.show = show
        self.said: list[str] = []
        self.thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def hush(self, _: BaseException) -> None:
        """Read on, so that the child can end, and show no more of it."""
        self.show = lambda _: None

    def finish(self) -> None:
        """Wait for the last line. A grandchild may keep the pipe open: then nobody closes it."""
        self.thread.join(GRACE_S)
        if self.pipe is not None and not self.thread.is_alive():
            self.pipe.close()

    def _read(self) -> None:
        for text in self.pipe or ():
            self.said.append(text.rstrip("\n"))
            self.show(self.said[-1])


def _wait(child: subprocess.Popen[str] | subprocess.Popen[bytes], at_once: AtOnce) -> int:
    """Wait for a child; whatever ends the wait ends the child too, so none is orphaned."""
    try:
        return child.wait()
    except BaseException as error:
        at_once(error)
        # At a terminal Ctrl-C reached the child already; `kill -INT` on us alone did not.
        # What sudo started is root's, and hears the terminal alone.
        with suppress(PermissionError):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        raise
