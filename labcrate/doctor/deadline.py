"""One deadline for all the doctor's questions, and a record of those that got no answer in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labcrate.process import TIMED_OUT, AtOnce, Result, Starter


class DeadlineStarter:
    """Another starter, with one deadline for everything it runs.

    cut: the commands that got no answer in time. heard: the answers of the others, by command.
    """

    def __init__(self, inner: Starter, seconds: float) -> None:
        self.inner = inner
        self.until = time.monotonic() + seconds
        self.cut: list[tuple[str, ...]] = []
        self.heard: dict[tuple[str, ...], Result] = {}

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None,
        stdin: str | None,
        extra_env: Mapping[str, str],
        cwd: Path | None,
    ) -> Result:
        """As the other starter's, but within the time that is left; 124 when it is up."""
        left = self.until - time.monotonic()
        if left <= 0:
            late = "not asked: the time for all questions was up"
            answer = Result(argv=tuple(argv), returncode=TIMED_OUT, stderr=late)
        else:
            # Rounded, for the messages that name it.
            left = round(left, 1) if left >= 1 else left
            limit = left if timeout_s is None else min(timeout_s, left)
            answer = self.inner.run(
                argv, timeout_s=limit, stdin=stdin, extra_env=extra_env, cwd=cwd
            )
        if answer.returncode == TIMED_OUT:
            self.cut.append(tuple(argv))
        else:
            self.heard[tuple(argv)] = answer
        return answer

    def attach(
        self,
        argv: Sequence[str],
        *,
        extra_env: Mapping[str, str],
        cwd: Path | None,
        at_once: AtOnce,
    ) -> int:
        raise NotImplementedError("the doctor only asks")

    def stream(
        self,
        argv: Sequence[str],
        *,
        line: Callable[[str], None],
        extra_env: Mapping[str, str],
        cwd: Path | None,
    ) -> Result:
        raise NotImplementedError("the doctor only asks")

    def detach(self, argv: Sequence[str], *, log: Path | None) -> None:
        raise NotImplementedError("the doctor only asks")

    def missed(self, *words: str) -> bool:
        """Whether a question with these words, in this order, got no answer in time."""
        return any(_fits(words, argv) for argv in self.cut)


def _fits(words: Sequence[str], argv: Sequence[str]) -> bool:
    left = iter(argv)
    return all(any(word == part for part in left) for word in words)
