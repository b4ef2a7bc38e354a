"""BuildKit's plain log, cut down to the named steps of the Dockerfiles that took time."""

from __future__ import annotations

import re

from labcrate import output

STEP = re.compile(r"^#(\d+) \[[^]]+\] .*: labcrate '([^']+)'")
OWN_STEP = re.compile(r"^#(\d+) \[\S+ +\d+/\d+\] RUN (?!.*: labcrate )(.+)")
EXPORT = re.compile(r"^#(\d+) (?:\[(\w+)\] )?(exporting to \w+)")
SAID = re.compile(r"^#\d+ [\d.]+ ((?:Prepared|Installed|Downloading) .*)")
DONE = re.compile(r"^#(\d+) (?:DONE ([\d.]+)s|(CACHED|ERROR|CANCELED))")

SHOWN_S = 0.1
"""Seconds from which on a step is worth a line."""

LONGEST = 60
"""Characters of an owner's own RUN line that name its step."""


class Progress:
    """Reads a build's log line by line and prints each named step as it ends."""

    def __init__(self) -> None:
        self.steps: dict[str, str] = {}

    def line(self, text: str) -> None:
        if step := STEP.match(text) or OWN_STEP.match(text):
            self.steps.setdefault(step[1], step[2][:LONGEST])
        elif export := EXPORT.match(text):
            self.steps.setdefault(export[1], f"{export[3]} {export[2] or ''}".rstrip())
        elif said := SAID.match(text):
            output.say(f"          {said[1]}")
        elif (done := DONE.match(text)) and done[1] in self.steps:
            name = self.steps.pop(done[1])
            if done[3] == "ERROR":
                output.say(f"   failed {name}")
            elif done[2] and float(done[2]) >= SHOWN_S:
                output.say(f"  {float(done[2]):5.1f} s {name}")
