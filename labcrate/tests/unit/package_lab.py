"""A small lab for the tests of packages/: its docker/, its snapshot, and an engine that answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from double import Double

from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.lab.compose import JUPYTER, Lab, parse_model
from labcrate.lab.containers import Container
from labcrate.lab.images import Image
from labcrate.lab.snapshot import Snapshot
from labcrate.packages.locks import BELOW, lock_header

SOURCES = {
    "uv": ("uv\n", "uv==0.1\n"),
    "torch": ("torch==2.14.0\n", "torch==2.14.0\n"),
    "tensorboard": ("tensorboard\n", "tensorboard==2.21\n"),
    "search": ("onnxruntime\n", "onnxruntime==1.32.0\n"),
    "base": ("numpy\n", "numpy==2.5.5\n"),
    "packages": ("# mine\ntqdm  # bars\nmatplotlib\n", "matplotlib==3.1\npillow==9.0\ntqdm==4.0\n"),
}
GOOD: Mapping[str, Any] = {
    **{key: {} for key in ("moved", "missing", "broken")},
    **dict.fromkeys(("absent", "system", "plugins"), ()),
}
CANDIDATE = "lab-test-1/jupyter:candidate"


def fill_docker(clone: Clone) -> None:
    """A docker/ whose locks are fresh."""
    for name in BELOW:
        source, lock = SOURCES[name]
        (clone.docker / f"{name}.in").write_text(source)
        (clone.docker / f"{name}.lock").write_text(lock_header(f"{name}.in", source) + lock)
    (clone.docker / "apt.txt").write_text("# why\nffmpeg\n")
    (clone.docker / "Dockerfile").write_text("FROM x AS base\nFROM base AS final\n")


def snapshot_of(settings: Settings, *, running: bool = True, built: bool = True) -> Snapshot:
    lab = Lab(settings=settings)
    up = {JUPYTER: Container(id="1", service=JUPYTER, state="running")}
    images = {JUPYTER: Image(id="sha256:old", name=lab.image())}
    return Snapshot(
        lab=lab,
        model=parse_model(raw_model(settings.clone)),
        containers=up if running else {},
        images=images if built else {},
    )


def raw_model(clone: Clone) -> dict[str, Any]:
    build = {"context": str(clone.docker), "target": "final", "args": {"TORCH_BACKEND": "auto"}}
    build["additional_contexts"] = {"labcrate-parts": str(clone.state / "parts")}
    service = {"image": "lab-test-1/jupyter", "build": build}
    return {"name": "lab-test-1", "services": {JUPYTER: service}}


def about(version: str, needs: Sequence[str] = (), *, url: str = "", asked: bool = True) -> Any:
    return {"version": version, "url": url, "needs": list(needs), "requested": asked}


@dataclass
class Engine:
    """Answers the engine's part of a change. baked: the targets of each build, as they were asked
    for; files: the texts of the candidate at that moment."""

    clone: Clone
    double: Double
    lock: str = ""
    refusal: str = ""
    history: str = ""
    seen: Mapping[str, Any] = field(default_factory=lambda: GOOD)
    baked: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        model = json.dumps(raw_model(self.clone))
        self.double.expect("docker", "compose", "config", stdout=model)
        self.double.expect("docker", "buildx", "bake", does=self.bake)
        self.double.expect("docker", "image", "rm").expect("docker", "image", "ls")
        self.double.expect("docker", "tag").expect("docker", "history", stdout=self.history)
        self.double.expect("docker", "image", "inspect", stdout="sha256:old\n")
        self.double.expect("docker", "image", "inspect", CANDIDATE, stdout="sha256:new\n")

    def runs(self, **installed: Any) -> None:
        """There is a running lab, with these packages."""
        answer = json.dumps({"torch": about("2.14.0"), **installed})
        self.double.expect("docker", "compose", "exec", "python", "installed", stdout=answer)
        self.double.expect("docker", "compose", "exec", "uv", "pip")

    def bake(self, argv: Sequence[str], _stdin: str | None) -> None:
        file = Path(argv[argv.index("--file") + 1])
        targets = json.loads(file.read_text())["target"]
        self.baked.append(targets)
        folder = self.clone.state / "candidate"
        texts = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
        self.files.append(texts)
        if "resolved" in targets:
            answer = {"ok": not self.refusal, "said": self.refusal, "lock": self.lock, "moved": []}
            self._answer("resolved", answer)
        if "verified" in targets:
            self._answer("verified", self.seen)

    def _answer(self, stage: str, answer: Mapping[str, Any]) -> None:
        (self.clone.state / stage).mkdir(exist_ok=True)
        (self.clone.state / stage / "answer.json").write_text(json.dumps(answer))


def texts_of(clone: Clone) -> dict[str, str]:
    """Every file of docker/, by its path in there."""
    found = (path for path in clone.docker.rglob("*") if path.is_file())
    return {path.relative_to(clone.docker).as_posix(): path.read_text() for path in found}
