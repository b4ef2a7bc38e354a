"""Questions to the running lab, and to its image, answered by image/inside.py in there."""

from __future__ import annotations

from labcrate import process
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.images import PARTS

ANSWER_S = 60.0
"""Seconds for one answer: the slowest lists some hundred packages, on a cold disk."""

PYTHON = ("python", "-I", "-")
"""Isolated: the folder that it starts in is full of the owner's files."""


def ask_lab(lab: Lab, *question: str) -> process.Result:
    """What image/inside.py answers in the running lab."""
    command = lab.compose("exec", "--no-TTY", JUPYTER, *PYTHON, *question)
    return process.ask(command, stdin=_script(), timeout_s=ANSWER_S, cwd=lab.clone.root)


def ask_container(ident: str, *question: str) -> process.Result:
    """The same of one container, by its id, whatever lab it is of."""
    command = ("docker", "exec", "--interactive", ident, *PYTHON, *question)
    return process.ask(command, stdin=_script(), timeout_s=ANSWER_S)


def ask_image(lab: Lab, *question: str) -> process.Result:
    """The same in a container of its own, of the lab's image."""
    run = ("docker", "run", "--rm", "--interactive", "--init", "--network", "none", lab.image())
    return process.ask((*run, *PYTHON, *question), stdin=_script(), timeout_s=ANSWER_S)


def _script() -> str:
    return (PARTS / "inside.py").read_text(encoding="utf-8")
