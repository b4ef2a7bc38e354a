"""Stages of JupyterLab's image, built from another docker/ than the clone's, in one command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from labcrate import environment, process
from labcrate.lab.built import recorded
from labcrate.lab.compose import JUPYTER, Lab, Model, resolve_model
from labcrate.lab.images import build_failure, provide_parts, require_base
from labcrate.lab.progress import Progress

BAKES = {"BUILDX_BAKE_ENTITLEMENTS_FS": "0", "BUILDX_NO_DEFAULT_LOAD": "1"}
"""Bake asks before it reads outside the current folder, where HOST_WHEELS may well be. Older ones
neither ask nor know the flag that answers, but every one ignores a variable.

Where nothing is said of a stage that others start from, Buildx 0.13 (Debian 13) makes a nameless
image of it; `type=cacheonly` does not keep it from that."""

STAGES = "stages.Dockerfile"
"""The machinery's own stages, beside the parts."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One stage to build. on: the stage of docker/Dockerfile that a stage of ours starts from.

    The rest is in a bake file's own words.
    """

    stage: str
    on: str = ""
    tags: Sequence[str] = ()
    output: Sequence[str] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def bake(lab: Lab, candidate: Path, targets: Sequence[Target]) -> None:
    """Build stages from a candidate of docker/.

    Several go into one command: beside a second client with the same files, BuildKit finds none of
    its steps cached.
    """
    require_base(lab.settings)
    provide_parts(lab.clone)
    text = bake_file(resolve_model(lab, lab.build_env), candidate, targets)
    names = [target.stage for target in targets]
    # Private: arguments may hold a proxy's password.
    with NamedTemporaryFile("w", dir=lab.clone.state, suffix=".json", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        command = ("docker", "buildx", "bake", "--progress", "plain", "--file", file.name, *names)
        tags = [tag for target in targets for tag in target.tags]
        with recorded(lab, tags), Progress() as progress:
            done = process.stream(
                command, line=progress.line, extra_env=BAKES, cwd=lab.clone.root, quiet=True
            )
    (lab.clone.state / "build.log").write_text(done.stdout, encoding="utf-8")
    if not done.ok:
        raise build_failure(done.stdout)


def bake_file(model: Model, candidate: Path, targets: Sequence[Target]) -> str:
    """JupyterLab's build in Compose's resolved model, as a bake file with these targets."""
    build = model.services[JUPYTER].build
    # An argument without a value is taken from the environment, as with Compose.
    args = {
        name: environment.variables().get(name) if value is None else value
        for name, value in (build.get("args") or {}).items()
    }
    names = [secret["source"] for secret in build.get("secrets") or ()]
    secrets = [fields(id=name, src=model.raw["secrets"][name]["file"]) for name in names]
    common: dict[str, Any] = {
        "context": str(candidate),
        "dockerfile": build.get("dockerfile", "Dockerfile"),
        "args": {name: value for name, value in args.items() if value is not None},
        "contexts": dict(build.get("additional_contexts") or {}),
        "labels": dict(build.get("labels") or {}),
        "secret": secrets,
    }
    made: dict[str, Any] = {}
    for target in targets:
        own = _target(common, target)
        if target.on:
            below = f"{target.on}-of-docker" if target.on not in names_of(targets) else target.on
            made.setdefault(below, {**common, "target": target.on})
            own |= {"context": common["contexts"]["labcrate-parts"], "dockerfile": STAGES}
            own["contexts"] = {
                **common["contexts"],
                "labcrate-candidate": str(candidate),
                f"lab-{target.on}": f"target:{below}",
            }
        made[target.stage] = own
    # Bake would fill in ${...} and %{...}.
    return json.dumps({"target": made}).replace("${", "$${").replace("%{", "%%{")


def names_of(targets: Sequence[Target]) -> set[str]:
    return {target.stage for target in targets}


def _target(common: Mapping[str, Any], target: Target) -> dict[str, Any]:
    own: dict[str, Any] = {**common, "target": target.stage}
    own["args"] = {**common["args"], **target.args}
    own["labels"] = {**common["labels"], **target.labels}
    if target.tags:
        own["tags"] = list(target.tags)
    if target.output:
        own["output"] = list(target.output)
    return own


def fields(**values: str) -> str:
    """Bake's own comma-separated form, quoted: a folder's name may hold a comma."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(f"{name}={value}" for name, value in values.items())
    return row.getvalue()
