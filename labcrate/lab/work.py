"""What is lost with a lab's containers: what computes in them, variables, packages by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from labcrate import process
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.containers import Container, of_project, runs_of
from labcrate.lab.inside import ask_container, ask_image

ALIVE = ("running", "paused")
"""The states of a container whose processes are there."""

SHOWN = 60
"""Characters of a command line that name it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What ends with containers.

    busy: notebooks that compute, programs in terminals, runs. idle: notebooks whose kernels only
    hold variables. packages: installed by hand. unasked: why JupyterLab could not be asked.
    """

    busy: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    unasked: str = ""

    @property
    def lines(self) -> list[str]:
        """One sentence for each kind of loss."""
        told = {
            "at work: {}": self.busy,
            "kernels, whose variables go: {}": self.idle,
            "installed by hand, `invoke capture` would keep it: {}": self.packages,
        }
        found = [text.format(", ".join(names)) for text, names in told.items() if names]
        if self.unasked:
            found.append(f"JupyterLab does not say what is at work in it: {self.unasked}")
        return found


def lab_work(lab: Lab, listed: Sequence[Container]) -> Work:
    """What ends with all of a lab's containers, its runs included."""
    own = of_project(listed, lab.project)
    jupyter = next((one for one in own if one.service == JUPYTER), None)
    found = jupyter_work(lab, jupyter)
    runs = (one for one in runs_of(listed, lab.project) if one.state in ALIVE)
    return replace(found, busy=(*found.busy, *(f"the run {one.run}" for one in runs)))


def jupyter_work(lab: Lab, jupyter: Container | None) -> Work:
    """What ends with the lab's JupyterLab; nothing where none runs."""
    if jupyter is None or jupyter.state not in ALIVE:
        return Work()
    answer = ask_container(jupyter.id, "work")
    if not answer.ok:
        said = answer.text.strip().splitlines() or [f"exit code {answer.returncode}"]
        return Work(unasked=said[-1])
    found = json.loads(answer.stdout)
    return Work(
        busy=tuple(name[:SHOWN] for name in found["busy"]),
        idle=tuple(found["idle"]),
        packages=_by_hand(lab, found["packages"]),
        unasked=found["unasked"],
    )


def _by_hand(lab: Lab, added: Mapping[str, str]) -> tuple[str, ...]:
    """Of what was installed since the container was made, what the image of now has not.

    `add-package` installs into the running lab, too; those the next container has.
    """
    if not added:
        return ()
    answer: process.Result = ask_image(lab, "installed")
    # An image that gives no answer is one without them: nothing is left out.
    has = json.loads(answer.stdout) if answer.ok else {}
    return tuple(
        f"{name} {version}"
        for name, version in sorted(added.items())
        if has.get(name, {}).get("version") != version
    )
