"""The table of failures against this engine's own words: each failure is made, not quoted.

Recorded texts age; an engine of another version that words a failure differently fails here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clone import Lab, said

from labcrate import known
from labcrate.errors import Code
from labcrate.lab.images import build_failure

FAKE_ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(200)
"""The head of a program for arm64, which is all that the kernel looks at; on arm64 itself it is a
broken one, which ends alike."""

SHM = """
import mmap
with open("/dev/shm/x", "wb+") as file:
    file.truncate(1 << 26)
    mmap.mmap(file.fileno(), 1 << 26)[:] = bytes(1 << 26)
"""

COMPOSE = """
services: {{a: {{image: {image}, command: "true", {key}}}}}
"""
RESERVE = "deploy: {{resources: {{reservations: {{devices: [{{{}}}]}}}}}}"


def told(text: str) -> str:
    found = known.recognise(text)
    assert found is not None, text
    return found.name


def run(lab: Lab, *arguments: str) -> str:
    """What a container of the lab's small image says as it fails."""
    label = f"dev.labcrate.project={lab.project}"
    done = lab.docker("run", "--rm", "--network", "none", "--label", label, *arguments)
    assert done.returncode != 0
    return said(done)


@pytest.fixture
def image(up_lab: Lab) -> str:
    return f"{up_lab.project}/tensorboard"


@pytest.mark.parametrize(
    ("name", "options", "command"),
    [
        ("gpu-runtime-unknown", ("--runtime", "nvidia-none-such"), ("true",)),
        ("cdi-unresolvable", ("--device", "nvidia.com/gpu=none-such"), ("true",)),
        ("ulimit-refused", ("--ulimit", "nofile=2000000000:2000000000"), ("true",)),
        ("folder-missing", ("--mount", "type=bind,src=/no/such,dst=/x"), ("true",)),
        ("permission", ("--user", "4321"), ("touch", "/usr/x")),
        ("permission", ("--user", "4321"), ("python3", "-c", "open('/usr/x', 'w')")),
        ("home-permission", ("--user", "4321"), ("python3", "-c", "open('/.local', 'w')")),
        ("no-user-name", ("--user", "4321"), ("python3", "-c", "import pwd; pwd.getpwuid(4321)")),
        ("disk-full", ("--tmpfs", "/t:size=1m,mode=1777"), ("dd", "if=/dev/zero", "of=/t/x")),
        ("no-libgl", (), ("python3", "-c", "import ctypes; ctypes.CDLL('libGL.so.1')")),
        ("no-libcuda", (), ("python3", "-c", "import ctypes; ctypes.CDLL('libcuda.so.1')")),
        ("no-library", (), ("python3", "-c", "import ctypes; ctypes.CDLL('libfoo-1.0.so.0')")),
        (
            "nofile",
            ("--ulimit", "nofile=20:20"),
            ("python3", "-c", "x = [open('/etc/passwd') for _ in range(50)]"),
        ),
        (
            "tensorboard-host",
            (),
            ("tensorboard", "--logdir", "/tmp", "--host", "0.0.0.0", "--bind_all"),
        ),
    ],
)
def test_a_container_that_fails(
    up_lab: Lab, image: str, name: str, options: tuple[str, ...], command: tuple[str, ...]
) -> None:
    assert told(run(up_lab, *options, image, *command)) == name


def test_a_gpu_that_the_engine_does_not_have(up_lab: Lab, image: str) -> None:
    done = up_lab.docker("run", "--rm", "--network", "none", "--gpus", "all", image, "true")
    if done.returncode:
        found = known.recognise(said(done), "start")
        assert found is not None, said(done)
        assert found.code is Code.GPU_NOT_OFFERED
    else:
        assert up_lab.docker("info").stdout.count("nvidia"), "a GPU from an engine that has none"


