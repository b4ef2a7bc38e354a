"""Asks Compose and the engine about this clone's lab, for the doctor.

The shared readers of lab/ do the reading. What was not answered in time stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from labcrate import labels, process
from labcrate.clone.rules import Problem
from labcrate.clone.settings import Settings
from labcrate.doctor.facts import Facts, LabFacts
from labcrate.doctor.parts import Parts
from labcrate.engine.endpoint import endpoint, machine_of
from labcrate.errors import LabError
from labcrate.gpu.record import read_proof
from labcrate.lab.compose import JUPYTER, Lab, Model, Port, Service, resolve_model
from labcrate.lab.containers import Container, inspect_containers, list_containers, of_project
from labcrate.lab.images import Image, read_images
from labcrate.lab.own_ports import is_movable
from labcrate.lab.snapshot import Snapshot, held_ports, taken_port

LOG_LINES = 200
"""Lines of each service's log that are searched for known failures."""

LIST_IDS = ("docker", "ps", "--all", "--no-trunc", "--quiet")

LOGS_S = 3.0
INSIDE_S = 3.0
"""Seconds for a service's log, and for an answer from inside its container; 0.2 s is usual."""


class LabReader:
    """Reads the lab once. The engine may be missing: then only files and ports are read."""

    def __init__(self, facts: Facts, parts: Parts) -> None:
        self.facts = facts
        self.parts = parts
        self.refusal: LabError | None = None

    def read_lab(self) -> LabFacts:
        known = self.facts.settings
        if known is None:
            return LabFacts()
        read = self.parts.read_part
        with ThreadPoolExecutor() as pool:
            listing = pool.submit(read, "containers", None, self.list_all)
            model = read("compose", None, self.model, known)
            everyone = listing.result()
            own = pool.submit(read, "containers", (), self.containers, everyone or (), known)
            images = read("images", None, self.images, model)
            containers = own.result()
        lab = LabFacts(
            images=images,
            mounts=mounted_paths(model) if model else None,
            containers=containers,
            held=read("ports", (), self.held, known, model, everyone),
            listed=everyone is not None,
            refusal=self.refusal,
            orphans=read("orphans", (), self.orphans, everyone or (), known),
            proof=read("proof", "", self.proof, known, containers),
        )
        return self.with_stale(lab, known, model)

    def list_all(self) -> tuple[Container, ...] | None:
        return list_containers() if self.facts.engine else None

    def model(self, known: Settings) -> Model | None:
        """Compose's model. None where Compose refuses it, which is kept, or did not answer."""
        try:
            return resolve_model(Lab(settings=known))
        except LabError as error:
            if not self.parts.starter.missed("docker", "config"):
                self.refusal = error
            return None

    def images(self, model: Model | None) -> Mapping[str, Image] | None:
        if model is None or self.facts.engine is None:
            return None
        found = read_images(model)
        late = self.parts.starter.missed("docker", "image", "inspect")
        return None if late else found

    def with_stale(self, lab: LabFacts, known: Settings, model: Model | None) -> LabFacts:
        """The services whose image is missing or was built from something else."""
        if model is None or lab.images is None:
            return lab
        built = lab.images[JUPYTER].backend if JUPYTER in lab.images else ""
        setting = known.torch_backend
        backend = (built or "pypi") if setting == "auto" else setting
        now = Snapshot(
            lab=Lab(settings=known, torch_backend=backend),
            model=model,
            containers={},
            images=lab.images,
        )
        missing = tuple(one.name for one in model.built if one.name not in lab.images)
        stale = self.parts.read_part("images", list(missing), now.stale)
        return replace(lab, missing=missing, stale=tuple(stale))

    def containers(self, everyone: Sequence[Container], known: Settings) -> tuple[Container, ...]:
        """The lab's containers, with what they logged last and what they say themselves."""
        found = inspect_containers(of_project(everyone, known.project))
        with ThreadPoolExecutor() as pool:
            return tuple(pool.map(with_words, found))

    def held(
        self, known: Settings, model: Model | None, everyone: Sequence[Container] | None
    ) -> tuple[Problem, ...]:
        """Ports that something else holds."""
        now = Snapshot(
            lab=Lab(settings=known),
            model=model or plain_model(known),
            containers={},
            images={},
            everyone=tuple(everyone or ()),
            machine=machine_of(endpoint()),
        )
        # A port that the engine's own proxy holds may be this lab's: only the engine knows.
        return tuple(
            held_port(now, service, port, who)
            for service, port, who in held_ports(now)
            if everyone is not None or "docker-proxy" not in who
        )

    def orphans(
        self, everyone: Sequence[Container], known: Settings
    ) -> tuple[tuple[str, str], ...]:
        """Labs on this machine's engine whose clone was deleted before it was cleaned."""
        engine = self.facts.engine
        if engine is None or engine.remote or engine.desktop:
            return ()
        homeless = [
            one
            for one in everyone
            if one.own
            and one.folder
            and one.project != known.project
            and not Path(one.folder).exists()
        ]
        # Any project of Compose may have lost its folder; only the label says that it is a lab.
        ours = labelled() if homeless else frozenset()
        return tuple(
            sorted(
                {
                    (one.project, str(Path(one.folder).parent))
                    for one in homeless
                    # Another project's container on a lab's image has that lab's label.
                    if one.id in ours and one.lab in ("", one.project)
                }
            )
        )

    def proof(self, known: Settings, containers: Sequence[Container]) -> str:
        """Why the GPU's proof failed in the JupyterLab that is there now; "" if it did not."""
        jupyter = next((one for one in containers if one.service == JUPYTER), None)
        record = read_proof(known.clone, jupyter.id) if jupyter else None
        return record.cause if record else ""


