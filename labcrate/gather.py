"""Asks this machine, its engine and this clone's lab for all that the doctor judges.

Read only, and once. A part that cannot be read stays at its default; one that crashes is named in
`crashed`, so that the rest is still told.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from labcrate import engine as engines
from labcrate import nvidia, readings, settings, shell, stack
from labcrate.errors import LabError
from labcrate.facts import Container, Disk, Facts, Image
from labcrate.settings import FOLDERS, Problem, Settings
from labcrate.shell import ROOT

DEADLINE_S = 3.5
"""Seconds that all questions together get, so that the doctor ends within 5 on a machine where
nothing answers. A healthy one is asked in about one."""

LOG_LINES = 200

SPEC_DIRS = ("/etc/cdi", "/var/run/cdi")


class Asker:
    """Asks as `ask` does, but all questions together get only so long; keeps the answers."""

    def __init__(self, ask: engines.Ask, seconds: float = DEADLINE_S) -> None:
        self.ask = ask
        self.until = time.monotonic() + seconds
        self.heard: dict[tuple[str, ...], shell.Result] = {}

    def __call__(
        self, argv: Sequence[str], *, timeout_s: float = 30.0, **options: Any
    ) -> shell.Result:
        left = self.until - time.monotonic()
        if left <= 0:
            late = "not asked: the time was up"
            return shell.Result(argv=tuple(argv), returncode=124, stdout="", stderr=late)
        answer: shell.Result = self.ask(argv, timeout_s=min(timeout_s, left), **options)
        self.heard[tuple(argv)] = answer
        return answer


class Gatherer:
    """One reading of everything. root: where the machine's file system starts, for tests."""

    def __init__(
        self,
        *,
        ask: engines.Ask = shell.capture,
        root: Path = Path("/"),
        clone: Path = ROOT,
        environ: Mapping[str, str] = os.environ,
        which: Callable[[str], str | None] = shutil.which,
    ) -> None:
        self.ask = Asker(ask)
        self.root = root
        self.clone = clone
        self.environ = environ
        self.which = which
        self.crashed: list[tuple[str, str]] = []

    def part(self, what: str, default: Any, read: Callable[..., Any], *arguments: Any) -> Any:
        """One part of the facts; a crash in it is noted, and costs nothing else."""
        try:
            return read(*arguments)
        except Exception as error:
            self.crashed.append((what, f"{type(error).__name__}: {error}"))
            return default

    def all(self) -> Facts:
        with ThreadPoolExecutor() as pool:
            machine = pool.submit(self.part, "gpu", {}, self.machine)
            clone = pool.submit(self.part, "clone", {}, self.files)
            found = self.part("engine", {}, self.engine)
            facts = Facts(clone=self.clone, environ=self.environ, **found, **clone.result())
            lab = self.part("lab", {}, self.lab, facts)
            rest = {**self.part("disk", {}, self.space, facts), **lab}
            everything = {**vars(facts), **machine.result(), **rest}
        return Facts(**{**everything, "crashed": tuple(self.crashed)})

    def files(self) -> dict[str, Any]:
        """The clone: .env, its problems, and the folders."""
        env = self.clone / settings.ENV_FILE.name
        found: dict[str, Any] = {
            "read_only": bool(os.statvfs(self.clone).f_flag & os.ST_RDONLY),
            "files_ahead_s": (self.clone / "pyproject.toml").stat().st_mtime - time.time(),
            "available": readings.available(self.root),
            "missing_bundles": tuple(self.missing_bundles()),
        }
        if not env.exists():
            return found
        found["env_mode"] = env.stat().st_mode & 0o777
        try:
            text = env.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            fix = "sudo chown $(id -u) .env (or write it anew: rm .env, then invoke setup)"
            return found | {"env_problems": (Problem(text=f".env: {error}", fix=fix),)}
        values = settings.merged(settings.parse(text), self.environ)
        problems = (*settings.check(values), *settings.check_quoting(text))
        top = Path(values.get("ROOT_DIR") or self.clone)
        owner = int(values["LAB_UID"]) if values.get("LAB_UID", "").isdigit() else os.getuid()
        return found | {
            "env_problems": problems,
            "settings": None if problems else settings.build(values),
            "ca_there": (self.clone / ".labcrate" / "ca.pem").exists(),
            "folders": tuple(readings.folder(top / name, owner) for name in FOLDERS),
        }

    def missing_bundles(self) -> Iterator[str]:
        """Files of certificate authorities that the environment names and that are not there."""
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"):
            named = self.environ.get(name, "")
            if named and not Path(named).exists():
                yield named

    def engine(self) -> dict[str, Any]:
        """The engine and its client's plugins, or why it does not answer."""
        before = time.time()
        try:
            found = engines.find(self.ask)
        except LabError as refusal:
            return {"refusal": refusal}
        said = self.ask.heard[("docker", "info", "--format", "{{json .}}")].stdout
        info = json.loads(said)
        buildx = self.ask(("docker", "buildx", "version"), timeout_s=5)
        return {
            "engine": found,
            "info": info,
            "skew_s": readings.skew(str(info.get("SystemTime", "")), before, time.time()),
            "buildx": engines.version_pair(buildx.stdout) if buildx.ok else (0, 0),
        }

    def machine(self) -> dict[str, Any]:
        """NVIDIA's cards, driver, and what hands them to containers."""
        host = nvidia.read(self.ask, self.root, self.which)
        devices = tuple(readings.pci(self.root))
        nvswitch = any(d.kind.startswith(readings.BRIDGE) for d in devices)
        unit = ("systemctl", "is-active", "nvidia-fabricmanager")
        return {
            "host": host,
            "smi_list": self.ask(("nvidia-smi", "-L"), timeout_s=3).stdout
            if any(card.mig for card in host.cards)
            else "",
            "pci": tuple(d for d in devices if d.kind.startswith(readings.CARD)),
            "nvswitch": nvswitch,
            "fabric": self.ask(unit, timeout_s=2).stdout.strip() if nvswitch else "",
            "specs": tuple(readings.specs(self.root, SPEC_DIRS)),
        }

    def space(self, facts: Facts) -> dict[str, Any]:
        """Free space where the engine keeps images, and where the user's files are."""
        places = {"your folders": str(facts.settings.root_dir if facts.settings else self.clone)}
        engine = facts.engine
        if engine and not (engine.remote or engine.desktop):
            places["the engine"] = engine.root_dir
            if any("containerd.snapshotter" in word for word in engine.storage):
                places["containerd's image store"] = "/var/lib/containerd"
        measured = ((what, path, readings.free(path)) for what, path in places.items())
        return {"disks": tuple(Disk(what=w, path=p, free=f) for w, p, f in measured if f >= 0)}

    def lab(self, facts: Facts) -> dict[str, Any]:
        """Images and containers of this clone, and who holds its ports."""
        if facts.settings is None:
            return {}
        if facts.engine is None:
            held = stack.held_by_processes(facts.settings)
            return {"held": tuple(p for p in held if "docker-proxy" not in p.text)}
        known = facts.settings
        images = self.part("images", (), self.images, known)
        containers = self.part("containers", (), self.containers, known.project)
        return {
            "held": self.part("ports", (), lambda: tuple(stack.held_ports(known))),
            "images": images,
            "stale": self.part("stale", False, stale, known, images),
            "containers": containers,
            "orphans": self.part("orphans", (), self.orphans, facts),
            "proof": self.part("proof", "", readings.proof, self.clone, containers),
        }

    def images(self, known: Settings) -> tuple[Image, ...]:
        names = [f"{known.project}/{service}" for service in stack.SERVICES]
        rows = self.rows("image", "inspect", *names)
        return tuple(image(row) for row in rows)

    def containers(self, project: str) -> tuple[Container, ...]:
        own = (f"label={stack.LABEL}={project}", f"label={stack.OWN}=False")
        filters = [part for label in own for part in ("--filter", label)]
        listed = self.ask(("docker", "ps", "--all", "--quiet", *filters))
        rows = self.rows("container", "inspect", *listed.stdout.split())
        return tuple(self.container(row) for row in rows)

    def orphans(self, facts: Facts) -> tuple[tuple[str, str], ...]:
        """Labs on this machine's engine whose clone was deleted before it was cleaned."""
        assert facts.engine and facts.settings
        if facts.engine.remote or facts.engine.desktop:
            return ()
        labels = (stack.LABEL, "com.docker.compose.project.working_dir")
        columns = "\t".join(map(stack.label_column, labels))
        every = ("--filter", f"label={stack.LABEL}", "--filter", f"label={stack.OWN}=False")
        listed = ("docker", "container", "ls", "--all", *every, "--format", columns)
        said = self.ask(listed).stdout
        labs = {tuple(line.split("\t")) for line in said.splitlines()}
        return tuple(
            (lab, str(Path(folder).parent))
            for lab, folder in sorted(labs)
            if lab != facts.settings.project and not Path(folder).exists()
        )

    def rows(self, *command: str) -> list[dict[str, Any]]:
        """What `docker inspect` knows of some things; those that are not there are left out."""
        if len(command) < 3:
            return []
        rows: list[dict[str, Any]] = json.loads(self.ask(("docker", *command)).stdout or "[]")
        return rows

    def container(self, row: Mapping[str, Any]) -> Container:
        state, labels = row["State"], row["Config"]["Labels"]
        gpu = labels.get("dev.labcrate.gpu", "")
        return Container(
            service=labels.get("com.docker.compose.service", ""),
            ident=row["Id"],
            status=state["Status"],
            health=state.get("Health", {}).get("Status", ""),
            exit_code=state["ExitCode"],
            oom=state["OOMKilled"],
            restarts=row["RestartCount"],
            shm=row["HostConfig"]["ShmSize"],
            ipc=row["HostConfig"]["IpcMode"],
            gpu=gpu,
            folder=labels.get("com.docker.compose.project.working_dir", ""),
            logs=self.ask(("docker", "logs", "--tail", str(LOG_LINES), row["Id"])).text,
            inside=self.inside(row["Id"], bool(gpu)) if state["Status"] == "running" else "",
        )

    def inside(self, ident: str, gpu: bool) -> str:
        """A running container's own view: its limit of open files, and its GPUs."""
        script = "ulimit -n" + ("; nvidia-smi -L" if gpu else "")
        return self.ask(("docker", "exec", ident, "sh", "-c", script), timeout_s=3).text


def gather() -> Facts:
    return Gatherer().all()


def image(row: Mapping[str, Any]) -> Image:
    labels = row["Config"].get("Labels") or {}
    tags = row.get("RepoTags") or [""]
    return Image(
        service=tags[0].rpartition("/")[2].partition(":")[0],
        inputs=labels.get("dev.labcrate.inputs", ""),
        backend=stack.named_backend(labels.get("dev.labcrate.torch-backend", "")),
        size=row["Size"],
    )


def stale(known: Settings, images: Sequence[Image]) -> bool:
    """Whether an image that is there was built from something else than is in the clone now."""
    backends = {one.backend for one in images if one.service == "jupyter"} - {""}
    setting = known.torch_backend
    backend = (*backends, "pypi")[0] if setting == "auto" else setting
    wanted = stack.Stack(settings=known, torch_backend=backend)
    return any(one.inputs != wanted.inputs(one.service) for one in images)
