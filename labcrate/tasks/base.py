"""What every task of the lab shares: errors with exit codes, the lock, consent, one reading."""

from __future__ import annotations

import errno
import functools
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from invoke import Context, Exit, task

from labcrate import environment, output, process
from labcrate.clone.env_file import FULL, if_there_is_room
from labcrate.clone.identity import refuse_copy, settle
from labcrate.clone.lock import locked
from labcrate.clone.ownership import not_permitted, owner_kept
from labcrate.clone.place import Clone, find_clone
from labcrate.clone.rootless import refuse_other_user
from labcrate.clone.settings import Settings, load
from labcrate.engine.engine import Engine, find_engine, require_engine
from labcrate.engine.limits import report_limits
from labcrate.engine.membership import as_member
from labcrate.engine.sight import refuse_unseen
from labcrate.errors import Code, LabError
from labcrate.lab.compose import Lab
from labcrate.lab.snapshot import Snapshot, take_snapshot
from labcrate.packages.recovery import recover_packages
from labcrate.tasks.words import NOTHING, LabTask, Takes

Body = TypeVar("Body", bound=Callable[..., Any])


def lab_task(takes: Takes = NOTHING, /, **flags: str) -> Callable[[Body], Any]:
    """A task whose expected failures end in one message and an exit code of their own.

    takes: its words. flags: one line of help for each parameter of the task.
    """

    def decorate(body: Body) -> Any:
        @functools.wraps(body)
        def wrapped(c: Context, *arguments: Any, **options: Any) -> Any:
            mode = process.Mode(dry=bool(c.config.run.dry), echo=bool(c.config.run.echo))
            try:
                with process.terminable(), process.in_mode(mode), owner_kept():
                    return body(c, *arguments, **options)
            except LabError as error:
                raise Exit(str(error), code=int(error.code)) from None
            except OSError as error:
                told = no_room(error) if is_full(error) else not_permitted(error)
                if told is None:
                    raise
                raise Exit(str(told), code=int(told.code)) from None
            except KeyboardInterrupt:
                raise Exit(
                    "interrupted; the same command can be run again", code=Code.INTERRUPTED
                ) from None
            except process.Terminated as error:
                hung = error.signum == signal.SIGHUP
                word = "the terminal went away" if hung else "terminated"
                code = Code.HUNG_UP if hung else Code.TERMINATED
                raise Exit(f"{word}; the same command can be run again", code=code) from None

        made = task(klass=LabTask, help=flags, positional=(), iterable=takes.lists)(wrapped)
        made.takes = takes
        return made

    return decorate


def is_full(error: OSError) -> bool:
    """Whether there was no room; copying a folder collects such errors in one of its own."""
    return error.errno in FULL or f"[Errno {errno.ENOSPC}]" in str(error)


def no_room(error: OSError) -> LabError:
    where = f": {error.filename}" if error.filename else ""
    return LabError(
        f"the disk of this clone is full{where}",
        fix="make room (delete files, or `invoke clean --images`, which needs none itself), "
        "then run the same command again",
        code=Code.DISK_FULL,
    )


def asker(yes: bool) -> Callable[[str], bool]:
    """Consent: given by --yes, asked for at a terminal, and no where nobody can answer."""

    def confirm(question: str) -> bool:
        if yes or process.is_dry():
            return True
        if not environment.is_terminal():
            return False
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            output.say()
            return False

    return confirm


def agreed(yes: bool, question: str, said_no: str, refusal: LabError) -> bool:
    """Whether the user agrees. A no is a no: one line. Where nobody can answer, it is an error."""
    if asker(yes)(question):
        return True
    if not environment.is_terminal():
        raise refusal
    output.say(said_no)
    return False


def load_settings() -> Settings:
    """The settings of the clone that the user stands in; a copy of another clone has none yet."""
    clone = find_clone()
    refuse_copy(clone)
    return load(clone)


def read_lab() -> Snapshot:
    """The lab of this clone as it is; for tasks that change nothing."""
    return take_snapshot(load_settings())


def read_lab_and_engine(
    settings: Settings, profiles: tuple[str, ...] = ()
) -> tuple[Engine, Snapshot]:
    """The lab and the engine, asked at the same time; the engine's refusal comes first."""
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(find_engine)
        snapshot = pool.submit(take_snapshot, settings, profiles)
        engine = require_engine(asked.result())
        refuse_other_user(engine.rootless, (settings.uid, settings.gid))
        report_limits(engine, settings.memory_limit)
        return engine, snapshot.result()


@contextmanager
def alone(what: str) -> Iterator[Settings]:
    """One changing task at a time, which reads everything inside the lock.

    What an interrupted change of packages left half done is put back first.
    """
    clone: Clone = find_clone()
    with locked(clone, what):
        settle(clone)
        if what not in ("down", "clean"):
            refuse_unseen(clone)
        settings = load(clone)
        # These two make room for it, and the next task puts it back.
        with if_there_is_room() if what in ("down", "clean") else nullcontext():
            recover_packages(Lab(settings=settings))
        yield settings


@contextmanager
def with_the_engines_group() -> Iterator[None]:
    """Run what the user typed once more, where his session lacks a group that his account has.

    So the first command works on a machine where it has just installed the engine.
    """
    try:
        yield
    except LabError as error:
        prefix = as_member() if error.code is Code.ENGINE_DENIED else ()
        if not prefix:
            raise
        returncode = process.attach((*prefix, *environment.typed_command()))
        output.say(
            "This terminal is older than your right to use the engine. Before the next "
            "command, type `newgrp docker` here, or log out and in."
        )
        raise Exit(code=returncode) from None


def result_only(quiet: bool) -> AbstractContextManager[None]:
    """Keep back what is said meanwhile, with --quiet; a dry run has nothing but that to show."""
    return output.hushed(quiet and not process.is_dry())


def require_up(snapshot: Snapshot) -> None:
    if not snapshot.is_healthy:
        raise LabError("the lab is not up", fix="invoke up", code=Code.NOT_UP)


def finish(returncode: int) -> None:
    """End with another command's exit status, where it has one to report."""
    if returncode:
        raise Exit(code=returncode)


def terminal_flags() -> list[str]:
    """What Compose's exec and run need where there is no terminal."""
    return [] if environment.is_terminal() else ["--no-TTY"]
