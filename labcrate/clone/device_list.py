"""GPU_DEVICES of .env: all GPUs, a list of them, or some that are free."""

from __future__ import annotations

import re

DEVICE = re.compile(r"[0-9]{1,3}(:[0-9]{1,3})?|(GPU|MIG)-[0-9a-fA-F][0-9a-fA-F-]*")
"""A GPU by index or UUID, or a MIG instance by UUID or as GPU:INSTANCE."""

FREE = re.compile(r"free(?::([1-9][0-9]?))?")
"""One card that nobody has, or so many."""


def device_list_problem(value: str) -> tuple[str, str] | None:
    """What is wrong with a value, and the fix; None: nothing."""
    names = value.split(",")
    if value == "all" or FREE.fullmatch(value):
        return None
    if not all(DEVICE.fullmatch(name) for name in names):
        return (
            f"GPU_DEVICES={value} is not a list of GPUs",
            "write all, free, free:2, or e.g. 0,1 or GPU-<uuid> or MIG-<uuid> or 0:0, "
            "without spaces",
        )
    if len(set(names)) < len(names):
        return f"GPU_DEVICES={value} names one twice", "name each device once"
    return None


def free_count(value: str) -> int:
    """How many free cards a value asks for; 0 where it names its devices."""
    found = FREE.fullmatch(value)
    return int(found[1] or 1) if found else 0
