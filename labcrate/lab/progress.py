"""BuildKit's plain log, cut down to the named steps of the Dockerfiles that took time."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from labcrate import output

STEP = re.compile(r"^#(\d+) \[[^]]+\] .*: labcrate '([^']+)'")
OWN_STEP = re.compile(r"^#(\d+) \[\S+ +\d+/\d+\] RUN (?!.*: labcrate )(.+)")
EXPORT = re.compile(r"^#(\d+) (?:\[(\w+)\] )?(exporting to \w+)")
SAID = re.compile(r"^#(\d+) [\d.]+ ((?:Prepared|Installed|Downloading) .*)")
SIZE = re.compile(r"Downloading \S+ \(([\d.]+)([KMG]iB)\)")
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
DONE = re.compile(r"^#(\d+) (?:DONE ([\d.]+)s|(CACHED|ERROR|CANCELED))")

SHOWN_S = 0.1
"""Seconds from which on a step is worth a line."""

TICK_S = 10.0
"""Seconds between two lines about a download: the whole of PyTorch takes minutes at 100 Mbit/s."""

BRIDGE = Path("/sys/class/net/docker0/statistics/tx_bytes")
"""What this machine has sent to containers on the engine's own bridge, and so to builds, in bytes.
Another engine, or one of another machine, has no such file: then no line is printed."""

LONGEST = 60
"""Characters of an owner's own RUN line that name its step."""


class Progress:
    """Reads a build's log line by line and prints each named step as it ends.

    While uv downloads, a line every TICK_S says how much has come: uv itself says so only to a
    terminal, which a build has not.
    """

    def __init__(self) -> None:
        self.steps: dict[str, str] = {}
        self.announced = 0
        self.downloading: set[str] = set()
        self.before = 0
        self.over = Event()
        self.ticker = Thread(target=self._tick_on, daemon=True)

    def __enter__(self) -> Self:
        self.ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self.ticker.join()

    def _tick_on(self) -> None:
        while not self.over.wait(TICK_S):
            self.tick()

    def tick(self) -> None:
        """Say how much of what was announced has come; other traffic of builds counts, too."""
        received = sent_to_builds()
        if self.downloading and received is not None:
            came = min(received - self.before, self.announced)
            output.say(f"          {came / 1e6:,.0f} of about {self.announced / 1e6:,.0f} MB")

    def _announce(self, step: str, said: str) -> None:
        """Count what uv begins to download; its step is over with the line `Prepared ...`."""
        if size := SIZE.match(said):
            if not self.announced:
                self.before = sent_to_builds() or 0
            self.announced += int(float(size[1]) * UNITS[size[2]])
            self.downloading.add(step)
        else:
            self.downloading.discard(step)

    def line(self, text: str) -> None:
        if step := STEP.match(text) or OWN_STEP.match(text):
            self.steps.setdefault(step[1], step[2][:LONGEST])
        elif export := EXPORT.match(text):
            self.steps.setdefault(export[1], f"{export[3]} {export[2] or ''}".rstrip())
        elif said := SAID.match(text):
            self._announce(said[1], said[2])
            output.say(f"          {said[2]}")
        elif (done := DONE.match(text)) and done[1] in self.steps:
            name = self.steps.pop(done[1])
            if done[3] == "ERROR":
                output.say(f"   failed {name}")
            elif done[2] and float(done[2]) >= SHOWN_S:
                output.say(f"  {float(done[2]):5.1f} s {name}")


def sent_to_builds() -> int | None:
    """Bytes that builds have received since this machine started; None where nobody can tell."""
    try:
        return int(BRIDGE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
