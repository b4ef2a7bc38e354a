"""The checks. They run in the environment that bootstrap.py made, so nothing is downloaded twice.

Sessions that need the engine fail without one: a skipped check would look green.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = True

REPORTS = Path("reports")
PYTHON = (sys.executable, "-m")
CHROMIUM = ("chromium", "chromium-driver")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit, Compose and engine tests; the engine is set up first (asks, or CI=true answers)."""
    answered = ["--yes"] if os.environ.get("CI") else []
    session.run(*PYTHON, "invoke", "setup", *answered)
    browser = [] if chromium(session) else ["-m", "not browser"]
    REPORTS.mkdir(exist_ok=True)
    junit = f"--junitxml={REPORTS / 'tests.xml'}"
    session.run(*PYTHON, "pytest", junit, *browser, *session.posargs)


def chromium(session: nox.Session) -> bool:
    """Whether the browser tests can run. In CI they must, so the browser is installed there."""
    if all(shutil.which(name) for name in ("chromium", "chromedriver")):
        return True
    if not os.environ.get("CI"):
        session.warn("no chromium and chromedriver here: the browser tests are left out")
        return False
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    session.run(*sudo, "apt-get", "update", "--quiet=2", external=True)
    install = ("apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends")
    session.run(*sudo, *install, *CHROMIUM, external=True, silent=True)
    return True


@nox.session(default=False)
def unit(session: nox.Session) -> None:
    """The tests that need no engine, in seconds."""
    session.run(*PYTHON, "pytest", "tests/unit", "tests/compose", *session.posargs)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Formatting, lint and types; the workflows' syntax, pins and permissions."""
    session.run(*PYTHON, "ruff", "check", ".")
    session.run(*PYTHON, "ruff", "format", "--check", ".")
    session.run(*PYTHON, "mypy")
    zizmor = str(Path(sys.executable).with_name("zizmor"))
    session.run(zizmor, "--offline", "--quiet", ".github", external=True)


@nox.session(default=False)
def smoke(session: nox.Session) -> None:
    """The CPU half of the smoke tests, run by pytest inside the container."""
    session.run(*PYTHON, "labcrate.proof", "cpu", *session.posargs)


@nox.session(default=False)
def gpu_smoke(session: nox.Session) -> None:
    """Prove that torch.cuda works, inside the container. Fails where there is no GPU."""
    session.run(*PYTHON, "labcrate.proof", "gpu", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Adding a package against one pip line; writes the table in README.md. Some minutes."""
    session.run(*PYTHON, "invoke", "setup")
    session.run(sys.executable, "tests/bench/add_package.py", *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Every fault and attack on the real engine; writes docs/faults.md."""
    account(session, Path("docs/faults.md"), "fault", "attack")


@nox.session(default=False)
def load(session: nox.Session) -> None:
    """Fifty kernels, a thousand runs, a hundred cycles of up and down; writes docs/load.md."""
    session.env["LAB_LOAD"] = "whole"
    account(session, Path("docs/load.md"), "load")


def account(session: nox.Session, page: Path, *kinds: str) -> None:
    """Run the tests of these kinds; a page is written only of a whole run that passed."""
    (REPORTS / "faults.json").unlink(missing_ok=True)
    session.run(*PYTHON, "pytest", "tests/engine", "-m", " or ".join(kinds), *session.posargs)
    with session.chdir("tests"):
        text = session.run(*PYTHON, "faultlog", *kinds, silent=True)
    page.write_text(str(text), encoding="utf-8")


@nox.session(default=False)
def mutations(session: nox.Session) -> None:
    """Take each protection out and see its test fail; writes docs/mutations.md."""
    session.run(*PYTHON, "mutations", *session.posargs, env={"PYTHONPATH": "tests"})
