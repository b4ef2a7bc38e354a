"""The lab's images: what they were built from, whether that changed, and building them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labcrate import known, labels, output, process
from labcrate.clone.place import Clone, refuse_awkward_path
from labcrate.clone.settings import Settings
from labcrate.engine.engine import refusal
from labcrate.errors import Code, LabError
from labcrate.lab.built import drop_superseded, inspect_images, named_images, recorded
from labcrate.lab.compose import JUPYTER, Lab, Model, Service
from labcrate.lab.containers import Unanswered
from labcrate.lab.progress import Progress

PARTS = Path(__file__).parent.parent / "image"
"""What the machinery brings to builds; they see a copy of it, so that Compose typed by hand works
from a clone and from an installed package alike."""

PACKAGE_FILES = ("packages.in", "packages.lock", "settled.lock", "apt.txt", "local")
"""What add-package rewrites below docker/. Only JupyterLab's final stage reads it, so TensorBoard
is not stale after it."""

PREDEFINED = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Build arguments that BuildKit keeps out of an image: another proxy makes no other image."""

SKIPPED = {".git", ".venv", ".nox", ".labcrate", "__pycache__", ".ipynb_checkpoints"}
"""Folders that no digest reads: an owner's build context may be his whole clone."""

LARGE = 10 * 2**20
"""Bytes from which on a file counts by size and time: hashing a data set takes minutes."""

TAIL = 25
"""Lines of a failed build's log that are shown."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of the lab. inputs and backend: what it was built from; size in bytes."""

    id: str
    name: str
    service: str = ""
    inputs: str = ""
    backend: str = ""
    size: int = 0


def read_images(model: Model) -> dict[str, Image]:
    """The images that the model's services run on, by service, in one question.

    Raises Unanswered where the engine did not answer.
    """
    names = sorted({service.image for service in model.services.values()})
    if not names:
        return {}
    rows: list[dict[str, Any]] = json.loads(inspect_images(*names) or "[]")
    by_name = {tag: row for row in rows for tag in row.get("RepoTags") or ()}
    found = {}
    for service in model.services.values():
        tagged = ":" in service.image.rpartition("/")[2]
        if row := by_name.get(service.image if tagged else f"{service.image}:latest"):
            found[service.name] = parse_image(row, service)
    return found


def parse_image(row: Mapping[str, Any], service: Service) -> Image:
    # An image made by `docker import` or `docker tag` may have no labels, and no section for them.
    told = (row.get("Config") or {}).get("Labels") or {}
    return Image(
        id=row["Id"],
        name=service.image,
        service=service.name,
        inputs=told.get(labels.INPUTS, ""),
        backend=named_backend(told.get(labels.BACKEND, "")),
        size=row.get("Size", 0),
    )


def named_backend(label: str) -> str:
    """The build of PyTorch that an image's label names; the Dockerfile takes `auto` for PyPI's."""
    return "pypi" if label == "auto" else label


def inputs_digest(lab: Lab, service: Service, docker: Path | None = None) -> str:
    """A digest of everything that a service's build can read: files and arguments.

    docker: the folder to read in place of docker/, for a candidate of add-package.
    """
    digest = hashlib.sha256()
    context = Path(service.build.get("context", lab.clone.docker))
    at_home = context == lab.clone.docker
    folders = [docker if docker and at_home else context]
    if "labcrate-parts" in (service.build.get("additional_contexts") or {}):
        folders.append(PARTS)
    for folder in folders:
        for name, path in read_by_builds(folder):
            if at_home and service.name != JUPYTER and name.split("/")[0] in PACKAGE_FILES:
                continue
            digest.update(name.encode() + b"\0" + content(path) + b"\0")
    args = {**(service.build.get("args") or {})}
    if "TORCH_BACKEND" in args:
        args["TORCH_BACKEND"] = lab.torch_backend if service.name == JUPYTER else ""
    own = sorted((name, value) for name, value in args.items() if name not in PREDEFINED)
    digest.update(repr((service.build.get("target", ""), own)).encode())
    return digest.hexdigest()[:16]


