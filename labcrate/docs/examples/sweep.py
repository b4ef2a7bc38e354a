"""Search for a good learning rate and width: one run on each card of the cluster at a time.

invoke cluster run -- python sweep.py

TensorBoard shows each run, below `ray/sweep/`: Ray Tune logs what is reported. A run that falls
behind ends early, and the next one gets its card.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

RUNS = Path(os.environ.get("RUNS", "/lab/runs"))
TRIALS = int(os.environ.get("TRIALS", "12"))
EPOCHS = 30


def work(config: dict[str, Any]) -> None:
    """One run: its part of the search is `lr` and `width`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parts = train_test_split(*load_digits(return_X_y=True), test_size=0.3, random_state=0)
    pictures, others = (torch.tensor(part / 16, dtype=torch.float32).to(device) for part in parts[:2])
    labels, expected = (torch.tensor(part).to(device) for part in parts[2:])
    width = config["width"]
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(pictures), device=device).split(64):
            loss = nn.functional.cross_entropy(model(pictures[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = (model(others).argmax(1) == expected).float().mean().item()
        tune.report({"accuracy": right, "loss": loss.item()})


def main() -> None:
    ray.init()
    card = {"GPU": 1} if ray.cluster_resources().get("GPU") else {"CPU": 1}
    tuner = tune.Tuner(
        tune.with_resources(work, card),
        param_space={"lr": tune.loguniform(1e-4, 1e-1), "width": tune.choice([16, 64, 256])},
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", num_samples=TRIALS, scheduler=ASHAScheduler()
        ),
        run_config=tune.RunConfig(name="sweep", storage_path=str(RUNS / "ray")),
    )
    best = tuner.fit().get_best_result()
    print(f"best: {best.metrics['accuracy']:.3f} with {best.config}")


if __name__ == "__main__":
    main()
