"""What every lab must do, with or without a GPU."""

from __future__ import annotations

import getpass
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
import torchvision
from labcrate_smoke import Record
from torch.utils.data import DataLoader, TensorDataset

CONSTRAINTS = Path("/opt/lab/constraints.txt")
LOCK = Path("/docker/packages.lock")
FOLDERS = ("notebooks", "src", "runs", "data", "models")
MB = 2**20


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    """name -> version of a requirements file."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    return {normal(name): version for name, version in found}


def test_torch_and_torchvision_are_a_pair() -> None:
    """An operator of torchvision runs: a build for another torch fails on its first one."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    assert kept.tolist() == [0, 2]


def test_nothing_that_the_base_holds_has_moved() -> None:
    wanted = pins(CONSTRAINTS)
    installed = {normal(d.metadata["Name"]): d.version for d in metadata.distributions()}
    assert len(wanted) > 50
    assert {name: installed.get(name) for name in wanted} == wanted


def test_the_lock_is_what_is_installed() -> None:
    wanted = pins(LOCK)
    installed = {normal(d.metadata["Name"]): d.version for d in metadata.distributions()}
    assert {name: installed.get(name) for name in wanted} == wanted


def test_dependencies_agree() -> None:
    done = subprocess.run(
        ["uv", "pip", "check"], capture_output=True, text=True, env={**os.environ, "HOME": "/tmp"}
    )
    assert done.returncode == 0, done.stderr


def test_the_user_is_the_callers_and_not_root() -> None:
    assert os.getuid() == int(os.environ["LAB_UID"])
    # Root of a rootless engine's container is an ordinary user outside (user_namespaces(7)).
    outside = int(Path("/proc/self/uid_map").read_text().split()[1])
    assert os.getuid() != 0 or outside != 0
    assert getpass.getuser() == "lab"
    probe = Path.home() / ".labcrate-probe"
    probe.touch()
    probe.unlink()


def test_no_capability_and_no_way_to_get_one() -> None:
    status = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":" in line
    )
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize("name", FOLDERS)
def test_the_users_folders_can_be_written(name: str) -> None:
    probe = Path("/lab") / name / ".labcrate-probe"
    probe.touch()
    assert probe.stat().st_uid == os.getuid()
    probe.unlink()


@pytest.mark.parametrize(
    "path", ["/etc/probe", "/usr/local/bin/probe", "/opt/lab/constraints.txt", "/lab/probe"]
)
def test_the_rest_of_the_system_cannot(path: str) -> None:
    with pytest.raises(OSError, match=r"ermission denied|ead-only"), Path(path).open("a"):
        pass


def test_a_package_of_the_base_cannot_be_replaced() -> None:
    """site-packages takes new packages by hand, and keeps torch from being swapped."""
    spot = Path(torch.__file__)
    with pytest.raises(PermissionError):
        spot.unlink()
    with pytest.raises(PermissionError):
        spot.parent.rename(spot.parent.with_name("torch-gone"))
    probe = spot.parents[1] / "labcrate_probe.py"
    probe.write_text("")
    probe.unlink()


def test_shared_memory_is_enough_for_workers(figures: Record) -> None:
    """The engine's own default of 64 MB ends in `DataLoader worker is killed: Bus error`."""
    size = shutil.disk_usage("/dev/shm").total
    figures(shm_mb=size / MB)
    assert size > 64 * MB
    # 48 batches of 2 MB are in flight at once: more than 64 MB in all.
    data = TensorDataset(torch.zeros(48 * 8, 65536))
    loader = DataLoader(data, batch_size=8, num_workers=2, prefetch_factor=24)
    assert sum(len(batch) for (batch,) in loader) == len(data)


def test_open_files_suffice_for_workers(figures: Record) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    figures(nofile_soft=soft, nofile_hard=hard)
    assert hard >= 1024


def test_compile_equals_eager(figures: Record) -> None:
    """torch.compile calls a C compiler, which slim images lack.

    The options leave out what pays only for larger functions, and takes five times as long here:
    a compiled header of all of PyTorch, worker processes, and a look at the CPU's instructions.
    """

    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x @ x.T).sum(1)

    torch.manual_seed(0)
    x = torch.randn(64, 64)
    wanted = {"cpp_cache_precompile_headers": False, "compile_threads": 1, "cpp.simdlen": 1}
    known = {
        name: value for name, value in wanted.items() if name in torch._inductor.list_options()
    }
    started = time.perf_counter()
    compiled = torch.compile(function, options=known)(x)
    figures(compile_s=time.perf_counter() - started)
    torch.testing.assert_close(compiled, function(x), rtol=1e-4, atol=1e-4)


def test_training_goes_down_and_tensorboard_reads_it(tmp_path: Path, figures: Record) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    torch.manual_seed(0)
    x = torch.randn(512, 16)
    y = (x.sum(1) > 0).long()
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(30):
            loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    figures(loss_first=events[0].value, loss_last=events[-1].value)
    assert len(events) == 30
    assert events[-1].value < 0.5 * events[0].value


def test_notebooks_see_where_to_log() -> None:
    assert Path(os.environ["TENSORBOARD_DIR"]).is_dir()
    assert Path(os.environ["JUPYTER_DIR"]).is_dir()
    assert "JUPYTER_TOKEN" not in os.environ


def test_importing_torch_is_quick_enough(figures: Record) -> None:
    """Without bytecode in the image every first import would take many seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    taken = time.perf_counter() - started
    figures(import_torch_s=taken)
    assert Path(torch.__cached__).exists()


def test_two_processes_reduce_on_the_cpu(reduced: Callable[[str, int], None]) -> None:
    """Distributed training works on one machine, and needs no network for it."""
    reduced("gloo", 2)


def square(number: int) -> int:
    return number * number


def test_a_spawned_process_finds_the_tests_own_functions() -> None:
    """`spawn` is what CUDA needs of processes, and it imports the function's module anew."""
    with torch.multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(square, [3]) == [9]
