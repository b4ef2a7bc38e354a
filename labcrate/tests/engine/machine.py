"""A bare machine with an engine of its own, which tests may kill, fill up and cut off.

It is a privileged container of the lab's base image: Debian 13 with Python and nothing else. The
project's own `setup` installs and starts an engine in it, so every fault hits that engine and
never the one of whoever runs the tests. The lab in there has no PyTorch (an empty lock), which
saves a minute and 6 GB: the faults are the engine's, the network's and the disk's.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from clone import ROOT, copy_tree, listing, said

from labcrate.clone import env_file, index_settings, rules
from labcrate.packages.locks import lock_header

CLONE = "/root/lab"
CA = "/usr/local/share/host-ca.pem"
KEEP = "notebooks/kept.ipynb"
"""A file of the user's, which no fault may cost."""

PACKAGES = ("python3", "python3-venv", "procps", "e2fsprogs", "iproute2", "faketime")
"""Python, and what the tests do their damage with."""

DISK = """
truncate -s 64G /disk/image && mkfs.ext4 -q -m 0 /disk/image && mkdir -p /var/lib/docker
mount -o loop,discard /disk/image /var/lib/docker
"""
"""The engine's data has a file system of its own, which a test can fill up without writing."""


@dataclass
class Machine:
    """The container that plays the machine. Every command runs in its clone, as its root."""

    name: str
    environ: dict[str, str] = field(default_factory=dict)

    def argv(self, *command: str, **environ: str) -> list[str]:
        pairs = {"SSL_CERT_FILE": CA, "PIP_CERT": CA, **self.environ, **environ}
        env = [part for name, value in pairs.items() for part in ("--env", f"{name}={value}")]
        return ["docker", "exec", "--interactive", "--workdir", CLONE, *env, self.name, *command]

    def run(
        self, *command: str, check: bool = True, timeout: float = 300, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*command, **environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            pytest.fail(f"{command} ended with {done.returncode}:\n{said(done)}")
        return done

    def sh(self, script: str, check: bool = True) -> str:
        return self.run("bash", "-c", script, check=check).stdout

    def invoke(
        self, *arguments: str, check: bool = True, **environ: Any
    ) -> subprocess.CompletedProcess[str]:
        return self.run(".venv/bin/python", "-m", "invoke", *arguments, check=check, **environ)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A task in the background, its output in one pipe."""
        return self.start_process(".venv/bin/python", "-u", "-m", "invoke", *arguments)

    def start_process(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def write(self, path: str, text: str) -> None:
        done = subprocess.run(
            self.argv("sh", "-c", 'cat > "$1"', "sh", path), input=text, text=True, check=True
        )
        assert done.returncode == 0

    def set(self, **values: str) -> None:
        self.write(".env", env_file.fill(self.run("cat", ".env").stdout, values))

    def bring_up(self) -> None:
        """The lab up, whatever was there before, and a file of the user's in it."""
        if self.run(".venv/bin/python", "-m", "invoke", "up", check=False).returncode:
            self.run("python3", "bootstrap.py", "invoke", "setup", "--yes", "up", timeout=600)
        self.write(KEEP, "mine")

    @contextmanager
    def full_disk(self, left_mb: int) -> Iterator[None]:
        """The engine's disk with no more than this left on it."""
        fill = "/var/lib/docker/fill"
        room = int(self.sh("df --output=avail -B1 /var/lib/docker").split()[1])
        self.sh(f"fallocate -l {room - left_mb * 10**6} {fill}")
        try:
            yield
        finally:
            self.sh(f"rm {fill}")

    def nothing_lost(self) -> bool:
        return self.run("cat", KEEP).stdout == "mine"

    def container(self, service: str = "jupyter") -> str:
        project = env_file.parse_env(self.run("cat", ".env").stdout)["COMPOSE_PROJECT_NAME"]
        return self.run("docker", *listing(project, service)).stdout.strip()

    def health(self, service: str = "jupyter") -> str:
        show = ("docker", "inspect", "--format", "{{.State.Health.Status}}")
        return self.run(*show, self.container(service), check=False).stdout.strip()

    def wait_healthy(self, timeout: float = 180) -> float:
        """Seconds until both services are healthy."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            if self.health() == self.health("tensorboard") == "healthy":
                return time.monotonic() - started
            time.sleep(0.5)
        pytest.fail(f"not healthy after {timeout} s: {self.health()} {self.health('tensorboard')}")

    def kill_engine(self, alone: bool = False) -> None:
        """As a power cut would: no process of the engine gets to say good-bye.

        alone: only dockerd, as when it crashes; the containers go on without it.
        """
        self.sh("pkill -KILL -x dockerd")
        if not alone:
            self.sh("pkill -KILL -x containerd; pkill -KILL containerd-shim")
        self.sh("while pgrep -x dockerd; do sleep 0.1; done")

    def labelled(self) -> dict[str, str]:
        """What carries the label of any lab on this machine's engine."""
        label = "label=dev.labcrate.project"
        kinds = {"containers": "ps -aq", "networks": "network ls -q", "volumes": "volume ls -q"}
        kinds["images"] = "image ls -q"
        found = {k: self.sh(f"docker {v} --filter {label}").strip() for k, v in kinds.items()}
        return {kind: ids for kind, ids in found.items() if ids}


def start_machine(base: str, work: Path, *more: str) -> Machine:
    """A running machine with a clone in it, and nothing done yet. more: options of `docker run`."""
    machine = Machine(name=f"labcrate-machine-{uuid.uuid4().hex[:8]}")
    options = ("--detach", "--privileged", "--init", "--volume", "/disk", "--workdir", CLONE, *more)
    subprocess.run(
        ["docker", "run", *options, "--name", machine.name, base, "sleep", "inf"],
        check=True,
        capture_output=True,
    )
    ca = work / "ca.pem"
    ca.write_bytes(index_settings.ca_bundle())
    subprocess.run(["docker", "cp", "--quiet", str(ca), f"{machine.name}:{CA}"], check=True)
    install = "apt-get update -qq && apt-get install -qq -y --no-install-recommends"
    machine.sh(f"{install} {' '.join(PACKAGES)} > /dev/null 2>&1")
    machine.sh(DISK)
    put_clone(machine, work)
    return machine


def put_clone(machine: Machine, work: Path) -> None:
    """The working tree, without PyTorch."""
    tree = copy_tree(work / "tree")
    (tree / "docker" / "torch.lock").write_text("# empty: see labcrate/tests/engine/machine.py\n")
    for name in ("packages.in", "settled.lock"):
        (tree / "docker" / name).write_text("")
    (tree / "docker" / "packages.lock").write_text(lock_header("packages.in", ""))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(tree, arcname=".")
    subprocess.run(
        ["docker", "exec", "--interactive", machine.name, "tar", "x", "-C", CLONE],
        input=buffer.getvalue(),
        check=True,
    )


def base_image() -> str:
    """The base image of this checkout's own lab, which the README's first command made."""
    own = env_file.read_env(ROOT / ".env") if (ROOT / ".env").exists() else {}
    return own.get("BASE_IMAGE") or rules.OPTIONAL["BASE_IMAGE"]
