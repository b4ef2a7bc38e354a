"""Settings, engine and overlay -> what Compose is asked, and what it answers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import filelock

from labcrate import gpu, shell, signatures
from labcrate.errors import Code, LabError
from labcrate.hostpip import STATE
from labcrate.settings import Problem, Settings
from labcrate.setup import port_is_free, refuse_read_only
from labcrate.shell import ROOT

SERVICES = ("jupyter", "tensorboard")
SOURCES = {
    "jupyter": (
        "Dockerfile",
        "uv.lock",
        "torch.in",
        "torch.lock",
        "base.lock",
        "freeze.py",
        "jupyter_server_config.py",
        "overrides.json",
        "inside.py",
        "apt.txt",
        "packages.lock",
    ),
    "tensorboard": ("Dockerfile", "uv.lock", "tensorboard.lock", "guard.py"),
}
"""The files of docker/ that each image is built from."""

LABEL = "dev.labcrate.project"
OWN = "com.docker.compose.oneoff"
"""A label that only Compose's containers have. One made by hand from the lab's image inherits
the image's labels, the project's name among them, and is not the lab's to stop or remove."""

GPU_FILE = re.compile(r"(\./)?compose/gpu-[a-z]+\.yaml|(\./)?\.labcrate/gpu\.yaml")
"""The overlays that the tasks choose from."""

WAIT_S = 180
"""Seconds until both services must be healthy: 2 s are usual, a cold disk takes tens."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One lab as Compose sees it: the files it is made of and the values the tasks decided."""

    settings: Settings
    overlays: tuple[str, ...] = ()
    torch_backend: str = "pypi"

    @property
    def build_env(self) -> dict[str, str]:
        """What the tasks decide for a build, beside .env; nothing else needs it."""
        digests = {f"LAB_{name.upper()}_INPUTS": self.inputs(name) for name in SERVICES}
        # PyPI's build goes by the name of .env: `docker compose build`, typed by hand, knows that
        # one alone, and with another argument it would install PyTorch a second time.
        same = (self.settings.torch_backend, self.torch_backend) == ("auto", "pypi")
        return {"TORCH_BACKEND": "auto" if same else self.torch_backend, **digests}

    def inputs(self, service: str, folder: Path = ROOT / "docker") -> str:
        """A digest of all that a service's image is built from: sources and arguments."""
        digest = hashlib.sha256()
        for name in SOURCES[service]:
            digest.update(name.encode() + b"\0" + (folder / name).read_bytes() + b"\0")
        backend = self.torch_backend if service == "jupyter" else ""
        own = (self.settings.base_image, self.settings.uid, self.settings.gid, backend)
        digest.update(repr(own).encode())
        return digest.hexdigest()[:16]

    def compose(self, *arguments: str) -> tuple[str, ...]:
        """The argument list of a compose command; plain where the CPU stack alone will do."""
        # COMPOSE_FILE may name files of the user's own, or a GPU by hand: the tasks decide that.
        own = [name for name in self.settings.compose_files if not GPU_FILE.fullmatch(name)]
        names = (*own, *self.overlays)
        files = [part for name in names for part in ("-f", name)]
        # With -f Compose looks for .env beside the first file.
        base = ("--env-file", ".env", *files) if names != self.settings.compose_files else ()
        return ("docker", "compose", *base, *arguments)

    def ask(self, *arguments: str, timeout_s: float = 30.0) -> shell.Result:
        return shell.capture(self.compose(*arguments), timeout_s=timeout_s)

    def attach(self, *arguments: str) -> int:
        return shell.attach(self.compose(*arguments))

    def image(self, service: str = "jupyter") -> str:
        return f"{self.settings.project}/{service}"


