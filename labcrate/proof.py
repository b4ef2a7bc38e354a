"""Run the tests of tests/container/ inside the lab's image, and bring the results back.

python -m labcrate.proof cpu     what every lab must do; passes anywhere
python -m labcrate.proof gpu     torch.cuda works; fails where there is no GPU, and says why
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from labcrate import engine as engines
from labcrate import settings as settings_module
from labcrate import shell, stack
from labcrate.errors import Code, LabError
from labcrate.shell import ROOT
from labcrate.stack import Stack

REPORTS = ROOT / "reports"
SELECT = {"cpu": "not gpu", "gpu": "gpu", "quick": "quick"}


def arguments(lab: Stack, half: str, results: Path) -> tuple[str, ...]:
    """The compose command that runs one half of the tests in a container of its own."""
    mounts = {
        ROOT / "tests" / "container": "/tests:ro",
        ROOT / "docker" / "packages.lock": "/docker/packages.lock:ro",
        results: "/results",
    }
    volumes = [part for host, inside in mounts.items() for part in ("--volume", f"{host}:{inside}")]
    names = ("--env", "LAB_RESULTS=/results/results.json", "--env", f"LAB_UID={lab.settings.uid}")
    # torch.compile logs thousands of lines, which a failing test would print before its error.
    plugins = ("-p", "no:cacheprovider", "-p", "no:logging")
    pytest = ("python", "-m", "pytest", *plugins, "--junitxml=/results/junit.xml")
    run = ("run", "--rm", "--no-deps", "--no-TTY", *names, *volumes, "jupyter")
    return lab.compose(*run, *pytest, "/tests", "-m", SELECT[half])


def prove(lab: Stack, half: str) -> int:
    """Run one half; its JUnit XML and JSON come to reports/. pytest's exit status."""
    REPORTS.mkdir(exist_ok=True)
    # A folder of its own: the container's user must be able to write there, whoever runs this.
    with tempfile.TemporaryDirectory(prefix="labcrate-") as name:
        results = Path(name)
        if os.geteuid() == 0:
            os.chown(results, lab.settings.uid, lab.settings.gid)
        returncode = shell.attach(arguments(lab, half, results))
        for source, target in (
            ("junit.xml", f"{half}_smoke.xml"),
            ("results.json", f"{half}_smoke.json"),
        ):
            if (results / source).exists():
                (REPORTS / target).write_bytes((results / source).read_bytes())
    return returncode


def main() -> int:
    half = sys.argv[1] if len(sys.argv) > 1 else ""
    if half not in SELECT:
        print(__doc__)
        return 2
    try:
        lab = Stack(settings=settings_module.load())
        engines.require(engines.find())
        if stack.stale(lab):
            raise LabError("the images are not up to date", fix="invoke build", code=Code.NOT_UP)
        return prove(lab, half)
    except LabError as error:
        print(error, file=sys.stderr)
        return int(error.code)


if __name__ == "__main__":
    sys.exit(main())
