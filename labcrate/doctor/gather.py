"""Asks this machine and its engine for all that the doctor judges; gather_lab.py asks for the lab.

Read only, and once. A part that cannot be read stays at its default; one that crashes is named in
`crashed`, so that the rest is still reported.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from labcrate import environment, process
from labcrate.clone.env_file import is_numeric_id, parse_env, read_text
from labcrate.clone.identity import refuse_copy
from labcrate.clone.lab_env import lab_env_problems
from labcrate.clone.place import Clone
from labcrate.clone.rootless import owner_here
from labcrate.clone.rules import FOLDERS, Problem, check, check_quoting
from labcrate.clone.settings import make_settings, merged
from labcrate.doctor import readings
from labcrate.doctor.deadline import DeadlineStarter
from labcrate.doctor.facts import Disk, Facts, Folder, LabFacts
from labcrate.doctor.gather_lab import LabReader
from labcrate.doctor.parts import Parts
from labcrate.engine.engine import find_engine, plugin_version, version_pair
from labcrate.errors import LabError
from labcrate.gpu.cards import Host, read_host

DEADLINE_S = 3.5
"""Seconds that all questions together get, so that the doctor ends within 5 on a machine where
nothing answers. A healthy one is asked in about one."""

INFO = ("docker", "info", "--format", "{{json .}}")
"""The question of `find_engine` whose answer is read once more here."""

AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
"""Variables that name a file of certificate authorities."""


def gather_facts(clone: Clone, root: Path = Path("/")) -> Facts:
    """One reading of everything. root: where the machine's file system starts, for tests."""
    # The starter in force is wrapped, not replaced: in a test it is the double.
    starter = DeadlineStarter(process.current_starter(), DEADLINE_S)
    with process.using(starter):
        return Gatherer(clone, root, Parts(starter)).gather()


