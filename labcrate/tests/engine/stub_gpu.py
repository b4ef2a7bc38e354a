"""A stub of a GPU: a CDI specification and an nvidia-smi that is a script.

It proves wiring: what the engine lists, what the tasks choose, what reaches the container. It has
no device and no driver, so it never proves CUDA.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import Machine

SPEC = "/etc/cdi/labcrate-test-stub.json"
SMI_IN_CONTAINER = "/usr/local/bin/stub-smi"
SMI_OF_MACHINE = "/usr/local/bin/nvidia-smi"


def specification(smi: str = "", cards: int = 2) -> str:
    """Devices 0, 1, ... and all; each leaves its name in the container's environment."""
    devices = [
        {"name": name, "containerEdits": {"env": [f"STUB_{name.upper()}=yes"]}}
        for name in (*map(str, range(cards)), "all")
    ]
    mount = {"hostPath": smi, "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "bind"]}
    edits = {"containerEdits": {"mounts": [mount]}} if smi else {}
    spec = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices, **edits}
    return json.dumps(spec, indent=2)


def smi(driver: str, name: str = "NVIDIA Stub", capability: str = "9.0") -> str:
    row = f"0, GPU-5b, {name}, {capability}, {driver}, [N/A], 81559 MiB"
    return f"#!/bin/sh\necho '{row}'\n"


@contextmanager
def on_this_engine() -> Iterator[None]:
    """The stub on the engine of whoever runs the tests, for as short a time as can be."""
    path = Path(SPEC)
    made = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    path.write_text(specification())
    try:
        yield
    finally:
        path.unlink()
        if made:
            path.parent.rmdir()


def put_script(machine: Machine, path: str, text: str) -> None:
    machine.write(path, text)
    machine.run("chmod", "755", path)


FORKY = """
mirror=$(sed -n 's/^URIs: //p; s/^deb \\(\\[[^]]*\\] \\)\\?\\([^ ]*\\).*/\\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1)
cat > /etc/apt/sources.list.d/forky.sources <<END
Types: deb
URIs: $mirror
Suites: forky
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
printf 'Package: *\\nPin: release n=forky\\nPin-Priority: 50\\n' > /etc/apt/preferences.d/forky
apt-get -o Acquire::Check-Valid-Until=false update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    docker.io/forky docker-cli/forky docker-buildx/forky docker-compose/forky containerd/forky
pkill -x dockerd; while pgrep -x dockerd; do sleep 0.1; done
"""


def with_cdi(machine: Machine) -> None:
    """Debian 13's own engine, 26.1, does not list CDI devices; 28.5 of the next release does."""
    version = machine.sh("docker version --format '{{.Server.Version}}'", check=False)
    if not version.startswith(("28.", "29.")):
        machine.run("bash", "-c", FORKY, timeout=300)
    machine.invoke("setup", "--yes")
