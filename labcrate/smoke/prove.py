"""Run tests inside the lab's image, and bring the results back.

python -m labcrate.smoke.prove cpu     what every lab must do; passes anywhere
python -m labcrate.smoke.prove gpu     torch.cuda works; fails where there is no GPU, and says why
python -m labcrate.smoke.prove summary FILE    the results in such a JSON file, as Markdown

What follows `cpu` or `gpu` goes to pytest. After `invoke up` with a GPU the tests marked `quick`
run by themselves.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from labcrate import environment, output, process
from labcrate.clone.identity import refuse_copy
from labcrate.clone.place import Clone, find_clone
from labcrate.clone.settings import load
from labcrate.doctor.examine import gpu_reasons
from labcrate.doctor.findings import show_findings
from labcrate.doctor.gather import gather_facts
from labcrate.engine.engine import find_engine, require_engine
from labcrate.errors import Code, LabError
from labcrate.gpu.decide import as_started, decide
from labcrate.gpu.free import with_free_cards
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.snapshot import take_snapshot
from labcrate.packages.transaction import make_readable
from labcrate.smoke.report import proof_failure, read_results, results_page, show_results

SUITE = Path(__file__).parent / "suite"
"""The machinery's own tests of the image, and the plugin that the owner's tests use, too."""

SELECT = {
    "cpu": (("/smoke", "/tests"), "not gpu"),
    "gpu": (("/smoke/test_cuda.py", "/tests"), "gpu"),
    "quick": (("/smoke/test_cuda.py",), "quick"),
}
"""Where in the container, and by what marker, the tests of each half are found."""

QUICK_S = 120.0
"""Seconds for the quick half: 3 are usual, the first contact with eight cold cards takes tens."""

WRONG_USAGE = 2


def proof_command(lab: Lab, half: str, results: Path, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """The compose command that runs one half of the tests in a container of its own."""
    mounts = {
        readable_by_all(SUITE, lab.clone): "/smoke:ro",
        readable_by_all(lab.clone.tests, lab.clone): "/tests:ro",
        readable_by_all(lab.clone.docker / "packages.lock", lab.clone): "/docker/packages.lock:ro",
        results: "/results",
    }
    volumes = [part for host, inside in mounts.items() for part in ("--volume", f"{host}:{inside}")]
    variables = {
        "LAB_RESULTS": "/results/results.json",
        "LAB_UID": str(lab.settings.uid),
        # For the plugin; what is in there has names of its own.
        "PYTHONPATH": "/smoke",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    env = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    # torch.compile logs thousands of lines, which a failing test would print before its error.
    plugins = ("-p", "labcrate_smoke", "-p", "no:cacheprovider", "-p", "no:logging")
    pytest = ("python", "-m", "pytest", *plugins, "--import-mode=importlib", "--rootdir=/")
    run = ("run", "--rm", "--no-deps", "--no-TTY", *env, *volumes, JUPYTER)
    where, marker = SELECT[half]
    junit = "--junitxml=/results/junit.xml"
    return lab.compose(*run, *pytest, junit, *where, "-m", marker, *extra)


def readable_by_all(path: Path, clone: Clone) -> Path:
    """What to mount: the path itself, or a copy that everyone can read where that one is closed.

    Under umask 077 only the clone's owner can read it, and the lab's user may be another one.
    """
    if all(map(is_open, (path, *path.rglob("*")))):
        return path
    copy = clone.state / "proof" / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(copy, ignore_errors=True)
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, copy, ignore=skip, ignore_dangling_symlinks=True)
    else:
        shutil.copyfile(path, copy)
    make_readable(copy)
    return copy


def is_open(path: Path) -> bool:
    """Whether everyone can read a file, or enter a folder; what is of no use counts as open."""
    if "__pycache__" in path.parts or not path.exists():
        return True
    needed = 0o005 if path.is_dir() else 0o004
    return path.stat().st_mode & needed == needed


@contextmanager
def results_folder(lab: Lab) -> Iterator[Path]:
    """A folder of its own: the container's user must be able to write there, whoever runs this."""
    with tempfile.TemporaryDirectory(prefix="labcrate-") as name:
        if environment.is_root():
            os.chown(name, lab.settings.uid, lab.settings.gid)
        yield Path(name)


def prove(lab: Lab, half: str, extra: Sequence[str] = ()) -> int:
    """Run one half; its JUnit XML and JSON come to reports/. The exit status to end with."""
    reports = lab.clone.reports
    reports.mkdir(exist_ok=True)
    with results_folder(lab) as folder:
        command = proof_command(lab, half, folder, extra)
        returncode = process.attach(command, cwd=lab.clone.root)
        for source, ending in (("junit.xml", "xml"), ("results.json", "json")):
            target = reports / f"{half}_smoke.{ending}"
            # A report of an earlier run beside a failure of this one would look like its own.
            target.unlink(missing_ok=True)
            if (folder / source).exists():
                target.write_bytes((folder / source).read_bytes())
        results = read_results(folder / "results.json")
    if half != "gpu":
        return returncode
    show_results(results)
    if returncode:
        show_gpu_reasons(lab)
    return int(Code.GPU_PROOF) if returncode else 0


def show_gpu_reasons(lab: Lab) -> None:
    """What the doctor knows of a GPU that is not there, or does not work."""
    findings = gpu_reasons(gather_facts(lab.clone))
    if findings:
        show_findings(findings, title="what the doctor finds")


def prove_quickly(lab: Lab) -> tuple[float, str]:
    """The quick half on the GPU of a lab that was just started: (seconds, why it failed or "")."""
    started = time.monotonic()
    with results_folder(lab) as folder:
        command = proof_command(lab, "quick", folder)
        done = process.ask(command, timeout_s=QUICK_S, cwd=lab.clone.root)
        results = read_results(folder / "results.json")
        cause = "" if done.ok else proof_failure(results, done.text)
    return time.monotonic() - started, cause


def lab_for(half: str) -> Lab:
    """The lab with what this half needs; the GPU half does not accept a CPU."""
    clone = find_clone()
    refuse_copy(clone)
    settings = load(clone)
    engine = require_engine(find_engine())
    snapshot = take_snapshot(settings)
    lab = as_started(snapshot)
    if half == "gpu":
        decision = with_free_cards(decide(snapshot, engine, "on"))
        output.row("gpu", decision.choice.line)
        lab = decision.lab
    if snapshot.stale(lab):
        raise LabError("the images are not up to date", fix="invoke build", code=Code.NOT_UP)
    return lab


def main() -> int:
    half, *extra = sys.argv[1:] or [""]
    if half == "summary" and len(extra) == 1:
        output.say(results_page(read_results(Path(extra[0]))).rstrip())
        return 0
    if half not in ("cpu", "gpu"):
        output.say(__doc__ or "")
        return WRONG_USAGE
    try:
        return prove(lab_for(half), half, extra)
    except LabError as error:
        output.say_error(str(error))
        if half == "gpu":
            show_findings(gpu_reasons(gather_facts(find_clone())), title="what the doctor finds")
        return int(error.code)


if __name__ == "__main__":
    sys.exit(main())
