"""torch.cuda works: every claim is a kernel that ran, compared with the CPU.

`torch.cuda.is_available()` can be True while each kernel fails, so it proves nothing by itself.
Figures are achieved ones, for one shape each: they find a GPU that is there and slow, and compare
machines; they are no benchmark of the card.
"""

from __future__ import annotations

import ctypes
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from labcrate_smoke import Record, driver_version

pytestmark = pytest.mark.gpu

Timed = Callable[..., float]


def causes() -> list[str]:
    """Why PyTorch finds no GPU, from the nearest to the farthest."""
    found = []
    if torch.version.cuda is None:
        found.append(f"this PyTorch ({torch.__version__}) is built without CUDA")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        found.append("CUDA_VISIBLE_DEVICES hides every device")
    if not list(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/dxg").exists():
        found.append("the container has no GPU device (/dev/nvidia0): the engine gave it none")
    elif not (Path("/dev/nvidia-uvm").exists() or Path("/dev/dxg").exists()):
        found.append("/dev/nvidia-uvm is missing: `sudo modprobe nvidia_uvm` on the host makes it")
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        found.append(f"the driver's library is not in the container: {error}")
    return found


@pytest.mark.quick
def test_cuda_is_available(
    cuda_report: dict[str, Any], about: dict[str, Any], figures: Record
) -> None:
    if not cuda_report["available"]:
        said = [*causes(), *cuda_report["refused"], *cuda_report["warnings"]]
        pytest.fail("no working CUDA: " + "; ".join(said), pytrace=False)
    assert cuda_report["count"] > 0
    for index in range(cuda_report["count"]):
        properties = torch.cuda.get_device_properties(index)
        device = {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gb": properties.total_memory / 1e9,
        }
        about["devices"].append(device)
        figures(device=index, driver=driver_version(), **device)


@pytest.mark.quick
def test_a_product_equals_the_cpus(cuda: int) -> None:
    """On every device: `no kernel image is available` shows here and nowhere before."""
    torch.manual_seed(0)
    x = torch.randn(256, 256)
    for index in range(cuda):
        y = x.to(f"cuda:{index}")
        # float32, and TF32 is off by default: 256 terms of unit variance, so 1e-4 is ample.
        torch.testing.assert_close((y @ y).cpu(), x @ x, rtol=1e-4, atol=1e-3)


def test_pytorch_does_not_warn(cuda_report: dict[str, Any], cuda: int) -> None:
    """Of a driver, of a card it has no kernels for. Not `quick`: it warns of cards that work, too,
    where an older kernel runs on a newer card of the family."""
    assert cuda_report["warnings"] == []


def test_the_wheel_has_kernels_for_each_device(cuda: int) -> None:
    """sm_XY runs on the same major from minor Y up; compute_XY is compiled for anything newer."""
    listed = torch.cuda.get_arch_list()
    pairs = [
        (kind, int(number)) for kind, number in re.findall(r"(sm|compute)_(\d+)", " ".join(listed))
    ]
    for index in range(cuda):
        major, minor = torch.cuda.get_device_capability(index)
        have = major * 10 + minor
        native = any(k == "sm" and n // 10 == major and n <= have for k, n in pairs)
        ptx = any(k == "compute" and n <= have for k, n in pairs)
        assert native or ptx, f"device {index} is sm_{have}; the wheel has {listed}"


def has_bf16() -> bool:
    """Units for bfloat16 came with Ampere; before, libraries emulate some operations or refuse."""
    return torch.cuda.get_device_capability() >= (8, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_matmul(cuda: int, timed: Timed, figures: Record, dtype: torch.dtype) -> None:
    """TFLOP/s of an n x n product, 2 n^3 operations, and its values against the CPU's."""
    if dtype is torch.bfloat16 and not has_bf16():
        figures(dtype=str(dtype), tflops="none: this card has no units for it")
        return
    n = 4096
    torch.manual_seed(0)
    small = torch.randn(512, 512)
    # 512 terms; bf16 has 8 bits of mantissa, fp16 11: relative errors of 2^-8 and 2^-11 each.
    tolerance = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}[dtype]
    product = (small.to("cuda", dtype) @ small.to("cuda", dtype)).float().cpu()
    torch.testing.assert_close(product, small @ small, rtol=0.02, atol=tolerance)
    big = torch.randn(n, n, device="cuda", dtype=dtype)
    seconds = timed(lambda: big @ big)
    figures(dtype=str(dtype), n=n, ms=1e3 * seconds, tflops=2 * n**3 / seconds / 1e12)


def test_tf32_is_an_explicit_choice(cuda: int, timed: Timed, figures: Record) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        big = torch.randn(4096, 4096, device="cuda")
        seconds = timed(lambda: big @ big)
        exact = big[:64].double() @ big.double()
        torch.testing.assert_close((big @ big)[:64].double(), exact, rtol=0.05, atol=0.5)
    finally:
        torch.set_float32_matmul_precision(before)
    unit = "tf32" if has_bf16() else "float32: this card has no TF32"
    figures(dtype=unit, ms=1e3 * seconds, tflops=2 * 4096**3 / seconds / 1e12)


def test_convolution_forward_and_backward(cuda: int, timed: Timed, figures: Record) -> None:
    """cuDNN is there and agrees with the CPU, also on the gradients."""
    assert torch.backends.cudnn.is_available()
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(16, 32, 3, padding=1)
    x = torch.randn(4, 16, 32, 32)
    expected = layer(x)
    expected.square().mean().backward()
    gradient = layer.weight.grad.clone()
    layer.zero_grad()
    on_gpu = layer.to("cuda")
    # The other defaults of flags() are not the library's own: its `enabled` is False.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        output = on_gpu(x.to("cuda"))
        output.square().mean().backward()
    torch.testing.assert_close(output.detach().cpu(), expected.detach(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(on_gpu.weight.grad.cpu(), gradient, rtol=1e-3, atol=1e-4)
    batch = torch.randn(64, 16, 128, 128, device="cuda")
    with torch.inference_mode():
        seconds = timed(lambda: on_gpu(batch))
    figures(cudnn=torch.backends.cudnn.version(), ms=1e3 * seconds)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_training_follows_the_cpu(cuda: int, figures: Record, dtype: torch.dtype) -> None:
    """Twenty steps under autocast end near the loss that float32 on the CPU ends at."""
    if dtype is torch.bfloat16 and not has_bf16():
        figures(dtype=str(dtype), loss="none: this card has no units for it")
        return

    def train(device: str) -> float:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
        )
        x, y = torch.randn(256, 64), torch.randint(0, 10, (256,))
        model, x, y = model.to(device), x.to(device), y.to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler(device, enabled=device == "cuda" and dtype == torch.float16)
        for _ in range(20):
            with torch.autocast(device, dtype=dtype, enabled=device == "cuda"):
                loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        return float(loss.detach())

    assert train("cuda") == pytest.approx(train("cpu"), rel=0.05)


def test_compile_runs_a_triton_kernel(cuda: int) -> None:
    """Compiled now, and not taken from the cache that the home volume keeps."""
    from torch._inductor.utils import fresh_cache, run_and_get_code

    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x) * 2 + x.sin()

    torch.manual_seed(0)
    x = torch.randn(10_000, device="cuda")
    if torch.cuda.get_device_capability() < (7, 0):
        # Triton knows Volta and newer; on an older card it must say so and not compute wrongly.
        with pytest.raises(Exception, match="too old to be supported by the triton"):
            torch.compile(function)(x)
        return
    with fresh_cache():
        result, code = run_and_get_code(torch.compile(function), x)
    assert "triton" in "".join(code)
    torch.testing.assert_close(result.cpu(), function(x.cpu()), rtol=1e-4, atol=1e-4)


def test_memory_is_allocated_and_given_back(cuda: int) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    reserved = torch.cuda.memory_reserved()
    block = torch.empty(256 * 2**20, dtype=torch.uint8, device="cuda")
    assert torch.cuda.memory_allocated() - before >= block.numel()
    del block
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.memory_reserved() <= reserved


def test_pinned_batches_come_through_shared_memory(cuda: int) -> None:
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.arange(4096.0).reshape(-1, 4))
    loader = DataLoader(data, batch_size=64, num_workers=2, pin_memory=True)
    total = 0.0
    for (batch,) in loader:
        assert batch.is_pinned()
        total += float(batch.to("cuda", non_blocking=True).sum())
    assert total == 4096 * 4095 / 2


def test_bandwidth(cuda: int, timed: Timed, figures: Record) -> None:
    """GB/s from pinned host memory to the device, and within it (reading and writing counted)."""
    size = 256 * 2**20
    host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    first = torch.empty(size, dtype=torch.uint8, device="cuda")
    second = torch.empty_like(first)
    up = timed(lambda: first.copy_(host, non_blocking=True))
    within = timed(lambda: second.copy_(first))
    figures(host_to_device_gbps=size / up / 1e9, device_copy_gbps=2 * size / within / 1e9)


def test_nccl_reduces_over_every_device(cuda: int, reduced: Callable[[str, int], None]) -> None:
    """One process a device. Of all MIG instances CUDA shows one to a process, so that is the count:
    NCCL does not join instances of one card."""
    reduced("nccl", cuda)


def test_training_on_the_gpu_is_logged(cuda: int, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    weight = torch.zeros(8, device="cuda", requires_grad=True)
    target = torch.arange(8.0, device="cuda")
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(50):
            loss = (weight - target).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert events[-1].value < 1e-3 * events[0].value


def test_nothing_warned(cuda_report: dict[str, Any], cuda: int) -> None:
    """A device that is asked again, with every warning an error, stays silent."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for index in range(cuda):
            torch.cuda.get_device_name(index)
            torch.zeros(1, device=f"cuda:{index}").add_(1)
