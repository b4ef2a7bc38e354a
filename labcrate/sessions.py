"""The lab's Nox sessions. A clone's noxfile.py imports them and adds its owner's own.

They run in the environment that bootstrap.py made, so nothing is downloaded twice. Sessions that
need the engine fail without one: a skipped check would look green.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import nox

from labcrate import environment

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = True

PYTHON = (sys.executable, "-m")
MACHINERY_TESTS = Path("labcrate", "tests")
"""A clone of the template has them, a copy made by copier has not. They judge the machinery, never
what an owner made of the rest, so they run only where somebody asks: `nox -s machinery`."""


@nox.session
def tests(session: nox.Session) -> None:
    """The tests of your lab, run inside its image; builds first what is not up to date."""
    answered = ["--yes"] if environment.variable("CI") else []
    session.run(*PYTHON, "invoke", "setup", *answered, "build")
    session.run(*PYTHON, "labcrate.smoke.prove", "cpu", *session.posargs)


@nox.session(default=False)
def smoke(session: nox.Session) -> None:
    """The tests that need no GPU, run by pytest inside the container."""
    session.run(*PYTHON, "labcrate.smoke.prove", "cpu", *session.posargs)


@nox.session(default=False)
def gpu_smoke(session: nox.Session) -> None:
    """Prove that torch.cuda works, inside the container. Fails where there is no GPU."""
    session.run(*PYTHON, "labcrate.smoke.prove", "gpu", *session.posargs)


if MACHINERY_TESTS.is_dir():
    importlib.import_module("labcrate.tests.sessions")
