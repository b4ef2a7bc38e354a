"""An sshd of the tests' own on this machine's loopback, which plays the server, and a laptop."""

from __future__ import annotations

import os
import pty
import pwd
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from clone import clean_environ, copy_tree

from labcrate.clone import ports

SSHD = "/usr/sbin/sshd"
HOME = "127.0.0.1"

SERVER = """
ListenAddress {home}
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""

CLIENT = """
Host stranger
  UserKnownHostsFile {folder}/none
Host changed
  UserKnownHostsFile {folder}/changed
Host nobody
  PubkeyAuthentication no
Host away
  Port {away}
Host closed
  IdentityFile {folder}/bound
Host *
  HostName {home}
  Port {port}
  User {user}
  IdentityFile {folder}/mine
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile /dev/null
"""
"""ssh's own settings of the laptop: names for the server as it is, and for what can be wrong."""


@dataclass
class Server:
    """folder: its keys, and the settings of both sides. port: where it listens."""

    folder: Path
    port: int
    child: subprocess.Popen[bytes]

    def cut(self) -> None:
        """End every connection as a reboot would; the sshd itself stays."""
        for pid in reversed(descendants(self.child.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes below one, parents first."""
    found = []
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def make_key(path: Path) -> str:
    """A new key pair; the public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that lets this user in by key, until the end of the block."""
    if not Path(SSHD).exists():
        pytest.fail(f"no {SSHD} here: apt-get install openssh-server")
    port = ports.free_port(20_022, set())
    names = ("host", "other", "mine", "bound")
    host, other, mine, bound = (make_key(folder / name) for name in names)
    (folder / "authorized").write_text(f"{mine}\nno-port-forwarding {bound}\n")
    (folder / "known").write_text(f"[{HOME}]:{port} {host}\n")
    (folder / "changed").write_text(f"[{HOME}]:{port} {other}\n")
    user = pwd.getpwuid(os.getuid()).pw_name
    away = ports.free_port(port + 1, set())
    values = {"home": HOME, "port": port, "away": away, "folder": folder, "user": user}
    (folder / "server").write_text(SERVER.format(**values))
    (folder / "client").write_text(CLIENT.format(**values))
    (folder / "bin").mkdir()
    ssh = folder / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {shlex.quote(str(folder / "client"))} "$@"\n')
    ssh.chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # The package's service makes it as it starts.
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "server")], stderr=log)
    server = Server(folder=folder, port=port, child=child)
    try:
        wait_until(lambda: not ports.port_is_free(HOME, port), (folder / "log").read_text)
        yield server
    finally:
        child.terminate()
        child.wait()


def wait_until(done: Callable[[], bool], why: Callable[[], str], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s: {why()}")
        time.sleep(0.05)


@dataclass
class Laptop:
    """A clone on a machine that has ssh, and neither an engine nor a .env."""

    root: Path
    bin: Path

    @property
    def environ(self) -> dict[str, str]:
        return {**clean_environ(), "PATH": str(self.bin)}

    def tunnel(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A tunnel that is to fail. Nobody is at the terminal, so ssh can ask nobody."""
        return subprocess.run(
            [sys.executable, "-m", "invoke", "tunnel", *arguments],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
        )

    @contextmanager
    def open_tunnel(self, *arguments: str) -> Iterator[Opened]:
        """A tunnel that is open, in a terminal."""
        reader, writer = pty.openpty()
        child = subprocess.Popen(
            [sys.executable, "-m", "invoke", "tunnel", *arguments],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
        )
        os.close(writer)
        opened = Opened(child=child, reader=reader)
        try:
            opened.read_until("Ctrl-C")
            yield opened
        finally:
            opened.end(signal.SIGINT)
            os.close(reader)


@dataclass
class Opened:
    """said: all that the task has printed so far."""

    child: subprocess.Popen[bytes]
    reader: int
    said: str = ""

    def read_until(self, words: str) -> None:
        """words: "": to its end."""
        while not words or words not in self.said:
            try:
                part = os.read(self.reader, 65536).decode(errors="replace")
            except OSError:
                part = ""
            self.said += part
            if not part:
                break
        assert words in self.said, self.said

    @property
    def links(self) -> dict[str, str]:
        rows = [line.split() for line in self.said.splitlines() if "http://" in line]
        return dict(rows)

    def end(self, signum: int | None = None) -> int:
        """Its exit code, once it ended."""
        if signum and self.child.poll() is None:
            self.child.send_signal(signum)
        self.read_until("")
        return self.child.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture(scope="module")
def laptop(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    root = copy_tree(tmp_path_factory.mktemp("laptop") / "lab")
    return Laptop(root=root, bin=server.folder / "bin")
