"""Whether PyTorch's own index can be reached: without a card, that decides the build."""

from __future__ import annotations

import sys

from labcrate import process
from labcrate.clone.place import Clone

INDEX_S = 3.0
"""Seconds for PyTorch's index: where its name cannot be resolved, uv gives up after 0.7 s."""

IMAGE_PYTHON = "3.13"
"""The base image's Python (Debian 13); only wheels for it count as an answer."""


def index_answers(clone: Clone, *, arm: bool) -> bool:
    """Whether PyTorch's own index has this template's torch for a CPU; uv asks it.

    Asked for the image's Python and the engine's processor; this machine may have others.
    """
    platform = f"{'aarch64' if arm else 'x86_64'}-unknown-linux-gnu"
    target = ("--python-version", IMAGE_PYTHON, "--python-platform", platform)
    options = ("--torch-backend", "cpu", "--no-deps", "--no-header", "--quiet", *target)
    answer = process.ask(
        (sys.executable, "-m", "uv", "pip", "compile", "-", *options),
        stdin=(clone.docker / "torch.in").read_text(encoding="utf-8"),
        timeout_s=INDEX_S,
        extra_env={"UV_HTTP_RETRIES": "0", "UV_PYTHON_DOWNLOADS": "never"},
    )
    # A mirror in place of PyTorch's own index has no builds with this suffix.
    return answer.ok and "+cpu" in answer.stdout
