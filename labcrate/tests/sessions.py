"""Nox sessions for those who change the machinery; an owner's copy of the template has none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import nox

PYTHON = (sys.executable, "-m")
CONFIG = "labcrate/pyproject.toml"
TESTS = ("pytest", "-c", CONFIG)
PYTEST = (*PYTHON, *TESTS)
HERE = Path("labcrate", "tests")
QUICK = (str(HERE / "unit"), str(HERE / "compose"))
ENGINE = str(HERE / "engine")
LONGEST = ("--verbose", "--durations=25")
DOCS = Path("labcrate", "docs")
REPORTS = Path("reports")
PROGRAMS = {
    "browser": (("chromium", "chromedriver"), ("chromium", "chromium-driver")),
    "npm": (("npm",), ("npm",)),
    "sshd": (("ssh", "sshd"), ("openssh-client", "openssh-server")),
}
"""Programs that the tests of a mark need beside the engine, and Debian's packages with them."""

BESIDE = ("beside", "apart")
"""Markers of the engine tests that run beside all others: a lane each."""

FEW = 3
"""So many engine tests that failed beside others are run again, alone; no more."""


COMPILED_ONCE = {"PYTHONDONTWRITEBYTECODE": ""}
"""Without Python's own cache, each of a thousand processes would compile the machinery again."""

LOCK = HERE / "requirements.lock"
STAMP = Path(sys.prefix) / "machinery.stamp"


def tools(session: nox.Session) -> None:
    """Install what these sessions need beside the lab's tools, where that is not there yet."""
    session.env.update(COMPILED_ONCE)
    wanted = LOCK.read_text(encoding="utf-8")
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    quiet = ("--quiet", "--quiet", "--disable-pip-version-check", "--no-deps")
    session.run(*PYTHON, "pip", "install", *quiet, "--require-hashes", "--requirement", str(LOCK))
    STAMP.write_text(wanted, encoding="utf-8")


@nox.session(default=False)
def machinery(session: nox.Session) -> None:
    """The machinery's own tests: unit, Compose and engine; the engine is set up first."""
    tools(session)
    answered = ["--yes"] if os.environ.get("CI") else []
    session.run(*PYTHON, "invoke", "setup", *answered)
    absent = [mark for mark in PROGRAMS if not has_programs(session, mark)]
    others = " and not ".join(("not alone", *BESIDE, *absent))
    REPORTS.mkdir(exist_ok=True)
    if session.posargs:
        session.run(*PYTEST, *session.posargs)
        return
    session.run(*PYTEST, "--quiet", "--numprocesses=auto", *QUICK)
    codes = {run_lane("alone", "alone")}
    logs = {name: REPORTS / f"{name}.log" for name in BESIDE}
    session.log(f"engine tests run beside each other, into {' and '.join(map(str, logs.values()))}")
    with ThreadPoolExecutor() as pool:
        lanes = [pool.submit(run_beside, name, log) for name, log in logs.items()]
        codes.add(run_lane("tests", others))
        codes.update(lane.result() for lane in lanes)
    for log in logs.values():
        print(log.read_text(encoding="utf-8"), flush=True)
    run_again(session, codes)
    session.run(*PYTHON, "mutations", "tenth", env={"PYTHONPATH": str(HERE)})


def run_beside(name: str, log: Path) -> int:
    """The engine tests of a marker, while others run, into a log.

    pytest-xdist has groups for this, which it does not heed with pytest 9.2.
    """
    with log.open("w") as out:
        return run_lane(name, name, out)


def run_lane(name: str, marks: str, out: IO[str] | None = None) -> int:
    """A part of the engine tests; its reports and its list of failures are called `name`."""
    cache = ("--cache-clear", "-o", f"cache_dir={failures_of(name)}")
    reported = (f"--junitxml={REPORTS / name}.xml", *cache)
    return run_python((*TESTS, "-m", marks, *reported, *LONGEST, ENGINE), out)


def run_python(module: tuple[str, ...], out: IO[str] | None = None) -> int:
    environ = {**os.environ, "PYTHONPATH": str(HERE), **COMPILED_ONCE}
    errors = subprocess.STDOUT if out else None
    return subprocess.run((*PYTHON, *module), env=environ, stdout=out, stderr=errors).returncode


def failures_of(name: str) -> Path:
    """Where pytest notes the failures of a lane."""
    return (REPORTS / f"{name}.cache").absolute()


def run_again(session: nox.Session, codes: set[int]) -> None:
    """Run a few failed engine tests again, alone; an error unless all of them pass then.

    The lanes share a machine, so a test can fail because the others kept the machine busy.
    That is a defect of the test, to be fixed: its name comes last in the output, and the first
    failure stays in the log and in the reports.
    """
    failed = [name for lane in ("alone", "tests", *BESIDE) for name in last_failed(lane)]
    if codes == {0}:
        return
    if codes - {0, 1} or not 0 < len(failed) <= FEW:
        session.error(f"{len(failed)} engine tests failed")
    listed = "\n".join(failed)
    if run_python((*TESTS, f"--junitxml={REPORTS / 'again.xml'}", *failed)):
        session.error(f"these failed beside the others, and not all pass alone:\n{listed}")
    session.warn(f"these failed beside the others and passed alone:\n{listed}")