def read_by_builds(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of each file below a build context, in one order everywhere."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(files):
            path = Path(where, name)
            yield path.relative_to(folder).as_posix(), path


def content(path: Path) -> bytes:
    """What a file holds, as far as a digest needs it; a link counts as where it points."""
    if path.is_symlink():
        return str(path.readlink()).encode()
    seen = path.stat()
    if seen.st_size >= LARGE:
        return f"{seen.st_size} {seen.st_mtime_ns}".encode()
    return path.read_bytes()


def stale_services(lab: Lab, model: Model, images: Mapping[str, Image]) -> list[str]:
    """The services whose image is missing, or was built from something else."""
    return [
        service.name
        for service in model.built
        if service.name not in images or images[service.name].inputs != inputs_digest(lab, service)
    ]


def build_images(lab: Lab, model: Model, services: Sequence[str]) -> float:
    """Build the images of some services, showing each step as it ends; seconds taken."""
    refuse_awkward_path(lab.clone)
    require_base(lab.settings)
    provide_parts(lab.clone)
    started = time.monotonic()
    log = lab.clone.state / "build.log"
    overlay = labels_overlay(lab, model)
    command = lab.compose("--progress", "plain", "build", *services, extra_files=(overlay,))
    output.say(f"Building {' and '.join(services)} (full log: {log.relative_to(lab.clone.root)}).")
    names = [model.services[name].image for name in services]
    with recorded(lab, names), Progress() as progress:
        done = process.stream(
            command, line=progress.line, extra_env=lab.build_env, cwd=lab.clone.root
        )
    if process.is_dry():
        return 0.0
    log.write_text(done.stdout, encoding="utf-8")
    if not done.ok:
        raise build_failure(done.stdout)
    drop_superseded(lab)
    return time.monotonic() - started


def labels_overlay(lab: Lab, model: Model) -> str:
    """A Compose file that labels each image with its lab and with what it is built from."""
    sections = {
        service.name: {
            "build": {
                "labels": {
                    labels.PROJECT: lab.project,
                    labels.INPUTS: inputs_digest(lab, service),
                }
            }
        }
        for service in model.built
    }
    path = lab.clone.state / "build.json"
    if not process.is_dry():
        path.write_text(json.dumps({"services": sections}, indent=2), encoding="utf-8")
    return str(path.relative_to(lab.clone.root))


def provide_parts(clone: Clone) -> None:
    """Copy what the machinery brings to builds into the clone's state, with modes of its own.

    The mode is part of what a build reads: it must not follow the umask of whoever cloned.
    """
    if process.is_dry():
        return
    target = clone.state / "parts"
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o755)
    wanted = {path.name for path in PARTS.iterdir() if path.is_file()}
    for old in target.iterdir():
        if old.name not in wanted:
            old.unlink()
    for name in wanted:
        path, data = target / name, (PARTS / name).read_bytes()
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        path.chmod(0o644)


def require_base(settings: Settings) -> None:
    """A base image that `setup` built is in no registry: once gone, no build can get it."""
    name = settings.base_image
    if settings.base_is_built_here and not image_id(name):
        raise LabError(
            f"the base image {name} is gone (`invoke clean --images` removes it)",
            fix="invoke setup up (builds it again, then the rest)",
            code=Code.BASE_IMAGE,
        )


def build_failure(log: str, what: str = "the build failed") -> LabError:
    """What to do about a failed build, or another install, from what it said.

    The reason may stand far above the end: a full disk is reported where it was met, and a hundred
    cancelled steps follow.
    """
    lines = log.splitlines()
    tail = "\n".join(lines[-TAIL:])
    found = known.recognise(tail, "build") or known.recognise(log, "build")
    if found is None:
        return LabError(
            f"{what}:\n{tail}",
            fix="fix what it names above and run the same command again; nothing was changed",
            code=Code.BUILD,
        )
    shown = tail if found.line in tail else f"{found.line}\n...\n{tail}"
    return LabError(f"{found.problem}:\n{shown}", fix=found.fix, code=found.code)


def image_id(name: str) -> str:
    """The id of an image; "" where there is none of that name. LabError: the engine is away."""
    try:
        return "".join(named_images([name]))
    except Unanswered as error:
        raise refusal(str(error)) from None