def model(stack: Stack, extra_env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Compose's own resolved model: what it would run, whatever .env and overlays say."""
    answer = shell.capture(stack.compose("config", "--format", "json"), extra_env=extra_env)
    if not answer.ok:
        raise LabError(
            f"Compose refuses the configuration: {answer.stderr.strip()}",
            fix="mend the value it names in .env",
            code=Code.SETTINGS,
        )
    parsed: dict[str, Any] = json.loads(answer.stdout)
    return parsed


def urls(stack: Stack) -> dict[str, str]:
    """Where each service answers, from the resolved model."""
    services = model(stack)["services"]
    found = {}
    for name in SERVICES:
        port = services[name]["ports"][0]
        host = "127.0.0.1" if port["host_ip"] == "0.0.0.0" else port["host_ip"]  # noqa: S104
        found[name] = f"http://{host}:{port['published']}/"
    found["jupyter"] += f"lab?token={stack.settings.jupyter_token}"
    return found


def built(stack: Stack, service: str = "jupyter", label: str = "inputs") -> str | None:
    """The digest of inputs that the service's image was built from; None: there is no image."""
    template = f'{{{{index .Config.Labels "dev.labcrate.{label}"}}}}'
    answer = shell.capture(
        ("docker", "image", "inspect", "--format", template, stack.image(service))
    )
    return answer.stdout.strip() if answer.ok else None


def backend(stack: Stack) -> str:
    """The build of PyTorch in JupyterLab's image, as TORCH_BACKEND names it; "": no image."""
    return named_backend(built(stack, label="torch-backend") or "")


def named_backend(label: str) -> str:
    """The build of PyTorch that an image's label tells; the Dockerfile takes `auto` for PyPI's."""
    return "pypi" if label == "auto" else label


def stale(stack: Stack) -> bool:
    """Whether an image is missing or was built from something else."""
    return any(built(stack, service) != stack.inputs(service) for service in SERVICES)


def build(stack: Stack) -> float:
    """Build both images, showing each step as it ends; seconds taken."""
    require_base(stack.settings)
    started = time.monotonic()
    log = STATE / "build.log"
    command = stack.compose("--progress", "plain", "build")
    print(f"Building the images (full log: {log.relative_to(ROOT)}).")
    done = shell.stream(command, line=Progress().line, extra_env=stack.build_env)
    log.write_text(done.stdout, encoding="utf-8")
    if not done.ok:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise build_failure(tail)
    drop_superseded(stack.settings.project)
    return time.monotonic() - started


def require_base(settings: Settings) -> None:
    """A base image that `setup` built is in no registry: once gone, no build can get it."""
    name = settings.base_image
    built_here = name.startswith(f"{settings.project}/")
    if built_here and not shell.capture(("docker", "image", "inspect", name)).ok:
        raise LabError(
            f"the base image {name} is not here any more (`invoke clean --images` removes it)",
            fix="invoke setup up (builds it again, then the rest)",
            code=Code.BASE_IMAGE,
        )


def build_failure(text: str, what: str = "the build failed") -> LabError:
    """What to do about a failed build, or another install, from what it said."""
    unknown = LabError(
        f"{what}:\n{text}",
        fix="mend what it names above and run the same command again; nothing was changed",
        code=Code.BUILD,
    )
    return signatures.failure(text, "build", otherwise=unknown)


def start_failure(said: str, logs: str) -> LabError:
    """What to do about a lab that did not come up: what the engine said, and then the services."""
    text = f"{said.strip()}\n{logs.strip()}"
    unknown = LabError(
        f"the lab did not become healthy:\n{text}",
        fix="read the last lines above; `invoke logs` shows all of them",
        code=Code.UNHEALTHY,
    )
    known = signatures.first(said, "start") or signatures.first(logs, "lab")
    if known is None:
        return unknown
    return LabError(f"{known.problem}:\n{text}", fix=known.fix, code=known.code)


def bake(stack: Stack, context: Path, targets: Mapping[str, Mapping[str, Any]]) -> None:
    """Build stages of JupyterLab's image from another context than docker/.

    targets: a stage -> what is particular to it, in a bake file's words. Several go into one
    command: beside a second client with the same files, BuildKit finds none of its steps cached.
    """
    text = bake_file(model(stack, stack.build_env), context, targets)
    # Private: arguments may hold a proxy's password.
    with NamedTemporaryFile("w", dir=STATE, suffix=".json", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        command = ("docker", "buildx", "bake", "--progress", "plain", "--file", file.name, *targets)
        done = shell.stream(command, line=Progress().line, extra_env=ANY_FOLDER, quiet=True)
    (STATE / "build.log").write_text(done.stdout, encoding="utf-8")
    if not done.ok:
        raise build_failure("\n".join(done.stdout.splitlines()[-25:]))


ANY_FOLDER = {"BUILDX_BAKE_ENTITLEMENTS_FS": "0"}
"""Bake asks before it reads outside the current folder, where HOST_WHEELS may well be. Older ones
neither ask nor know the flag that answers, but every one ignores a variable."""


def bake_file(
    resolved: Mapping[str, Any], context: Path, targets: Mapping[str, Mapping[str, Any]]
) -> str:
    """JupyterLab's build in Compose's resolved model, as a bake file with these targets."""
    build = resolved["services"]["jupyter"]["build"]
    # An argument without a value is taken from the environment, as with Compose.
    args = {n: os.environ.get(n) if v is None else v for n, v in build.get("args", {}).items()}
    names = [secret["source"] for secret in build.get("secrets", ())]
    common = {
        "context": str(context),
        "args": {name: value for name, value in args.items() if value is not None},
        "contexts": build.get("additional_contexts", {}),
        "labels": build.get("labels", {}),
        "secret": [fields(id=name, src=resolved["secrets"][name]["file"]) for name in names],
    }
    made = {}
    for stage, own in targets.items():
        both = {name: {**common[name], **own.get(name, {})} for name in ("args", "labels")}
        made[stage] = {**common, "target": stage, **own, **both}
    # Bake would fill in ${...} and %{...}.
    return json.dumps({"target": made}).replace("${", "$${").replace("%{", "%%{")


def fields(**values: str) -> str:
    """Bake's own comma-separated form, quoted: a folder's name may hold a comma."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(f"{name}={value}" for name, value in values.items())
    return row.getvalue()


def image_id(name: str) -> str:
    """The id of an image; empty where there is none of that name."""
    answer = shell.capture(("docker", "image", "inspect", "--format", "{{.Id}}", name))
    return answer.stdout.strip() if answer.ok else ""


def drop_superseded(project: str) -> None:
    """Remove the images that rebuilds left without a name, but those that a container uses."""
    nameless = ("docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true")
    listed = shell.capture((*nameless, "--filter", f"label={LABEL}={project}")).stdout.split()
    for image in sorted(set(listed)):
        shell.capture(("docker", "image", "rm", image), timeout_s=60)


class Progress:
    """BuildKit's plain log, cut down to the named steps of the Dockerfile that took time."""

    STEP = re.compile(r"^#(\d+) \[[^]]+\] .*: labcrate '([^']+)'")
    EXPORT = re.compile(r"^#(\d+) (?:\[(\w+)\] )?(exporting to \w+)")
    SAID = re.compile(r"^#\d+ [\d.]+ ((?:Prepared|Installed|Downloading) .*)")
    DONE = re.compile(r"^#(\d+) (?:DONE ([\d.]+)s|(CACHED|ERROR|CANCELED))")

    def __init__(self) -> None:
        self.steps: dict[str, str] = {}

    def line(self, text: str) -> None:
        if step := self.STEP.match(text):
            self.steps.setdefault(step[1], step[2])
        elif export := self.EXPORT.match(text):
            self.steps.setdefault(export[1], f"{export[3]} {export[2] or ''}".rstrip())
        elif said := self.SAID.match(text):
            print(f"          {said[1]}", flush=True)
        elif (done := self.DONE.match(text)) and done[1] in self.steps:
            name = self.steps.pop(done[1])
            if done[3] == "ERROR":
                print(f"   failed {name}", flush=True)
            elif done[2] and float(done[2]) >= self.SHOWN_S:
                print(f"  {float(done[2]):5.1f} s {name}", flush=True)

    SHOWN_S = 0.1
    """Seconds from which on a step is worth a line."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """One of the lab's containers. gpu: the overlay and the devices that it was started with."""

    id: str
    name: str
    state: str
    status: str = ""
    gpu: str = ""

    @property
    def health(self) -> str:
        """healthy, unhealthy or starting, which `docker ps` puts after the time; or nothing."""
        found = re.search(r"\((?:health: )?(healthy|unhealthy|starting)\)", self.status)
        return found[1] if found else ""


def label_column(label: str) -> str:
    """A label's place in the --format of one of the engine's listings."""
    return f'{{{{.Label "{label}"}}}}'


def running(stack: Stack) -> dict[str, Container]:
    """The lab's containers by service, those that ended too.

    Asked of the engine, not of Compose, which takes five times as long for the same answer.
    """
    labels = (label_column("com.docker.compose.service"), label_column(gpu.LABEL))
    columns = "\t".join(("{{.ID}}", "{{.Names}}", "{{.State}}", "{{.Status}}", *labels))
    of_project = f"label=com.docker.compose.project={stack.settings.project}"
    listed = ("docker", "ps", "--all", "--filter", of_project, "--filter", f"label={OWN}=False")
    rows = shell.capture((*listed, "--format", columns)).stdout.splitlines()
    found = {}
    for ident, name, state, status, service, devices in (row.split("\t") for row in rows):
        found[service] = Container(id=ident, name=name, state=state, status=status, gpu=devices)
    return {service: found[service] for service in SERVICES if service in found}


def healthy(stack: Stack) -> bool:
    rows = running(stack)
    return len(rows) == len(SERVICES) and all(one.health == "healthy" for one in rows.values())


def up(stack: Stack) -> shell.Result:
    """Start what is not running and wait for both services to be healthy."""
    return shell.stream(
        stack.compose("up", "--detach", "--wait", "--wait-timeout", str(WAIT_S), "--no-build")
    )


def to_recreate(stack: Stack) -> list[str]:
    """The running services that the next `up` would replace, by Compose's own dry run."""
    said = stack.ask("--dry-run", "up", "--detach", "--no-build").text
    named = set(re.findall(r"Container (\S+)\s+Recreate\b", said))
    rows = running(stack).items()
    return [name for name, one in rows if one.name in named and one.state == "running"]


def held_ports(settings: Settings) -> Iterator[Problem]:
    """The lab's ports that something else holds, with who it is."""
    for name, address, port in ports(settings):
        project, holder = container_on(port)
        if project == settings.project or (not holder and port_is_free(address, port)):
            continue
        yield taken(name, port, f"the container {holder}" if holder else process_on(port))


def held_by_processes(settings: Settings) -> Iterator[Problem]:
    """The same where no engine answers, which alone knows of containers."""
    for name, address, port in ports(settings):
        if not port_is_free(address, port):
            yield taken(name, port, process_on(port))


def ports(settings: Settings) -> tuple[tuple[str, str, int], ...]:
    """The lab's ports: variable, address, number."""
    return (
        ("JUPYTER_PORT", settings.bind_address, settings.jupyter_port),
        ("TENSORBOARD_PORT", "127.0.0.1", settings.tensorboard_port),
    )


def taken(name: str, port: int, who: str) -> Problem:
    return Problem(
        text=f"{name}={port} is taken by {who}",
        fix=f"set {name} in .env to another port, or stop it",
        code=Code.PORT_TAKEN,
    )


def container_on(port: int) -> tuple[str, str]:
    """The Compose project and the name of the container that publishes a port.

    A container that was not made by Compose has no project: see OWN.
    """
    template = '{{if .Label "com.docker.compose.oneoff"}}{{.Label "com.docker.compose.project"}}'
    template += "{{end}}\t{{.Names}}"
    listed = shell.capture(
        ("docker", "ps", "--filter", f"publish={port}", "--format", template)
    ).stdout.splitlines()
    project, _, name = listed[0].partition("\t") if listed else ("", "", "")
    return project, name


def process_on(port: int) -> str:
    """The process that listens on a TCP port, as far as /proc lets this user see it."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) in inodes:
                pid = link.parts[2]
                return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
        except OSError:
            continue
    return "another process"


@contextmanager
def alone(what: str) -> Iterator[None]:
    """One changing task at a time in a clone; a second one says whom it waits for."""
    refuse_read_only()
    STATE.mkdir(exist_ok=True)
    lock = filelock.FileLock(STATE / "lock")
    holder = STATE / "holder"
    try:
        # Not 0: who took it this very moment has yet to leave its name.
        lock.acquire(timeout=0.3)
    except filelock.Timeout:
        who = holder.read_text() if holder.exists() else "another task"
        print(f"Waiting for {who} in this clone (Ctrl-C to give up).", flush=True)
        lock.acquire()
    try:
        holder.write_text(f"`invoke {what}` (process {os.getpid()})")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def logs_of(stack: Stack, services: Sequence[str], lines: int = 15) -> str:
    return stack.ask("logs", "--no-color", "--tail", str(lines), *services).text
