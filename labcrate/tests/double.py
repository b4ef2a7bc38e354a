"""A double of the starter of processes, for the unit tests. Strict: it answers what a test told it
to answer, and a command that nobody expected fails the test. The contract that it shares with the
real starter is in unit/test_process.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labcrate.process import AtOnce, Result


@dataclass
class Expected:
    """An answer to every command in which these words stand, in this order."""

    words: tuple[str, ...]
    result: Result
    does: Callable[[Sequence[str], str | None], None] | None = None

    def fits(self, argv: Sequence[str]) -> bool:
        left = iter(argv)
        return all(any(word == part for part in left) for word in self.words)


@dataclass
class Double:
    """calls: every command that was started, in order. What was expected last is asked first."""

    expected: list[Expected] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def expect(
        self,
        *words: str,
        stdout: str = "",
        stderr: str = "",
        returncode: int = 0,
        does: Callable[[Sequence[str], str | None], None] | None = None,
    ) -> Double:
        """Answer commands with these words. does: called with the command and its input."""
        result = Result(argv=words, returncode=returncode, stdout=stdout, stderr=stderr)
        self.expected.insert(0, Expected(words, result, does))
        return self

    def called(self, *words: str) -> list[tuple[str, ...]]:
        """The commands in which these words stand, in this order."""
        wanted = Expected(words, Result(argv=words))
        return [argv for argv in self.calls if wanted.fits(argv)]

    def _answer(self, argv: Sequence[str], stdin: str | None = None) -> Result:
        self.calls.append(tuple(argv))
        for one in self.expected:
            if one.fits(argv):
                if one.does:
                    one.does(argv, stdin)
                known = one.result
                return Result(
                    argv=tuple(argv),
                    returncode=known.returncode,
                    stdout=known.stdout,
                    stderr=known.stderr,
                )
        raise AssertionError(f"nobody expected this command: {list(argv)}")

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None,  # noqa: ARG002 - the double answers at once
        stdin: str | None,
        extra_env: Mapping[str, str],  # noqa: ARG002
        cwd: Path | None,  # noqa: ARG002
    ) -> Result:
        return self._answer(argv, stdin)

    def attach(
        self,
        argv: Sequence[str],
        *,
        extra_env: Mapping[str, str],  # noqa: ARG002
        cwd: Path | None,  # noqa: ARG002
        at_once: AtOnce,  # noqa: ARG002 - nothing ends the wait for an answer
    ) -> int:
        return self._answer(argv).returncode

    def stream(
        self,
        argv: Sequence[str],
        *,
        line: Callable[[str], None],
        extra_env: Mapping[str, str],  # noqa: ARG002
        cwd: Path | None,  # noqa: ARG002
    ) -> Result:
        """As the real one: stdout and stderr as one text, without its last line break."""
        answer = self._answer(argv)
        lines = answer.text.splitlines()
        for text in lines:
            line(text)
        return Result(argv=answer.argv, returncode=answer.returncode, stdout="\n".join(lines))

    def detach(self, argv: Sequence[str], *, log: Path | None) -> None:  # noqa: ARG002
        self._answer(argv)
