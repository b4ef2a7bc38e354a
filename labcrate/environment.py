"""The only module that reads this process's environment and identity. Tests set os.environ."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import sys
from collections.abc import Mapping


def variables() -> Mapping[str, str]:
    """The environment as it is now."""
    return os.environ


def variable(name: str) -> str:
    """One variable's value; "" where it is not set."""
    return os.environ.get(name, "")


def is_root() -> bool:
    return os.geteuid() == 0


def user_ids() -> tuple[int, int]:
    """The uid and gid of who runs this."""
    return os.getuid(), os.getgid()


def user_name() -> str:
    """The name of the account that runs this; "" where its number has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def is_joining(group: str) -> bool:
    """Whether this account was put into a group that its session does not have yet."""
    try:
        found = grp.getgrnam(group)
    except KeyError:
        return False
    return user_name() in found.gr_mem and found.gr_gid not in (os.getgid(), *os.getgroups())


def typed_command() -> tuple[str, ...]:
    """The tasks that the user typed, as a command that needs no PATH."""
    return (sys.executable, "-m", "invoke", *sys.argv[1:])


def command_path(name: str) -> str | None:
    """Where a program is found on PATH."""
    return shutil.which(name)


def is_terminal() -> bool:
    """Whether a person is there to answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def is_read_at_once() -> bool:
    """Whether what is printed goes to a terminal, and into no file or log."""
    return sys.stdout.isatty()
