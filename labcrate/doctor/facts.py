"""What the doctor judges: this machine, its engine and this clone's lab, as plain values.

gather.py fills them in; the check_*.py judge them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labcrate.clone.place import Clone
from labcrate.clone.rootless import owner_here
from labcrate.clone.rules import Problem
from labcrate.clone.settings import Settings
from labcrate.engine.engine import Engine
from labcrate.errors import LabError
from labcrate.gpu.cards import Host
from labcrate.lab.containers import Container
from labcrate.lab.images import Image


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One of the owner's folders.

    strangers: files in it that another user owns. for_host: files at its top that a tool of the
    host runs if it is started there. links: those at its top that lead out of it.
    """

    path: Path
    exists: bool
    uid: int = 0
    gid: int = 0
    mode: int = 0
    strangers: tuple[str, ...] = ()
    for_host: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link of the owner's. target: as it is written, which the lab reads anew."""

    path: Path
    target: str
    exists: bool
    """Whether the target exists on this machine."""


@dataclass(frozen=True, kw_only=True)
class Pci:
    """A PCI device of NVIDIA. driver: the kernel's for it, "" for none."""

    address: str
    kind: str
    driver: str


@dataclass(frozen=True, kw_only=True)
class CdiSpec:
    """A CDI specification with NVIDIA GPUs. versions: of the driver libraries it names.

    gone: the devices it names that do not exist.
    """

    path: str
    versions: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A place where space is needed, and what is free there, in bytes."""

    what: str
    path: str
    free: int


@dataclass(frozen=True, kw_only=True)
class LabFacts:
    """What Compose and the engine reported about this clone's lab.

    images: by service; None while unknown. stale: services whose image is missing or was built
    from something else. mounts: the paths in JupyterLab's container that come from this machine;
    None while unknown. held: ports that something else holds; listed: whether the engine listed
    its containers, so that a port's holder is known. refusal: why Compose refuses the model.
    orphans: (lab, folder) of labs whose clone does not exist any more. proof: why the GPU's proof
    failed in the containers that run now.
    """

    images: Mapping[str, Image] | None = None
    stale: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mounts: tuple[str, ...] | None = None
    containers: tuple[Container, ...] = ()
    held: tuple[Problem, ...] = ()
    listed: bool = False
    refusal: LabError | None = None
    orphans: tuple[tuple[str, str], ...] = ()
    proof: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the checks judge. Sizes in bytes, times in seconds; None: not there, not known.

    caller: uid and gid of whoever asks.
    fabric: the state of NVSwitch's fabric manager; None without NVSwitch, or while unknown.
    unanswered: questions that got no answer in time. crashed: (part, error) of each part of the
    facts that could not be read.
    """

    clone: Clone
    environ: Mapping[str, str] = field(default_factory=dict)
    caller: tuple[int, int] = (0, 0)
    read_only: bool = False
    env_mode: int | None = None
    env_problems: tuple[Problem, ...] = ()
    settings: Settings | None = None
    ca_there: bool = True
    missing_bundles: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()
    engine: Engine | None = None
    refusal: LabError | None = None
    buildx: tuple[int, int] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    skew_s: float = 0.0
    files_ahead_s: float = 0.0
    disks: tuple[Disk, ...] = ()
    available: int | None = None
    host: Host = field(default_factory=Host)
    smi_list: str = ""
    pci: tuple[Pci, ...] = ()
    fabric: str | None = None
    specs: tuple[CdiSpec, ...] = ()
    lab: LabFacts = field(default_factory=LabFacts)
    unanswered: tuple[str, ...] = ()
    crashed: tuple[tuple[str, str], ...] = ()

    @property
    def rootless(self) -> bool:
        """Whether the engine is known to be rootless."""
        return bool(self.engine and self.engine.rootless)

    @property
    def owner(self) -> tuple[int, int]:
        """uid and gid that files of the lab have on this machine; (0, 0) without settings."""
        known = self.settings
        ids = (known.uid, known.gid) if known else (0, 0)
        return owner_here(self.rootless, ids, self.caller)
