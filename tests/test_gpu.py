"""The essential smoke test on a GPU; `nox -s gpu_smoke` adds the lab's own suite."""

import pytest
import torch


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    left = torch.randn(64, 64)
    assert torch.allclose((left.cuda() @ left.cuda()).cpu(), left @ left, atol=1e-3)
