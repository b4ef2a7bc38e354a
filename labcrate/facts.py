"""What the doctor judges: this machine, its engine and this clone's lab, as plain values.

gather.py fills them in; checks.py, enginechecks.py, gpuchecks.py and labchecks.py judge them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labcrate import nvidia
from labcrate.engine import Engine
from labcrate.errors import LabError
from labcrate.settings import Problem, Settings
from labcrate.shell import ROOT


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One of the user's folders. strangers: files in it that another user owns."""

    path: Path
    exists: bool
    uid: int = 0
    gid: int = 0
    mode: int = 0
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pci:
    """A PCI device of NVIDIA. driver: the kernel's for it, "" for none."""

    address: str
    kind: str
    driver: str


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A CDI specification with NVIDIA GPUs. versions: of the driver libraries it names."""

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
class Image:
    """An image of the lab. inputs and backend: what it was built from; size in bytes."""

    service: str
    inputs: str
    backend: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of the lab. inside: what it said when asked for its limits and its GPU."""

    service: str
    ident: str
    status: str = ""
    health: str = ""
    exit_code: int = 0
    oom: bool = False
    restarts: int = 0
    shm: int = 0
    ipc: str = ""
    gpu: str = ""
    folder: str = ""
    logs: str = ""
    inside: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the checks judge. Sizes in bytes, times in seconds; None: not there, not known.

    orphans: (lab, folder) of labs whose clone is not there any more.
    """

    clone: Path = ROOT
    environ: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    env_mode: int | None = None
    env_problems: tuple[Problem, ...] = ()
    settings: Settings | None = None
    ca_there: bool = True
    missing_bundles: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()
    held: tuple[Problem, ...] = ()
    engine: Engine | None = None
    refusal: LabError | None = None
    buildx: tuple[int, int] = (0, 0)
    info: Mapping[str, Any] = field(default_factory=dict)
    skew_s: float = 0.0
    files_ahead_s: float = 0.0
    disks: tuple[Disk, ...] = ()
    available: int | None = None
    host: nvidia.Host = field(default_factory=nvidia.Host)
    smi_list: str = ""
    pci: tuple[Pci, ...] = ()
    nvswitch: bool = False
    fabric: str = ""
    specs: tuple[Spec, ...] = ()
    images: tuple[Image, ...] = ()
    stale: bool = False
    containers: tuple[Container, ...] = ()
    orphans: tuple[tuple[str, str], ...] = ()
    proof: str = ""
    crashed: tuple[tuple[str, str], ...] = ()
