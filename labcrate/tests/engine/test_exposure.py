"""Who can reach the running lab: this machine alone, unless its owner says otherwise."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import Lab, said
from faultlog import Happened, told
from web import get

from labcrate.errors import Code


def host_addresses() -> list[str]:
    """This machine's IPv4 addresses beside the loopback."""
    shown = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout
    return [address for address in shown.split() if ":" not in address]


@pytest.mark.attack("both ports from this machine's other addresses")
def test_ports_are_on_the_loopback_only(up_lab: Lab, happened: Happened) -> None:
    ports = [int(up_lab.env[name]) for name in ("JUPYTER_PORT", "TENSORBOARD_PORT")]
    addresses = host_addresses()
    assert addresses, "a machine without any other address proves nothing"
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=5).close()
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.rpartition(":")[2], 16) in ports:
                listening.add(local.rpartition(":")[0])
    assert listening <= {"0100007F"}, "127.0.0.1, as the kernel writes it"
    happened("connection refused", len(ports) * len(addresses))


@pytest.mark.attack("both services from a container in another network, by every address")
def test_another_network_reaches_nothing(up_lab: Lab, happened: Happened) -> None:
    """On the engine's default bridge, as any container that names no network."""
    networks = f"{up_lab.project}_default"
    template = '{{(index .NetworkSettings.Networks "' + networks + '").IPAddress}}'
    targets = []
    for service, inner, name in (
        ("jupyter", 8888, "JUPYTER_PORT"),
        ("tensorboard", 6006, "TENSORBOARD_PORT"),
    ):
        shown = up_lab.docker("inspect", "--format", template, up_lab.container(service))
        targets.append((shown.stdout.strip(), inner))
        targets += [(address, int(up_lab.env[name])) for address in host_addresses()]
    code = (
        "import socket, sys\n"
        f"for target in {targets!r}:\n"
        "    try: socket.create_connection(target, timeout=1).close(); print('OPEN', target)\n"
        "    except OSError: print('closed')\n"
    )
    image = f"{up_lab.project}/tensorboard"
    done = up_lab.docker("run", "--rm", "--network", "bridge", image, "python", "-c", code)
    assert done.returncode == 0, said(done)
    assert done.stdout.split() == ["closed"] * len(targets), done.stdout
    happened("none answers", len(targets))


@pytest.fixture
def exposed(up_lab: Lab) -> Iterator[Lab]:
    yield up_lab
    up_lab.set(BIND_ADDRESS="127.0.0.1")
    up_lab.invoke("up")


@pytest.mark.attack("BIND_ADDRESS on another interface: with a weak token, then with a strong one")
def test_exposing_takes_a_strong_token(exposed: Lab, happened: Happened) -> None:
    address, token = host_addresses()[0], exposed.env["JUPYTER_TOKEN"]
    before = exposed.container()
    for weak in ("letmein", "a" * 48, "0123456789abcdef"):
        exposed.set(BIND_ADDRESS=address, JUPYTER_TOKEN=weak)
        done = exposed.invoke("up", check=False)
        assert done.returncode == Code.SETTINGS
        assert "lets other machines in" in said(done)
        assert exposed.container() == before, "something was started all the same"
        happened(told(done))
    exposed.set(JUPYTER_TOKEN=token)
    done = exposed.invoke("up")
    assert "other machines can reach JupyterLab, unencrypted" in done.stdout
    base = f"http://{address}:{exposed.env['JUPYTER_PORT']}"
    assert get(f"{base}/api/status")[0] == 403
    assert get(f"{base}/api/status", Authorization=f"token {token}")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, int(exposed.env["TENSORBOARD_PORT"])), timeout=5)
    happened("with a strong one it is reached by its token, says so; TensorBoard stays")


@pytest.mark.attack(".env made readable for others, while the lab is up")
def test_a_readable_env_is_refused(up_lab: Lab, happened: Happened) -> None:
    path = up_lab.root / ".env"
    try:
        for mode in (0o644, 0o640, 0o604, 0o660):
            path.chmod(mode)
            done = up_lab.invoke("up", check=False)
            assert done.returncode == Code.ENV_READABLE
            assert f"(mode {mode:03o})" in said(done)
    finally:
        path.chmod(0o600)
    up_lab.invoke("up")
    happened(f"each time: {told(done)}", 4)
