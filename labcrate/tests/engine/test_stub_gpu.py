"""The way to a GPU, on a real engine, with a GPU that is a stub; and an engine without any."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clone import Lab, said
from machine import CLONE, Machine
from stub_gpu import (
    SMI_IN_CONTAINER,
    SMI_OF_MACHINE,
    SPEC,
    on_this_engine,
    put_script,
    smi,
    specification,
    with_cdi,
)

from labcrate import labels
from labcrate.errors import Code

PASSES = """
import os, pytest, shutil

@pytest.fixture(scope="session", autouse=True)
def about():
    return {}

@pytest.mark.quick
@pytest.mark.gpu
def test_the_stub_reached_this_container():
    assert shutil.which("nvidia-smi") or os.environ["NVIDIA_VISIBLE_DEVICES"] == "0"
"""
"""The proof of a lab without PyTorch that shall pass one. It still needs the overlay."""

PROOF = "labcrate/smoke/suite/test_cuda.py"

FORWARD = """
import asyncio

async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    # Half closed: a command without input still has output to send.
    writer.write_eof()

async def one(reader, writer):
    up = await asyncio.open_unix_connection("/var/run/docker.sock")
    await asyncio.gather(copy(reader, up[1]), copy(up[0], writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(one, "127.0.0.1", 2399)
    await server.serve_forever()

asyncio.run(main())
"""


def test_on_is_refused_at_once_and_before_any_build(lab: Lab) -> None:
    before = lab.container()
    lock = lab.root / "docker" / "apt.txt"
    text = lock.read_text()
    lock.write_text(text + "# something to build\n")
    done = lab.invoke("up", "--gpu", "on", check=False)
    lock.write_text(text)
    assert done.returncode == Code.GPU_NOT_OFFERED
    assert "error: no GPU: no NVIDIA driver is loaded on this machine" in said(done)
    assert "Building" not in said(done)
    assert lab.container() == before


def test_auto_says_why_it_is_on_the_cpu(up_lab: Lab) -> None:
    out = up_lab.invoke("up").stdout
    assert "on the CPU: no NVIDIA driver is loaded on this machine" in out
    assert "on the CPU: GPU is off" in up_lab.invoke("up", "--gpu", "off").stdout


def test_gpu_smoke_fails_and_names_the_cause(up_lab: Lab) -> None:
    done = up_lab.command((sys.executable, "-m", "nox", "-s", "gpu_smoke"))
    assert done.returncode != 0
    assert "no NVIDIA driver is loaded on this machine" in said(done)


def test_gpu_smoke_fails_on_a_stub_at_the_first_cuda_check(up_lab: Lab) -> None:
    """The real PyTorch in the real container: an engine that lists a GPU may have none."""
    with on_this_engine():
        done = up_lab.command((sys.executable, "-m", "nox", "-s", "gpu_smoke"), timeout=180)
    assert done.returncode != 0
    assert "no working CUDA: the container has no GPU device" in said(done)
    kept = json.loads((up_lab.root / "reports" / "gpu_smoke.json").read_text())
    assert kept["results"][0]["test"] == "test_cuda_is_available"
    assert {row["outcome"] for row in kept["results"]} == {"failed"}
    assert kept["tests"] == len({row["test"] for row in kept["results"]}) > 15
    assert (up_lab.root / "reports" / "gpu_smoke.xml").read_text().count("<testcase") > 15


@pytest.fixture(scope="module")
def engine(machine: Machine) -> Machine:
    """The machine with an engine that knows CDI, and a lab that was never up."""
    machine.run("python3", "bootstrap.py", "invoke", "setup", "--yes", timeout=600)
    with_cdi(machine)
    put_script(machine, SMI_IN_CONTAINER, smi("580.95.05"))
    machine.run("mkdir", "-p", "/etc/cdi")
    return machine


@pytest.fixture
def stub(engine: Machine) -> Iterator[Machine]:
    """The machine with the stub for a GPU, .env and proof as they come."""
    engine.write(SPEC, specification(SMI_IN_CONTAINER))
    env = engine.run("cat", ".env").stdout
    proof = engine.run("cat", PROOF).stdout
    yield engine
    engine.sh(f"rm -f {SPEC} {SMI_OF_MACHINE}")
    engine.write(".env", env)
    engine.write(PROOF, proof)


def proof_passes(machine: Machine) -> None:
    machine.write(PROOF, PASSES)


def inside(machine: Machine) -> set[str]:
    """The devices whose edits reached the running container."""
    # Of the first process: what is started by `exec` does not get what CDI adds.
    command = ("docker", "exec", machine.container(), "cat", "/proc/1/environ")
    pairs = machine.run(*command).stdout.split("\0")
    return {pair.partition("=")[0] for pair in pairs if pair.startswith("STUB_")}


def labels_of(machine: Machine) -> dict[str, str]:
    template = "{{json .Config.Labels}}"
    found: dict[str, str] = json.loads(
        machine.run("docker", "inspect", "--format", template, machine.container()).stdout
    )
    return found


def test_auto_takes_the_gpu_and_every_verb_works_with_it(stub: Machine) -> None:
    proof_passes(stub)
    out = stub.invoke("up").stdout
    assert "nvidia.com/gpu=all through CDI: the engine offers it; its driver is unknown" in out
    assert "the GPU computes" in out
    assert inside(stub) == {"STUB_ALL"}
    before = stub.container()
    again = stub.invoke("up").stdout
    assert "already up" in again
    assert "the GPU computes" not in again, "a container that passed is not proven again"
    assert stub.container() == before
    assert json.loads(stub.invoke("status", "--json").stdout)["gpu"] == ["nvidia.com/gpu=all"]
    assert "JupyterLab has the GPU: nvidia.com/gpu=all" in stub.invoke("status").stdout
    assert "NVIDIA Stub" in stub.invoke("run", "--", "nvidia-smi").stdout
    assert "NVIDIA Stub" in stub.sh("echo nvidia-smi | .venv/bin/python -m invoke shell")
    assert "http://" in stub.invoke("url").stdout
    assert "jupyter" in stub.invoke("logs").stdout
    stub.invoke("down")
    assert not stub.container()
    # Where no lab runs, `run` decides as `up` would.
    assert "NVIDIA Stub" in stub.invoke("run", "--", "nvidia-smi").stdout


@pytest.mark.npm
def test_an_editor_joins_the_container_with_the_gpu(stub: Machine, cli: str) -> None:
    """What the editor's own CLI starts would have neither the GPU nor its label."""
    proof_passes(stub)
    stub.invoke("up")
    before = (stub.container(), labels_of(stub), inside(stub))
    stub.sh("apt-get install -qq -y --no-install-recommends nodejs > /dev/null 2>&1")
    package = Path(cli).parent
    copied = ("docker", "cp", "--quiet", str(package), f"{stub.name}:/root/cli")
    subprocess.run(copied, check=True)
    done = stub.run("node", "/root/cli/devcontainer.js", "up", "--workspace-folder", CLONE)
    assert json.loads(done.stdout.splitlines()[-1])["containerId"] == before[0]
    assert (stub.container(), labels_of(stub), inside(stub)) == before
    assert before[2] == {"STUB_ALL"}
    assert "nvidia.com/gpu=all" in before[1][labels.GPU]


def test_off_wins_over_the_offer_and_run_has_what_runs(stub: Machine) -> None:
    assert "on the CPU: GPU is off" in stub.invoke("up", "--gpu", "off").stdout
    assert inside(stub) == set()
    assert "yes" not in stub.invoke("run", "--", "sh", "-c", "echo $STUB_ALL").stdout
    assert json.loads(stub.invoke("status", "--json").stdout)["gpu"] == []


def test_a_failed_proof_with_auto_is_told_and_ends_on_the_cpu(stub: Machine) -> None:
    """This lab has no PyTorch, so the real proof fails."""
    stub.invoke("down")
    out = stub.invoke("up").stdout
    assert "the GPU is there and does not work: ModuleNotFoundError: No module named 'torch'" in out
    assert "The lab goes on on the CPU" in out
    assert (stub.health(), inside(stub)) == ("healthy", set())
    before = stub.container()
    again = stub.invoke("up").stdout
    assert "on the CPU: the GPU is there and does not work" in again
    assert "to use a GPU: invoke up --gpu on (tries again)" in again
    assert stub.container() == before, "the second `up` must leave kernels alone"


def test_a_failed_proof_with_on_ends_in_an_error_and_leaves_the_lab_up(stub: Machine) -> None:
    for _ in range(2):
        done = stub.invoke("up", "--gpu", "on", check=False)
        assert done.returncode == Code.GPU_PROOF, said(done)
        assert "No module named 'torch'" in said(done)
        assert (stub.health(), inside(stub)) == ("healthy", {"STUB_ALL"})


def test_a_list_reaches_the_container_and_a_wrong_one_is_refused(stub: Machine) -> None:
    proof_passes(stub)
    stub.set(GPU_DEVICES="1")
    assert "nvidia.com/gpu=1 through CDI" in stub.invoke("up").stdout
    assert inside(stub) == {"STUB_1"}
    assert "yes" in stub.invoke("run", "--", "sh", "-c", "echo $STUB_1").stdout
    stub.set(GPU_DEVICES="0,1")
    stub.invoke("up")
    assert inside(stub) == {"STUB_0", "STUB_1"}
    before = stub.container()
    stub.set(GPU_DEVICES="0,7")
    done = stub.invoke("up", check=False)
    assert done.returncode == Code.GPU_NOT_OFFERED
    assert "names 7" in said(done)
    assert "use some of: 0, 1, all" in said(done)
    assert stub.container() == before


def test_compose_typed_by_hand(stub: Machine) -> None:
    """With the overlay in COMPOSE_FILE the GPU's lab stays as it is."""
    proof_passes(stub)
    stub.set(COMPOSE_FILE="compose/compose.yaml:compose/gpu-cdi.yaml")
    stub.invoke("up")
    before = stub.container()
    stub.run("docker", "compose", "up", "-d", "--wait")
    assert stub.container() == before
    # And the tasks' own files make the very same containers.
    stub.set(COMPOSE_FILE="compose/compose.yaml")
    assert "already up" in stub.invoke("up").stdout
    assert stub.container() == before


COPY = """
set -e
here=$(sed -n 's/^COMPOSE_PROJECT_NAME=//p' .env)
cp -a . /root/pool-$1
cd /root/pool-$1
sed -i "s/^COMPOSE_PROJECT_NAME=.*/COMPOSE_PROJECT_NAME=pool-$1/
    s/^GPU_DEVICES=.*/GPU_DEVICES=free/; s/^JUPYTER_PORT=.*/JUPYTER_PORT=181$1/
    s/^TENSORBOARD_PORT=.*/TENSORBOARD_PORT=182$1/; s/^SEARCH_PORT=.*/SEARCH_PORT=183$1/" .env
for service in jupyter tensorboard; do docker tag $here/$service pool-$1/$service; done
"""
"""Another clone with the same images, a name and ports of its own, and a card that is free."""

REMOVE = """
docker ps -aq --filter name=pool- | xargs -r docker rm -f
docker image ls --format '{{.Repository}}' | grep ^pool- | xargs -r docker rmi
docker volume ls -q --filter name=pool- | xargs -r docker volume rm
docker network ls -q --filter name=pool- | xargs -r docker network rm
rm -rf /root/pool-*
"""


def test_of_five_labs_at_once_three_get_a_card_each(stub: Machine) -> None:
    """One stays up and keeps its card; one is killed and gives it back; `gpus` shows it all."""
    stub.write(SPEC, specification(SMI_IN_CONTAINER, cards=3))
    stub.invoke("up", "--gpu", "off")
    stub.invoke("down", "--force")
    proof_passes(stub)
    names = [f"{n:02}" for n in range(10, 15)]
    try:
        for name in names:
            stub.run("bash", "-c", COPY, "bash", name)
        script = "cd /root/pool-$1 && exec .venv/bin/python -u -m invoke up --no-build"
        ups = {name: stub.start_process("bash", "-c", script, "bash", name) for name in names}
        told = {name: one.communicate(timeout=240)[0] for name, one in ups.items()}
        codes = {name: one.returncode for name, one in ups.items()}
        assert sorted(codes.values()) == [0, 0, 0, 42, 42], told
        has = cards_of(stub)
        assert sorted(has.values()) == [["0"], ["1"], ["2"]]
        assert set(has) == {f"pool-{name}" for name, code in codes.items() if code == 0}
        lost = next(name for name, code in codes.items() if code)
        assert all(f": {lab}, since " in told[lost] for lab in has)

        killed, kept = sorted(has)[:2]
        stub.run("docker", "rm", "--force", f"{killed}-jupyter-1")
        other = kept.removeprefix("pool-")
        ident = stub.run("docker", "inspect", "--format", "{{.Id}}", f"{kept}-jupyter-1").stdout
        again = stub.run("bash", "-c", script, "bash", other).stdout
        assert "already up; nothing was touched" in again
        assert "it has this already" in again
        same = stub.run("docker", "inspect", "--format", "{{.Id}}", f"{kept}-jupyter-1").stdout
        assert same == ident

        out = stub.run("bash", "-c", script, "bash", lost).stdout
        assert "through CDI: it was free" in out
        assert cards_of(stub)[f"pool-{lost}"] == has[killed]
    finally:
        stub.sh(REMOVE, check=False)


def cards_of(machine: Machine) -> dict[str, list[str]]:
    """The cards of each lab, as `invoke gpus` tells programs."""
    told = json.loads(machine.invoke("gpus", "--json").stdout)
    found: dict[str, list[str]] = {}
    for card in told["cards"]:
        for lab in card["labs"]:
            found.setdefault(lab["lab"], []).append(str(card["index"]))
    return found


def test_a_driver_too_old_for_any_build(stub: Machine) -> None:
    put_script(stub, SMI_OF_MACHINE, smi("470.256.02"))
    out = stub.invoke("up").stdout
    assert "on the CPU: the NVIDIA driver 470.256.02 is too old" in out
    done = stub.invoke("up", "--gpu", "on", check=False)
    assert done.returncode == Code.GPU_PROOF
    assert "fix: update the driver to 580 or newer" in said(done)


def test_an_engine_that_refuses_the_gpu(stub: Machine) -> None:
    """A stale specification: what it mounts is gone. Only the start of a container shows it."""
    stub.write(SPEC, specification("/no/such/file"))
    stub.invoke("down")
    done = stub.invoke("up", "--gpu", "on", check=False)
    assert done.returncode == Code.GPU_NOT_OFFERED, said(done)
    out = stub.invoke("up").stdout
    assert "The lab goes on on the CPU" in out
    assert stub.health() == "healthy"


def test_the_runtime_way(stub: Machine) -> None:
    """A registered runtime `nvidia`, here a script around the usual one, and a card."""
    proof_passes(stub)
    stub.run("rm", SPEC)
    put_script(stub, SMI_OF_MACHINE, smi("580.95.05"))
    put_script(stub, "/usr/local/bin/stub-runtime", '#!/bin/sh\nexec runc "$@"\n')
    stub.write(
        "/etc/docker/daemon.json",
        json.dumps({"runtimes": {"nvidia": {"path": "/usr/local/bin/stub-runtime"}}}),
    )
    stub.sh("pkill -HUP -x dockerd; sleep 0.5")
    stub.set(GPU_DEVICES="0")
    try:
        out = stub.invoke("up").stdout
        assert "0 through the runtime `nvidia`: NVIDIA Stub, driver 580.95.05" in out
        assert "the GPU computes" in out
        env = stub.run("docker", "compose", "exec", "-T", "jupyter", "env").stdout
        assert "NVIDIA_VISIBLE_DEVICES=0\n" in env
        template = "{{.HostConfig.Runtime}}"
        used = stub.run("docker", "inspect", "--format", template, stub.container()).stdout
        assert used.strip() == "nvidia"
    finally:
        stub.invoke("down", check=False)
        # A file without the key would leave the runtime registered.
        stub.write("/etc/docker/daemon.json", '{"runtimes": {}}')
        stub.sh("pkill -HUP -x dockerd; sleep 0.5; rm /etc/docker/daemon.json")
        assert "nvidia" not in stub.sh("docker info --format '{{json .Runtimes}}'")


def test_a_far_engine_is_asked_itself(stub: Machine) -> None:
    """This machine's own card would be refused; the one behind the engine is what counts."""
    proof_passes(stub)
    put_script(stub, SMI_OF_MACHINE, smi("470.256.02"))
    server = stub.start_process("python3", "-c", FORWARD)
    far: dict[str, Any] = {"DOCKER_HOST": "tcp://127.0.0.1:2399"}
    stub.sh("for i in $(seq 50); do ss -ltn | grep -q :2399 && break; sleep 0.1; done")
    try:
        assert "through CDI" in stub.invoke("up", "--gpu", "on", **far).stdout
        assert inside(stub) == {"STUB_ALL"}
        put_script(stub, SMI_IN_CONTAINER, smi("470.1"))
        done = stub.invoke("up", "--gpu", "on", check=False, **far)
        assert done.returncode == Code.GPU_PROOF
        assert "470.1 is too old" in said(done)
        put_script(stub, SMI_OF_MACHINE, smi("580.95.05"))
        stub.run("rm", SPEC)
        # The engine notices the missing file by itself, a moment later.
        stub.sh("for i in $(seq 50); do docker info | grep -q nvidia.com || break; sleep 0.1; done")
        done = stub.invoke("up", "--gpu", "on", check=False, **far)
        assert done.returncode == Code.GPU_NOT_OFFERED
        assert "the engine at tcp://127.0.0.1:2399 offers no GPU" in said(done)
    finally:
        put_script(stub, SMI_IN_CONTAINER, smi("580.95.05"))
        stub.sh("pkill -f 127.0.0.1.*2399", check=False)
        server.wait(10)