def held_port(now: Snapshot, service: str, port: Port, who: str) -> Problem:
    """A port that something else holds; `up` moves one that `setup` chose."""
    problem = taken_port(service, port.number, who)
    fix = "invoke up (chooses another one, because nobody edited this one)"
    return replace(problem, fix=fix) if is_movable(now, service, port) else problem


def labelled() -> frozenset[str]:
    """The ids of all containers that belong to a lab."""
    ours = ("--filter", f"label={labels.PROJECT}")
    return frozenset(process.ask((*LIST_IDS, *ours)).stdout.split())


def with_words(found: Container) -> Container:
    """A container with its log, and with its own view: its limit of open files, and its GPUs."""
    logs = ("docker", "logs", "--tail", str(LOG_LINES), found.id)
    inside = ""
    if found.is_running:
        script = "ulimit -n" + ("; nvidia-smi -L" if found.gpu else "")
        inside = said(("docker", "exec", found.id, "sh", "-c", script), INSIDE_S)
    return replace(found, logs=said(logs, LOGS_S), inside=inside)


def said(argv: tuple[str, ...], timeout_s: float) -> str:
    """What a command said; "" where it did not end in time."""
    answer = process.ask(argv, timeout_s=timeout_s)
    return "" if answer.returncode == process.TIMED_OUT else answer.text


def mounted_paths(model: Model) -> tuple[str, ...]:
    """The paths in JupyterLab's container that come from this machine."""
    section = (model.raw.get("services") or {}).get(JUPYTER) or {}
    return tuple(one["target"] for one in section.get("volumes") or () if one["type"] == "bind")


def plain_model(known: Settings) -> Model:
    """The template's own services and ports, for where Compose does not answer."""
    ports = {JUPYTER: (known.bind_address, known.jupyter_port)}
    ports["tensorboard"] = ("127.0.0.1", known.tensorboard_port)
    services = {
        name: Service(
            name=name,
            image=f"{known.project}/{name}",
            ports=(Port(address=address, number=number),),
            has_health=True,
            build={},
        )
        for name, (address, number) in ports.items()
    }
    return Model(project=known.project, raw={}, services=services)
