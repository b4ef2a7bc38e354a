"""The one error a user sees: what is wrong, why it matters, the fix, and its own exit code."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Code(IntEnum):
    """Exit codes, each with its meaning. 1 is left to unexpected failures, 2 to wrong usage."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    SETTINGS = 10, "a value in .env, or one typed, is wrong"
    NO_ENV = 11, "there is no .env yet"
    PORT_TAKEN = 12, "a port of the lab is taken by something else"
    FOLDER = 13, "a folder is missing, a file, or not writable"
    ENV_READABLE = 14, "other users can read .env"
    ENGINE_MISSING = 20, "there is no container engine"
    ENGINE_DOWN = 21, "the engine does not answer"
    ENGINE_DENIED = 22, "this user may not use the engine"
    COMPOSE = 23, "the engine or Compose is missing or too old"
    CONSENT = 24, "setup would change the machine, and nobody agreed"
    INSTALL = 25, "installing the engine or the tools failed"
    BASE_IMAGE = 26, "the base image cannot be had"
    BUILD = 30, "the build failed"
    UNHEALTHY = 31, "a service did not become healthy, or would not stop"
    NOT_UP = 32, "the lab is not up, or its images are not up to date"
    NO_MODEL = 33, "there is no model to serve, or its files are not what its meta.json says"
    BUSY = 34, "kernels, programs or runs are at work, and would be lost"
    GPU_NOT_OFFERED = 40, "the engine offers no such GPU"
    GPU_PROOF = 41, "the GPU is there and does not work"
    GPU_TAKEN = 42, "no card is free, or not as many as GPU_DEVICES asks for"
    PACKAGE_REFUSED = 50, "this is not a package that can be added"
    PACKAGE_CONFLICT = 51, "the package contradicts what is installed"
    PACKAGE_UNKNOWN = 52, "no index has such a package"
    PACKAGE_BROKEN = 53, "the package installs and does not import"
    LOCK_STALE = 54, "a lock does not match what was asked for"
    NETWORK = 55, "the package index cannot be reached"
    DISK_FULL = 56, "the disk is full"
    INDEX_LOGIN = 57, "the package index refuses the login, or wants one"
    CLEAN = 60, "clean was not agreed to, or something would not go"
    FINDINGS = 70, "the doctor found an error"
    TUNNEL = 80, "the tunnel to another machine could not be made, or was cut"
    ENGINE_ELSEWHERE = 81, "the engine is on another machine and does not see this clone"
    CLUSTER = 90, "the cluster's file or one of its hosts is not as it must be"
    HUNG_UP = 129, "the terminal went away (SIGHUP)"
    INTERRUPTED = 130, "Ctrl-C"
    TERMINATED = 143, "SIGTERM"


def exit_codes() -> str:
    """docs/exit-codes.md; a test holds the file to it."""
    rows = [f"| {code.value} | {code.name} | {code.meaning} |" for code in Code]
    head = ["# Exit codes", "", "Every expected failure ends with a code of its own.", ""]
    return "\n".join([*head, "| code | name | meaning |", "|---|---|---|", *rows, ""])


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


if __name__ == "__main__":
    print(exit_codes(), end="")
