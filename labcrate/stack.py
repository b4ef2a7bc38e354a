"""Settings, engine and overlay -> what Compose is asked, and what it answers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from labcrate import shell
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

WAIT_S = 180
"""Seconds until both services must be healthy: 2 s are usual, a cold disk takes tens."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One lab as Compose sees it: the files it is made of and the values the tasks decided."""

    settings: Settings
    overlays: tuple[str, ...] = ()
    torch_backend: str = "auto"

    @property
    def build_env(self) -> dict[str, str]:
        """What the tasks decide for a build, beside .env; nothing else needs it."""
        digests = {f"LAB_{name.upper()}_INPUTS": self.inputs(name) for name in SERVICES}
        return {"TORCH_BACKEND": self.torch_backend, **digests}

    def inputs(self, service: str) -> str:
        """A digest of all that a service's image is built from: sources and arguments."""
        digest = hashlib.sha256()
        for name in SOURCES[service]:
            digest.update(name.encode() + b"\0" + (ROOT / "docker" / name).read_bytes() + b"\0")
        backend = self.torch_backend if service == "jupyter" else ""
        own = (self.settings.base_image, self.settings.uid, self.settings.gid, backend)
        digest.update(repr(own).encode())
        return digest.hexdigest()[:16]

    def compose(self, *arguments: str) -> tuple[str, ...]:
        """The argument list of a compose command; plain where the CPU stack alone will do."""
        files = [part for name in self.overlays for part in ("-f", name)]
        base = ("-f", "compose/compose.yaml", *files) if files else ()
        return ("docker", "compose", *base, *arguments)

    def ask(self, *arguments: str, timeout_s: float = 30.0) -> shell.Result:
        return shell.capture(self.compose(*arguments), timeout_s=timeout_s)

    def attach(self, *arguments: str) -> int:
        return shell.attach(self.compose(*arguments))

    def image(self, service: str = "jupyter") -> str:
        return f"{self.settings.project}/{service}"


def model(stack: Stack) -> dict[str, Any]:
    """Compose's own resolved model: what it would run, whatever .env and overlays say."""
    answer = stack.ask("config", "--format", "json")
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


def built(stack: Stack, service: str = "jupyter") -> str | None:
    """The digest of inputs that the service's image was built from; None: there is no image."""
    template = '{{index .Config.Labels "dev.labcrate.inputs"}}'
    answer = shell.capture(
        ("docker", "image", "inspect", "--format", template, stack.image(service))
    )
    return answer.stdout.strip() if answer.ok else None


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


FAILURES = (
    (
        r"failed to resolve source metadata|pull access denied",
        Code.BASE_IMAGE,
        "the base image is not here, and no registry gives it",
        "invoke setup (builds one where no registry answers), then run the same command again",
    ),
    (
        r"no space left on device|Errno 28|os error 28|don't have enough free space",
        Code.DISK_FULL,
        "the disk that the engine keeps its images on is full",
        "free some (docker system df; invoke clean --cache), then run the same command again",
    ),
    (
        r"error reading from server|cannot connect to the docker daemon|"
        r"transport is closing|closing transport|dial unix .*docker",
        Code.ENGINE_DOWN,
        "the engine stopped answering in the middle of the build",
        "invoke setup (starts it), then run the same command again",
    ),
    (
        r"failed to fetch|error sending request|tcp connect error|operation timed out|"
        r"temporary failure (in name resolution|resolving)|network is unreachable|"
        r"connection (refused|broken)|unexpected eof|end of file before message|"
        r"error decoding response body|request failed after",
        Code.NETWORK,
        "the package index cannot be reached, or broke off",
        "check the network and pip's index settings on this host, then run the same command again",
    ),
)
"""What a failed build's own words mean, the first that fits: pattern, code, problem, fix."""


def build_failure(text: str) -> LabError:
    """What to do about a failed build, from what it said."""
    for pattern, code, problem, fix in FAILURES:
        if re.search(pattern, text, re.IGNORECASE):
            return LabError(f"{problem}:\n{text}", fix=fix, code=code)
    return LabError(
        f"the build failed:\n{text}",
        fix="mend what it names above and run the same command again; nothing was changed",
        code=Code.BUILD,
    )


def drop_superseded(project: str) -> None:
    """Remove the images that rebuilds left without a name, but those that a container uses."""
    nameless = ("docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true")
    listed = shell.capture((*nameless, "--filter", f"label={LABEL}={project}")).stdout.split()
    for image in sorted(set(listed)):
        shell.capture(("docker", "image", "rm", image), timeout_s=60)


class Progress:
    """BuildKit's plain log, cut down to one line for each step and download."""

    STEP = re.compile(r"^#(\d+) \[([^]]+)\] (.*)")
    SAID = re.compile(r"^#\d+ [\d.]+ ((?:Resolved|Prepared|Installed|Downloading|Bytecode).*)")
    DONE = re.compile(r"^#(\d+) (DONE [\d.]+s|CACHED|ERROR.*|CANCELED)")

    def __init__(self) -> None:
        self.steps: dict[str, str] = {}
        self.shown: set[str] = set()

    def line(self, text: str) -> None:
        if step := self.STEP.match(text):
            stage, what = step[2].split()[-2:], step[3]
            name = f"{' '.join(step[2].split())}: {' '.join(what.split())[:60]}"
            if step[1] not in self.steps and "internal" not in stage:
                self.steps[step[1]] = name
        elif said := self.SAID.match(text):
            print(f"      {said[1]}", flush=True)
        elif (done := self.DONE.match(text)) and done[1] in self.steps:
            name = self.steps.pop(done[1])
            print(f"  {done[2]:<12} {name}", flush=True)


def running(stack: Stack) -> dict[str, dict[str, Any]]:
    """The lab's containers by service, as `docker compose ps` reports them."""
    answer = stack.ask("ps", "--all", "--format", "json")
    rows = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    return {row["Service"]: row for row in rows if row["Service"] in SERVICES}


def healthy(stack: Stack) -> bool:
    rows = running(stack)
    return len(rows) == len(SERVICES) and all(r["Health"] == "healthy" for r in rows.values())


def up(stack: Stack) -> shell.Result:
    """Start what is not running and wait for both services to be healthy."""
    return shell.stream(
        stack.compose("up", "--detach", "--wait", "--wait-timeout", str(WAIT_S), "--no-build")
    )


def held_ports(settings: Settings) -> Iterator[Problem]:
    """The lab's ports that something else holds, with who it is."""
    wanted = {
        "JUPYTER_PORT": (settings.bind_address, settings.jupyter_port),
        "TENSORBOARD_PORT": ("127.0.0.1", settings.tensorboard_port),
    }
    for name, (address, port) in wanted.items():
        project, holder = container_on(port)
        if project == settings.project or (not holder and port_is_free(address, port)):
            continue
        who = f"the container {holder}" if holder else process_on(port)
        yield Problem(
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
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = holder.read_text() if holder.exists() else "another task"
        print(f"Waiting for {who} in this clone (Ctrl-C to give up).", flush=True)
        lock.acquire()
    try:
        holder.write_text(f"`invoke {what}` (process {os.getpid()})")
        yield
    finally:
        lock.release()


def logs_of(stack: Stack, services: Sequence[str], lines: int = 15) -> str:
    return stack.ask("logs", "--no-color", "--tail", str(lines), *services).text
