"""Values of .env that are sizes and numbers: memory, processes, and hours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from labcrate.clone.env_file import parse_size

LEAST_MEMORY = 256 * 2**20
"""Bytes. JupyterLab without a kernel takes 80 MB (measured), a first kernel 60 MB more."""

LEAST_PIDS = 256
"""Processes and threads. JupyterLab and a kernel with PyTorch have 19 on two cores (measured)."""

LEAST_IDLE_HOURS = 0.1
"""A kernel that waits for its next cell while somebody thinks must not go."""


def limit_problems(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and the fix. values: with the defaults of those that are not set."""
    least = {"MEMORY_LIMIT": LEAST_MEMORY, "PIDS_LIMIT": LEAST_PIDS}
    sizes = (("SHM_SIZE", "g", "8g"), ("MEMORY_LIMIT", "g", "8g"), ("PIDS_LIMIT", "", "16384"))
    for name, unit, example in sizes:
        value, what = values[name], "size" if unit else "number"
        if not re.fullmatch("[0-9]+[bkmgBKMG]?" if unit else "[0-9]{1,7}", value):
            yield f"{name}={value} is not a {what}", f"write {name}={example}"
        elif 0 < parse_size(value) < least.get(name, 0):
            yield (
                f"{name}={value} is less than JupyterLab itself needs",
                f"set it to {'256m' if unit else LEAST_PIDS} or more (0: no limit)",
            )
    yield from _idle(values["IDLE_HOURS"])


def _idle(value: str) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", value):
        yield f"IDLE_HOURS={value} is not a number of hours", "write IDLE_HOURS=12 (0: never)"
    elif 0 < float(value) < LEAST_IDLE_HOURS:
        yield (
            f"IDLE_HOURS={value} would end kernels between two cells",
            f"set it to {LEAST_IDLE_HOURS} or more (0: never)",
        )