def test_a_program_for_another_processor(up_lab: Lab, image: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(FAKE_ELF)
    program.chmod(0o755)
    mount = f"type=bind,src={program},dst=/program"
    assert told(run(up_lab, "--mount", mount, image, "/program")) == "exec-format"


@pytest.mark.parametrize(("name", "code"), [("oom", 137), ("shm", 135)])
def test_a_service_that_is_killed(up_lab: Lab, image: str, name: str, code: int) -> None:
    """Compose's own line for it, with the status that the kernel's signal really left."""
    script = SHM if name == "shm" else "x = bytearray(1 << 30)"
    limit = () if name == "shm" else ("--memory", "64m", "--memory-swap", "64m")
    options = ("run", "--rm", "--network", "none", "--shm-size", "1m", *limit)
    done = up_lab.docker(*options, image, "python3", "-c", script)
    assert done.returncode == code
    assert told(f"container lab-jupyter-1 exited ({done.returncode})") == name


@pytest.fixture
def held() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_that_is_taken(up_lab: Lab, image: str, held: int) -> None:
    """By a process, and by another container: the engine words them differently."""
    for name, port in (("port-of-a-process", held), ("port-of-a-container", jupyter_port(up_lab))):
        done = up_lab.docker("run", "--rm", "--publish", f"127.0.0.1:{port}:1", image, "true")
        found = known.recognise(said(done), "start")
        assert found is not None, said(done)
        assert (found.name, str(port) in found.problem) == (name, True)


def jupyter_port(lab: Lab) -> int:
    return int(lab.env["JUPYTER_PORT"])


def test_a_name_that_is_taken(up_lab: Lab, image: str) -> None:
    name = f"{up_lab.project}-jupyter-1"
    done = up_lab.docker("create", "--name", name, image, "true")
    assert told(said(done)) == "name-conflict"


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("engine-lost", {"DOCKER_HOST": "unix:///no"}),
        ("context-missing", {"DOCKER_CONTEXT": "none-such"}),
        ("api-too-old", {"DOCKER_API_VERSION": "1.20"}),
        ("api-too-new", {"DOCKER_API_VERSION": "1.999"}),
    ],
)
def test_an_engine_that_cannot_be_spoken_to(
    up_lab: Lab, name: str, environ: dict[str, Any]
) -> None:
    assert told(said(up_lab.command(("docker", "ps"), **environ))) == name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("compose-key", "gpuz: all"),
        ("compose-capabilities", RESERVE.format("driver: nvidia, count: all")),
        (
            "compose-count-and-ids",
            RESERVE.format('driver: nvidia, count: 1, device_ids: ["0"], capabilities: [gpu]'),
        ),
        ("compose-yaml", "a: ["),
    ],
)
def test_a_compose_file_that_is_refused(
    up_lab: Lab, image: str, tmp_path: Path, name: str, key: str
) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE.format(image=image, key=key))
    done = up_lab.docker("compose", "--file", str(path), "config")
    assert told(said(done)) == name


def test_compose_outside_the_clone(tmp_path: Path) -> None:
    outside = Lab(root=tmp_path)
    assert told(said(outside.docker("compose", "ps"))) == "compose-no-file"


@pytest.mark.parametrize(
    ("name", "dockerfile", "options"),
    [
        ("build-stage", "FROM {base}\n", ("--target", "none-such")),
        (
            "build-secret",
            "FROM {base}\nRUN --mount=type=secret,id=uv.toml,required=true true\n",
            (),
        ),
        ("oom", "FROM {base}\nRUN sh -c 'kill -9 $$'\n", ()),
        ("disk-full", "FROM {base}\nRUN echo 'No space left on device'; exit 1\n", ()),
    ],
)
def test_a_build_that_fails(
    up_lab: Lab, tmp_path: Path, name: str, dockerfile: str, options: tuple[str, ...]
) -> None:
    (tmp_path / "Dockerfile").write_text(dockerfile.format(base=up_lab.env["BASE_IMAGE"]))
    command = ("buildx", "build", "--progress", "plain", *options, str(tmp_path))
    done = up_lab.docker(*command)
    found = known.recognise(said(done), "build")
    assert found is not None, said(done)
    assert found.name == name
    assert build_failure(said(done)).fix == found.fix
