"""The one error a user sees: what is wrong, why it matters, the fix, and its own exit code."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Exit codes. 1 is left to unexpected failures and 2 to the shell's usage errors."""

    SETTINGS = 10
    NO_ENV = 11
    PORT_TAKEN = 12
    FOLDER = 13
    ENV_READABLE = 14
    ENGINE_MISSING = 20
    ENGINE_DOWN = 21
    ENGINE_DENIED = 22
    COMPOSE = 23
    CONSENT = 24
    INSTALL = 25
    BASE_IMAGE = 26
    BUILD = 30
    UNHEALTHY = 31
    NOT_UP = 32
    LOCKED = 33
    BUSY = 34
    GPU_NOT_OFFERED = 40
    GPU_PROOF = 41
    PACKAGE_REFUSED = 50
    PACKAGE_CONFLICT = 51
    PACKAGE_UNKNOWN = 52
    PACKAGE_BROKEN = 53
    LOCK_STALE = 54
    NETWORK = 55
    DISK_FULL = 56
    CLEAN = 60
    FINDINGS = 70
    INTERRUPTED = 130
    TERMINATED = 143


class LabError(Exception):
    """An expected failure.

    problem: what is wrong, with the value shown. fix: what to type or change now.
    why: one line for when the problem alone does not say why it matters.
    """

    def __init__(self, problem: str, *, fix: str, code: Code, why: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix
        self.code = code
        self.why = why

    def __str__(self) -> str:
        parts = [f"error: {self.problem}"]
        if self.why:
            parts.append(f"  why: {self.why}")
        parts.append(f"  fix: {self.fix}")
        return "\n".join(parts)
