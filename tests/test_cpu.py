"""The essential smoke tests without a GPU; `nox -s smoke` adds the lab's own suite."""

import torch


def test_torch_computes() -> None:
    assert torch.equal(torch.ones(2, 3) @ torch.ones(3, 2), torch.full((2, 2), 3.0))
