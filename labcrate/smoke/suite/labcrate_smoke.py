"""The pytest plugin of tests that run in the lab's image: markers, fixtures, results as JSON.

Nothing here is ever skipped: `nox -s smoke` runs what must pass anywhere, `nox -s gpu_smoke` what
must pass on a GPU. A test that skipped itself would turn a broken GPU green.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

ROWS: list[dict[str, Any]] = []
RESULTS: list[dict[str, Any]] = []
ABOUT: dict[str, Any] = {}

Record = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: proves something of torch.cuda; fails without a GPU")
    config.addinivalue_line("markers", "quick: the two seconds' worth that `invoke up` runs")
    # pytest names a test's module by its path from here. A process that a test starts with the
    # method `spawn` or `forkserver` imports it by that name.
    sys.path.append(str(config.rootpath))


@pytest.fixture(scope="session", autouse=True)
def about() -> dict[str, Any]:
    """What is tested here: it goes into the JSON beside the figures."""
    import torch

    ABOUT.update(
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cpu_count=len(os.sched_getaffinity(0)),
        driver=driver_version(),
        devices=[],
    )
    return ABOUT


def driver_version() -> str | None:
    """The NVIDIA kernel driver's version; the host's /sys is visible in a container."""
    path = Path("/sys/module/nvidia/version")
    return path.read_text().strip() if path.exists() else None


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Record:
    """Keep measured figures: figures(tflops=12.3). They are printed and written as JSON."""

    def record(**values: Any) -> None:
        ROWS.append({"test": request.node.name, **values})

    return record


@pytest.fixture(scope="session")
def cuda_report() -> dict[str, Any]:
    """What PyTorch says of CUDA, asked once, with each warning that it gives on the way.

    CUDA is initialized here: only then does PyTorch compare its kernels with the cards, and only
    then does it count what CUDA sees. Before, it counts the cards that NVML sees, and those that
    are cut into MIG instances count wrongly.
    """
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        try:
            torch.cuda.init()
            refused = []
        except (AssertionError, RuntimeError) as error:
            available, refused = False, str(error).splitlines()[:1]
        count = torch.cuda.device_count() if available else 0
    said = [str(warning.message) for warning in caught]
    return {"available": available, "count": count, "warnings": said, "refused": refused}


@pytest.fixture
def cuda(cuda_report: dict[str, Any]) -> Iterator[int]:
    """The number of CUDA devices; a failure in one line where there are none."""
    if not cuda_report["available"]:
        pytest.fail("no working CUDA: see test_cuda_is_available", pytrace=False)
    yield cuda_report["count"]
    import torch

    torch.cuda.synchronize()


@pytest.fixture
def timed() -> Callable[[Callable[[], Any], int], float]:
    """Median seconds of a call on the current CUDA device, after two runs to warm up."""
    import torch

    def measure(call: Callable[[], Any], repeats: int = 10) -> float:
        for _ in range(2):
            call()
        torch.cuda.synchronize()
        taken = []
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
        return sorted(taken)[len(taken) // 2]

    return measure


@pytest.fixture
def reduced() -> Callable[[str, int], None]:
    """All-reduce over so many processes, one a device: reduced("nccl", 2), or "gloo" on the CPU."""
    import torch

    def start(backend: str, processes: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        torch.multiprocessing.spawn(_reduce, args=(backend, processes, port), nprocs=processes)

    return start


def _reduce(rank: int, backend: str, world: int, port: int) -> None:
    """One process of the all-reduce: each gives its rank + 1, each must get the sum."""
    import torch
    import torch.distributed as dist

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    # A hang is a failure too, long before the ten minutes that are the default.
    limit = timedelta(seconds=60)
    dist.init_process_group(backend, rank=rank, world_size=world, timeout=limit)
    try:
        value = torch.full((1024,), float(rank + 1), device=device)
        dist.all_reduce(value)
        assert value.eq(world * (world + 1) / 2).all()
    finally:
        dist.destroy_process_group()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One row a test, and one more for a fixture that failed before or after it."""
    if report.when == "call" or report.outcome != "passed":
        RESULTS.append(
            {
                "test": report.location[2],
                "outcome": report.outcome,
                "seconds": report.duration,
                "message": message(report),
            }
        )


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot even be imported has no tests to report."""
    if report.failed:
        RESULTS.append(
            {
                "test": report.nodeid,
                "outcome": report.outcome,
                "seconds": 0.0,
                "message": message(report),
            }
        )


def message(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What failed, without the traceback; "" of a test that passed."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash:
        return str(crash.message)
    said = report.longreprtext.strip().splitlines()
    # A traceback marks the lines that say what happened with an E.
    marked = [line.removeprefix("E").strip() for line in said if line.startswith("E ")]
    return "\n".join(marked or said)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if ROWS:
        terminalreporter.section("figures")
        for row in ROWS:
            values = "  ".join(f"{name}={shown(v)}" for name, v in row.items() if name != "test")
            terminalreporter.write_line(f"{row['test']:<44} {values}")


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = os.environ.get("LAB_RESULTS")
    if target:
        outcome = {"tests": session.testscollected, "failed": session.testsfailed}
        payload = {**ABOUT, **outcome, "results": RESULTS, "figures": ROWS}
        Path(target).write_text(json.dumps(payload, indent=2) + "\n")
