"""Tasks that take several words: `add-package a b`, `run python x.py --epochs 3`.

Invoke asks a task which arguments it has, and then hands the words of the command line out to
them: to a positional argument for as long as that has no value. So a task of ours looks at the
command line first, and its `Words` have no value until each of its words was handed to them.

The rule: a word that is a task's name starts that task, unless it is the first word of a verb that
takes words. All that follows `run` is the command.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke import Argument, Exit, Task

from labcrate.errors import Code, LabError

PROGRAMS = ("invoke", "inv", "__main__")
"""The names of Invoke's own program, without an ending: another one's words are not ours."""

MEANT = {
    "add": "add-package",
    "exec": "shell",
    "init": "setup",
    "install": "add-package",
    "jupyter": "up",
    "list": "packages",
    "log": "logs",
    "ls": "packages",
    "ps": "status",
    "remove": "remove-package",
    "rm": "remove-package",
    "start": "up",
    "stop": "down",
    "uninstall": "remove-package",
}
"""What other tools call a verb of the lab."""


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What a task takes beside its flags.

    words: the parameter that gets the words. rest: all that follows is one command. lists: flags
    that may be given several times.
    """

    words: str = ""
    rest: bool = False
    lists: tuple[str, ...] = ()


NOTHING = Takes()
HELP = ("--help", "-h")


class Words(Argument):
    """A positional argument of several words.

    words: as typed. pieces: how many Invoke makes of them, which it hands over one by one.
    """

    def __init__(self, like: Argument, words: Sequence[str], pieces: int) -> None:
        self.words, self.pieces = tuple(words), pieces
        super().__init__(
            names=like.names, help=like.help, attr_name=like.attr_name, positional=True
        )

    @property
    def value(self) -> tuple[str, ...] | None:
        """None as long as Invoke is to hand over more."""
        return None if self.pieces > 0 else self.words

    @value.setter
    def value(self, piece: str) -> None:
        self.raw_value = piece
        self.pieces -= 1


class LabTask(Task[Any]):
    """A task of the lab. verb: its name on the command line; known: all tasks of the clone."""

    takes: Takes = NOTHING
    verb: str = ""
    known: Callable[[], Mapping[str, Task[Any]]] = dict

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Invoke's question before it reads the command line."""
        texts, self.help = self.help, dict(self.help)
        arguments: list[Argument] = super().get_arguments(ignore_unknown_help)
        self.help = texts  # Invoke takes each text out as it reads it, and may ask again.
        known, typed = self.known(), typed_words()
        try:
            refuse_unknown_task(typed, known)
            return [self._words_for(one, arguments, typed, known) for one in arguments]
        except LabError as error:
            raise Exit(str(error), code=int(error.code)) from None

    def _words_for(
        self,
        one: Argument,
        arguments: Sequence[Argument],
        typed: Sequence[str],
        known: Iterable[str],
    ) -> Argument:
        if one.name != self.takes.words:
            return one
        if self.takes.rest:
            one.names = one.names[:1]  # `-c` is more often the command's own
        flags = {flag_of(name): arg for arg in arguments for name in arg.names}
        after = typed[typed.index(self.verb) + 1 :] if self.verb in typed else ()
        if self.takes.rest:
            return Words(one, *command_words(after, flags, self.verb))
        return Words(one, *several_words(after, flags, one, known))


def typed_words() -> list[str]:
    """What follows `invoke` on the command line; nothing where another program runs."""
    return sys.argv[1:] if Path(sys.argv[0]).stem in PROGRAMS else []


def flag_of(name: str) -> str:
    """`--no-live` of no-live, `-r` of r."""
    return f"-{name}" if len(name) == 1 else f"--{name}"


