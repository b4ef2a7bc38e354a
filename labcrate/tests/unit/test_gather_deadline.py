"""One deadline for all the doctor's questions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from double import Double

from labcrate import process
from labcrate.doctor.deadline import DeadlineStarter
from labcrate.doctor.gather import question
from labcrate.process import NOT_FOUND, TIMED_OUT, RealStarter, Result


class Slow(RealStarter):
    """Never answers in time."""

    def __init__(self) -> None:
        self.limits: list[float | None] = []

    def run(self, argv: Sequence[str], *, timeout_s: float | None, **_: Any) -> Result:
        self.limits.append(timeout_s)
        time.sleep(timeout_s or 60)
        return Result(argv=tuple(argv), returncode=TIMED_OUT)


def test_a_client_that_never_answers_costs_its_time_once() -> None:
    slow = Slow()
    starter = DeadlineStarter(slow, 0.2)
    with process.using(starter):
        answers = [process.ask(("docker", str(number)), timeout_s=30) for number in range(5)]
    assert [answer.returncode for answer in answers] == [TIMED_OUT] * 5
    assert len(slow.limits) == 1
    assert (slow.limits[0] or 60) <= 0.2
    assert starter.cut == [("docker", str(number)) for number in range(5)]
    assert starter.heard == {}


def test_a_question_keeps_its_own_shorter_limit() -> None:
    slow = Slow()
    with process.using(DeadlineStarter(slow, 10)):
        process.ask(("docker", "ps"), timeout_s=0.01)
    assert slow.limits == [0.01]


def test_a_question_without_a_limit_gets_the_time_that_is_left() -> None:
    slow = Slow()
    with process.using(DeadlineStarter(slow, 0.05)):
        process.change(("docker", "ps"), timeout_s=None, quiet=True)
    assert slow.limits[0] is not None
    assert slow.limits[0] <= 0.05


def test_a_failure_is_an_answer(double: Double) -> None:
    double.expect("docker", returncode=NOT_FOUND)
    starter = DeadlineStarter(double, 10)
    with process.using(starter):
        process.ask(("docker", "ps"))
    assert (list(starter.heard), starter.cut) == ([("docker", "ps")], [])


def test_what_was_missed_is_found_by_its_words() -> None:
    starter = DeadlineStarter(RealStarter(), -1)
    with process.using(starter):
        process.ask(("docker", "compose", "--env-file", ".env", "config"))
    assert starter.missed("docker", "config")
    assert not starter.missed("config", "docker")
    assert not starter.missed("docker", "ps")


def test_the_doctor_can_only_ask(double: Double) -> None:
    starter = DeadlineStarter(double, 10)
    with process.using(starter):
        for change in (
            lambda: process.attach(("x",)),
            lambda: process.stream(("x",)),
            lambda: process.detach(("x",), log=None),
        ):
            with pytest.raises(NotImplementedError):
                change()
    assert double.calls == []


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ("docker image inspect lab-x/jupyter", "docker image inspect"),
        ("docker info --format {{json .}}", "docker info"),
        ("docker exec ba330e639fc3 sh -c x", "docker exec"),
        ("/usr/bin/nvidia-smi --query-gpu=index", "nvidia-smi"),
        ("systemctl is-active nvidia-fabricmanager", "systemctl is-active nvidia-fabricmanager"),
    ],
)
def test_a_question_in_words(argv: str, text: str) -> None:
    assert question(tuple(argv.split(" "))) == text
