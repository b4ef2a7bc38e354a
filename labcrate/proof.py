"""Run the tests of tests/container/ inside the lab's image, and bring the results back.

python -m labcrate.proof cpu     what every lab must do; passes anywhere
python -m labcrate.proof gpu     torch.cuda works; fails where there is no GPU, and says why
python -m labcrate.proof summary FILE    the results in such a JSON file, as Markdown

After `invoke up` with a GPU the tests marked `quick` run by themselves.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from labcrate import doctor, gather, probe, shell, stack
from labcrate import engine as engines
from labcrate import settings as settings_module
from labcrate.errors import Code, LabError
from labcrate.shell import ROOT
from labcrate.stack import Stack

REPORTS = ROOT / "reports"
SELECT = {
    "cpu": ("/tests", "not gpu"),
    "gpu": ("/tests/test_gpu.py", "gpu"),
    "quick": ("/tests/test_gpu.py", "quick"),
}
"""Where in the container, and by what marker, the tests of each half are found."""

QUICK_S = 120.0
"""Seconds for the quick half: 3 are usual, the first contact with eight cold cards takes tens."""


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
    where, marker = SELECT[half]
    return lab.compose(*run, *pytest, where, "-m", marker)


@contextmanager
def results_folder(lab: Stack) -> Iterator[Path]:
    """A folder of its own: the container's user must be able to write there, whoever runs this."""
    with tempfile.TemporaryDirectory(prefix="labcrate-") as name:
        if os.geteuid() == 0:
            os.chown(name, lab.settings.uid, lab.settings.gid)
        yield Path(name)


def read_results(path: Path) -> dict[str, Any]:
    """What the tests left behind; nothing where the container did not come that far."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def prove(lab: Stack, half: str) -> int:
    """Run one half; its JUnit XML and JSON come to reports/. The exit status to end with."""
    REPORTS.mkdir(exist_ok=True)
    with results_folder(lab) as folder:
        returncode = shell.attach(arguments(lab, half, folder))
        for source, ending in (("junit.xml", "xml"), ("results.json", "json")):
            target = REPORTS / f"{half}_smoke.{ending}"
            # A report of an earlier run beside a failure of this one would look like its own.
            target.unlink(missing_ok=True)
            if (folder / source).exists():
                target.write_bytes((folder / source).read_bytes())
        results = read_results(folder / "results.json")
    if half == "gpu":
        show(results)
        if returncode:
            tell_reasons()
        return int(Code.GPU_PROOF) if returncode else 0
    return returncode


def tell_reasons() -> None:
    """What the doctor knows of a GPU that is not there, or does not work."""
    findings = doctor.gpu_reasons(gather.gather())
    if findings:
        doctor.show(findings, title="what the doctor finds")


def show(results: dict[str, Any]) -> None:
    """The GPU's results as a table, a row for each test."""
    table = Table(title=title(results))
    for heading in ("test", "outcome", "s", "figures"):
        table.add_column(heading)
    for row in results.get("results", ()):
        figures = "\n".join(figures_of(results, row["test"]))
        table.add_row(row["test"], row["outcome"], f"{row['seconds']:.2f}", figures)
    Console().print(table)


def summary(results: dict[str, Any]) -> str:
    """The same as a Markdown page, for the summary of a CI job, with what failed tests said."""
    if not results.get("results"):
        return "**No results**: the proof did not come so far that a test ran.\n"
    lines = [f"## {title(results)}", "", "| test | outcome | s | figures |", "|---|---|---|---|"]
    for row in results["results"]:
        said = figures_of(results, row["test"]) + row.get("message", "").splitlines()[:1]
        cells = (row["test"], row["outcome"], f"{row['seconds']:.2f}", "\n".join(said))
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """A text that stays in one cell of a Markdown table, and is no HTML."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return safe.replace("\n", "<br>")


def title(results: dict[str, Any]) -> str:
    devices = ", ".join(device["name"] for device in results.get("devices", ())) or "no GPU"
    versions = f"driver {results.get('driver')}, CUDA {results.get('cuda')}"
    return f"{devices} ({versions}, torch {results.get('torch')})"


def figures_of(results: dict[str, Any], test: str) -> list[str]:
    return [figure_line(f) for f in results.get("figures", ()) if f["test"] == test]


def figure_line(figure: dict[str, Any]) -> str:
    return "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in figure.items()
        if name != "test"
    )


def verify(lab: Stack, stamp: str) -> float:
    """The quick half on the GPU of a lab that was just started; seconds taken, or an error.

    stamp: what was decided; kept with the outcome, so that `auto` does not try in circles.
    """
    started = time.monotonic()
    with results_folder(lab) as folder:
        done = shell.capture(arguments(lab, "quick", folder), timeout_s=QUICK_S)
        cause = "" if done.ok else why(read_results(folder / "results.json"), done.text)
    probe.remember(lab, stamp, cause)
    if cause:
        raise LabError(
            f"the GPU is there and does not work: {cause}",
            fix="`invoke doctor` looks for the cause, and `nox -s gpu_smoke` shows all of it",
            code=Code.GPU_PROOF,
        )
    return time.monotonic() - started


def why(results: dict[str, Any], said: str) -> str:
    """One line on a proof that failed: the first test's, else the last that the container said."""
    failures = [row["message"] for row in results.get("results", ()) if row["message"]]
    lines = (failures[0] if failures else said).strip().splitlines()
    if not lines:
        return "the proof ended without a word"
    return lines[0] if failures else lines[-1]


def lab_for(half: str) -> Stack:
    """The lab with what this half needs; the GPU half takes no CPU for an answer."""
    settings = settings_module.load()
    engine = engines.require(engines.find())
    if half == "cpu":
        return probe.as_is(settings)
    decision = probe.decide(settings, engine, "on")
    print(f"  {'gpu':<12} {decision.choice.line}", flush=True)
    return decision.lab


def main() -> int:
    half = sys.argv[1] if len(sys.argv) > 1 else ""
    if half == "summary" and len(sys.argv) == 3:
        print(summary(read_results(Path(sys.argv[2]))), end="")
        return 0
    if half not in SELECT:
        print(__doc__)
        return 2
    try:
        lab = lab_for(half)
        if stack.stale(lab):
            raise LabError("the images are not up to date", fix="invoke build", code=Code.NOT_UP)
        return prove(lab, half)
    except LabError as error:
        print(error, file=sys.stderr)
        if half == "gpu":
            tell_reasons()
        return int(error.code)


if __name__ == "__main__":
    sys.exit(main())