def several_words(
    typed: Sequence[str], flags: Mapping[str, Argument], own: Argument, ends: Iterable[str]
) -> tuple[list[str], int]:
    """The words of a verb, and how many pieces Invoke makes of them.

    typed: what follows the verb. flags: the verb's, `own` among them, whose value is a word, too.
    ends: words that start something else. An unknown option before a word counts as a word: the
    verb says what is wrong with it. What follows the last word is Invoke's to judge.
    """
    words: list[str] = []
    options: list[str] = []
    value: Argument | None = None
    pieces, stops = 0, {*ends, "--"}
    for word in typed:
        if value is not None:
            words += [word] if value is own else []
            pieces += value is own
            value = None
        elif found := flags.get(flag_in(word)):
            value = found if found.takes_value and word == flag_in(word) else None
        elif word.startswith("-") and word != "--":
            options.append(word)
        elif word in stops and (words or word == "--"):
            break
        else:
            words += [*options, word]
            pieces += sum(len(pieces_of(one)) for one in (*options, word))
            options = []
    return words, pieces


def command_words(
    typed: Sequence[str], flags: Mapping[str, Argument], verb: str = "run"
) -> tuple[list[str], int]:
    """The command that follows a verb and its flags, and how many pieces Invoke makes of it.

    After `--` Invoke looks at nothing. Before, it takes a flag of the verb wherever that stands.
    """
    at, value = 0, False
    while at < len(typed) and (value or flag_in(typed[at]) in flags):
        word = typed[at]
        value = not value and flags[flag_in(word)].takes_value and word == flag_in(word)
        at += 1
    command = list(typed[at:])
    if command[:1] == ["--"]:
        return command[1:], 0
    if command and command[0].startswith("-"):
        if command[0] in HELP:
            return [], 0
        raise LabError(
            f"{command[0]} is no flag of `invoke {verb}`, and no command",
            fix=f"put Invoke's own flags first: invoke {command[0]} {verb} ...",
            code=Code.SETTINGS,
        )
    seen = command[: command.index("--")] if "--" in command else command
    pieces = [piece for word in seen for piece in pieces_of(word)]
    taken = next((piece for piece in pieces if piece in flags), "")
    if taken:
        raise LabError(
            f"{taken} is a flag of `invoke {verb}`, too",
            fix=" ".join(("put -- before the command: invoke", verb, *typed[:at], "--", *command)),
            code=Code.SETTINGS,
        )
    return command, len(pieces)


def flag_in(word: str) -> str:
    """The flag that a word gives, with a value glued on (`--a=b`, `-ab`) or not; "" for others."""
    if word in ("-", "--") or not word.startswith("-"):
        return ""
    return word.partition("=")[0] if word.startswith("--") else word[:2]


def pieces_of(word: str) -> list[str]:
    """The pieces that Invoke makes of a word: `--a=b` and `-xyz` are several."""
    if not word.startswith("-"):
        return [word]
    name, glue, value = word.partition("=")
    if glue:
        return [name, *pieces_of(value)]
    if word.startswith("--") or len(word) == 1:
        return [word]
    return [word[:2], *(f"-{letter}" for letter in word[2:])]


def refuse_unknown_task(typed: Sequence[str], known: Mapping[str, Task[Any]]) -> None:
    """Refuse a word that must be a task's name and is none; a near name is the fix."""
    name = unknown_task(typed, known)
    if not name:
        return
    near = [MEANT[name]] if name in MEANT else difflib.get_close_matches(name, known, n=2)
    fix = f"did you mean {' or '.join(near)}? " if near else ""
    raise LabError(
        f"there is no task {name[:60]!r}", fix=f"{fix}invoke --list shows all", code=Code.SETTINGS
    )


def unknown_task(typed: Sequence[str], known: Mapping[str, Task[Any]]) -> str:
    """The first word that must be a task's name and is none; "" where nothing is sure."""
    now: Task[Any] | None = None
    before = ""
    for word in typed:
        if word == "--" or (isinstance(now, LabTask) and now.takes.rest):
            break
        takes_words = bool(now) and has_words(now)
        if word in known and not (takes_words and before in known):
            now = known[word]
        elif not word.startswith("-") and not before.startswith("-") and not takes_words:
            return word
        before = word
    return ""


def has_words(one: Task[Any] | None) -> bool:
    """Whether words that are no flags may follow a task."""
    if isinstance(one, LabTask):
        return bool(one.takes.words)
    return bool(one and one.positional)
