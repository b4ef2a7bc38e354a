"""The Dockerfiles of the images, and their RUN steps as they are written."""

from __future__ import annotations

import re

from clone import ROOT

DOCKERFILE = ROOT / "docker" / "Dockerfile"
STAGES_FILE = ROOT / "labcrate" / "image" / "stages.Dockerfile"
DOCKERFILES = (DOCKERFILE, STAGES_FILE)


def run_steps(text: str) -> list[str]:
    """Each RUN of a Dockerfile, or of a part of one, with the lines that it goes on over."""
    return re.findall(r"^RUN (?:.*\\\n)*.*$", text, re.MULTILINE)