class Gatherer:
    """Reads the parts of the facts, those that do not depend on each other at the same time."""

    def __init__(self, clone: Clone, root: Path, parts: Parts) -> None:
        self.clone = clone
        self.root = root
        self.parts = parts
        self.starter = parts.starter

    def gather(self) -> Facts:
        read, unread = self.parts.read_part, dict[str, Any]()
        facts = Facts(
            clone=self.clone,
            environ=dict(environment.variables()),
            caller=environment.user_ids(),
        )
        with ThreadPoolExecutor() as pool:
            machine = pool.submit(read, "gpu", unread, self.machine)
            files = pool.submit(read, "clone", unread, self.files)
            engine = read("engine", unread, self.engine)
            facts = replace(facts, **engine, **files.result())
            folders = pool.submit(read, "folders", (), self.folders, facts)
            disks = read("disk", (), self.disks, facts)
            lab = read("lab", LabFacts(), LabReader(facts, self.parts).read_lab)
            facts = replace(facts, disks=disks, lab=lab, folders=folders.result())
            facts = replace(facts, **machine.result())
        return replace(
            facts,
            crashed=tuple(self.parts.crashed),
            unanswered=tuple(sorted({question(argv) for argv in self.starter.cut})),
        )

    def files(self) -> dict[str, Any]:
        """The clone: .env and its problems."""
        env = self.clone.env_file
        born = self.clone.project_file
        found: dict[str, Any] = {
            "read_only": bool(os.statvfs(self.clone.root).f_flag & os.ST_RDONLY),
            "files_ahead_s": born.stat().st_mtime - time.time() if born.exists() else 0.0,
            "available": readings.available_memory(self.root),
            "missing_bundles": tuple(missing_bundles()),
            "ca_there": (self.clone.state / "ca.pem").exists(),
        }
        if not env.exists():
            return found
        found["env_mode"] = env.stat().st_mode & 0o777
        try:
            text = read_text(env)
        except LabError as error:
            return found | {"env_problems": (Problem(text=error.problem, fix=error.fix),)}
        except OSError as error:
            fix = "sudo chown $(id -u) .env (or write a new one: rm .env, then: invoke setup)"
            return found | {"env_problems": (Problem(text=f".env: {error}", fix=fix),)}
        values = merged(parse_env(text), environment.variables())
        problems = (*copied(self.clone), *check(values, self.clone), *check_quoting(text))
        settings = None if problems else make_settings(values, self.clone)
        problems = (*problems, *lab_env_problems(self.clone))
        return found | {"env_problems": problems, "settings": settings}

    def folders(self, facts: Facts) -> tuple[Folder, ...]:
        """The owner's folders, also where another value of .env is wrong."""
        if facts.env_mode is None:
            return ()
        try:
            values = merged(parse_env(read_text(self.clone.env_file)), environment.variables())
        except (LabError, OSError):
            return ()
        top = self.clone.root / values.get("ROOT_DIR", "")
        if not top.is_dir():  # reported as a problem of .env
            return ()
        ids = [values.get(name, "") for name in ("LAB_UID", "LAB_GID")]
        known = (int(ids[0]), int(ids[1])) if all(map(is_numeric_id, ids)) else facts.caller
        owner, _ = owner_here(facts.rootless, known, facts.caller)
        return tuple(readings.read_folder(top / name, owner) for name in FOLDERS)

    def engine(self) -> dict[str, Any]:
        """The engine and its client's plugins, or why it does not answer."""
        before = time.time()
        try:
            found = find_engine()
        except LabError as refusal:
            return {"refusal": refusal}
        info = json.loads(self.starter.heard[INFO].stdout)
        after = time.time()
        return {
            "engine": found,
            "info": info,
            "skew_s": readings.clock_skew(str(info.get("SystemTime", "")), before, after),
            "buildx": version_pair(plugin_version(info, "buildx")),
        }

    def machine(self) -> dict[str, Any]:
        """NVIDIA's cards and driver, and what gives them to containers."""
        host = self.host()
        devices = tuple(readings.read_pci(self.root))
        nvswitch = any(d.kind.startswith(readings.BRIDGE) for d in devices)
        return {
            "host": host,
            "smi_list": self.mig_instances() if any(card.mig for card in host.cards) else "",
            "pci": tuple(d for d in devices if d.kind.startswith(readings.CARD)),
            "fabric": self.fabric_state() if nvswitch else None,
            "specs": tuple(readings.read_cdi_specs(self.root)),
        }

    def host(self) -> Host:
        """The driver and its cards. Where nvidia-smi was too slow they are unknown, not broken."""
        host = read_host(root=self.root)
        late = any(Path(argv[0]).name == "nvidia-smi" for argv in self.starter.cut)
        return replace(host, smi="") if late else host

    def mig_instances(self) -> str:
        return process.ask(("nvidia-smi", "-L"), timeout_s=3).stdout

    def fabric_state(self) -> str | None:
        """What systemd says of the fabric manager; None while unknown."""
        unit = ("systemctl", "is-active", "nvidia-fabricmanager")
        answer = process.ask(unit, timeout_s=2)
        return None if answer.returncode == process.TIMED_OUT else answer.stdout.strip()

    def disks(self, facts: Facts) -> tuple[Disk, ...]:
        """Free space where the engine keeps images, and where the owner's files are."""
        own = facts.settings.root_dir if facts.settings else self.clone.root
        places = {"your folders": str(own)}
        engine = facts.engine
        if engine and not (engine.remote or engine.desktop):
            places["the engine"] = engine.root_dir
            if any("containerd.snapshotter" in word for word in engine.storage):
                places["containerd's image store"] = "/var/lib/containerd"
        measured = ((what, path, readings.free_space(path)) for what, path in places.items())
        return tuple(Disk(what=w, path=p, free=f) for w, p, f in measured if f >= 0)


def copied(clone: Clone) -> Iterator[Problem]:
    """A copy of another clone, whose lab is not its own: nothing of it is read then."""
    try:
        refuse_copy(clone)
    except LabError as error:
        yield Problem(text=error.problem, fix=error.fix, code=error.code)


def missing_bundles() -> Iterator[str]:
    """Files of certificate authorities that the environment names and that do not exist."""
    for name in AUTHORITIES:
        named = environment.variable(name)
        if named and not Path(named).exists():
            yield named


def question(argv: tuple[str, ...]) -> str:
    """The words of a command that say what it asks: `docker image inspect`."""
    words = itertools.takewhile(re.compile(r"[a-z][a-z-]*").fullmatch, argv[1:4])
    return " ".join((Path(argv[0]).name, *words))