def last_failed(lane: str) -> list[str]:
    """The tests that failed in a lane, as pytest takes them from the clone's root."""
    found = failures_of(lane) / "v" / "cache" / "lastfailed"
    names = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
    return [f"labcrate/{name}" for name in names]


def has_programs(session: nox.Session, mark: str) -> bool:
    """Whether the tests of a mark can run. In CI they must, so what they need is installed."""
    programs, packages = PROGRAMS[mark]
    # Where daemons are, which an ordinary user's PATH may lack.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if all(shutil.which(name, path=path) for name in programs):
        return True
    if not os.environ.get("CI"):
        session.warn(f"no {' and '.join(programs)} here: the tests marked {mark} are left out")
        return False
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    session.run(*sudo, "apt-get", "update", "--quiet=2", external=True)
    install = ("apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends")
    session.run(*sudo, *install, *packages, external=True, silent=True)
    return True


@nox.session(default=False)
def unit(session: nox.Session) -> None:
    """The tests that need no engine, in seconds, with the branch coverage of the machinery."""
    tools(session)
    covered = ("--cov", f"--cov-config={CONFIG}", "--cov-report=term:skip-covered")
    chosen = session.posargs or [*covered, *QUICK]
    session.run(*PYTEST, "--quiet", "--numprocesses=auto", *chosen)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Formatting, lint and types; the workflows' syntax, pins and permissions."""
    tools(session)
    session.run(*PYTHON, "ruff", "check", ".")
    session.run(*PYTHON, "ruff", "format", "--check", ".")
    session.run(*PYTHON, "mypy", f"--config-file={CONFIG}")
    zizmor = str(Path(sys.executable).with_name("zizmor"))
    session.run(zizmor, "--offline", "--quiet", ".github", external=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """What one waits for, against the same by hand; writes docs/benchmark.md. About 40 minutes.

    `-- quick`: the rows that take seconds, which fail where they fall behind the record.
    """
    tools(session)
    session.run(*PYTHON, "invoke", "setup")
    session.run(sys.executable, str(HERE / "bench" / "measure.py"), *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Every fault and attack on the real engine; writes docs/faults.md."""
    tools(session)
    account(session, DOCS / "faults.md", "fault", "attack")


@nox.session(default=False)
def load(session: nox.Session) -> None:
    """Fifty kernels, a thousand runs, a hundred cycles of up and down; writes docs/load.md."""
    tools(session)
    session.env["LAB_LOAD"] = "whole"
    account(session, DOCS / "load.md", "load")


def account(session: nox.Session, page: Path, *kinds: str) -> None:
    """Run the tests of these kinds; a page is written only of a whole run that passed."""
    (REPORTS / "faults.json").unlink(missing_ok=True)
    wanted = ("-m", " or ".join(kinds))
    session.run(*PYTEST, str(HERE / "engine"), *wanted, *session.posargs)
    text = session.run(*PYTHON, "faultlog", *kinds, silent=True, env={"PYTHONPATH": str(HERE)})
    page.write_text(str(text), encoding="utf-8")


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Five hundred random sequences of verbs in labs beside others'. About an hour."""
    tools(session)
    session.env["LAB_SEQUENCES"] = "500"
    session.run(*PYTEST, str(HERE / "engine" / "random_verbs.py"), "-s", *session.posargs)


@nox.session(default=False)
def rootless(session: nox.Session) -> None:
    """A lab on a rootless engine, in a machine of the tests' own. About five minutes."""
    tools(session)
    session.run(*PYTEST, str(HERE / "engine" / "rootless_engine.py"), *session.posargs)


@nox.session(default=False)
def cluster(session: nox.Session) -> None:
    """Clusters of two and of three hosts in machines of the tests' own. About half an hour."""
    tools(session)
    files = [str(HERE / "engine" / f"{name}.py") for name in ("two_hosts", "three_hosts")]
    session.run(*PYTEST, *files, *session.posargs)


@nox.session(default=False)
def series(session: nox.Session) -> None:
    """Notebooks 02 and 03 in full, and the page; writes their two pages. About forty minutes."""
    tools(session)
    session.run(
        *PYTEST, str(HERE / "engine" / "whole_series.py"), "--timeout=3600", *session.posargs
    )


@nox.session(default=False)
def mutations(session: nox.Session) -> None:
    """Take each protection out and see its test fail; writes docs/mutations.md."""
    tools(session)
    session.run(*PYTHON, "mutations", *session.posargs, env={"PYTHONPATH": str(HERE)})
