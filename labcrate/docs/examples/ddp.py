"""Train a small network on handwritten digits: one worker on each card of the cluster.

invoke cluster run -- python ddp.py

Each epoch ends with a checkpoint in runs/, the folder that all hosts share. If a host dies, the
others go on from the last checkpoint.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter

RUNS = Path(os.environ.get("RUNS", "/lab/runs"))
EPOCHS = int(os.environ.get("EPOCHS", "20"))


def digits() -> TensorDataset:
    """1,797 pictures of 8 x 8 pixels; scikit-learn brings them along."""
    pictures, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(pictures / 16, dtype=torch.float32), torch.tensor(labels))


def work(config: dict[str, Any]) -> None:
    """What each worker does; Ray Train averages the gradients of all."""
    context = train.get_context()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    first = restore(model, optimizer)
    model = prepare_model(model)
    loader = prepare_data_loader(DataLoader(digits(), batch_size=64, shuffle=True))
    board = SummaryWriter(RUNS / "ddp") if context.get_world_rank() == 0 else None
    for epoch in range(first, config["epochs"]):
        if context.get_world_size() > 1:
            loader.sampler.set_epoch(epoch)  # another order in each epoch
        total = 0.0
        for pictures, labels in loader:
            loss = nn.functional.cross_entropy(model(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        told = {"epoch": epoch, "loss": total / len(loader), "workers": context.get_world_size()}
        if board:
            board.add_scalar("loss", told["loss"], epoch)
            board.flush()
        save(model, optimizer, told)


def save(model: nn.Module, optimizer: torch.optim.Optimizer, told: dict[str, Any]) -> None:
    """The state after an epoch, written by the first worker."""
    if train.get_context().get_world_rank() > 0:
        train.report(told)
        return
    print(told, flush=True)
    whole = getattr(model, "module", model)
    state = {"model": whole.state_dict(), "optimizer": optimizer.state_dict(), **told}
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder, "state.pt"))
        train.report(told, checkpoint=train.Checkpoint.from_directory(folder))


def restore(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take the last checkpoint, if there is one; the epoch to go on with."""
    checkpoint = train.get_checkpoint()
    if not checkpoint:
        return 0
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder, "state.pt"), weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"goes on after epoch {state['epoch']}", flush=True)
    return int(state["epoch"]) + 1


def main() -> None:
    ray.init()
    cards = int(ray.cluster_resources().get("GPU", 0))
    most = cards or len([node for node in ray.nodes() if node["Alive"]])
    trainer = TorchTrainer(
        work,
        train_loop_config={"epochs": EPOCHS},
        # As many workers as there are cards, or hosts; fewer after one has died.
        scaling_config=train.ScalingConfig(
            num_workers=(1, most), use_gpu=cards > 0, placement_strategy="SPREAD"
        ),
        run_config=train.RunConfig(
            name="ddp",
            storage_path=str(RUNS / "ray"),
            failure_config=train.FailureConfig(max_failures=3),
            checkpoint_config=train.CheckpointConfig(num_to_keep=2),
        ),
    )
    print(trainer.fit().metrics)


if __name__ == "__main__":
    main()
