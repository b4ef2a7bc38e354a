"""An editor's dev container is the lab's own container: tried with the editors' real CLI."""

from __future__ import annotations

import json
import subprocess

import pytest
from clone import Lab, said
from web import client

CLI = "@devcontainers/cli@0.89.0"
"""What VS Code's extension uses itself."""

pytestmark = pytest.mark.npm


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The CLI, in a folder that goes with the tests. It has no dependencies."""
    folder = tmp_path_factory.mktemp("npm")
    install = ("npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), CLI)
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return str(folder / "node_modules" / ".bin" / "devcontainer")


def identity(lab: Lab) -> list[str]:
    """The container, its image, when it started, and the labels that say what it was made for."""
    template = "{{.Id}} {{.Image}} {{.State.StartedAt}} {{json .Config.Labels}}"
    return lab.docker("inspect", "--format", template, lab.container()).stdout.split(maxsplit=3)


def test_an_editor_joins_the_labs_container(up_lab: Lab, cli: str) -> None:
    """Beside a busy kernel, which stays busy."""
    kernel = client(up_lab).kernel()
    before = identity(up_lab)
    try:
        kernel.send("import time; time.sleep(600)", "busy")
        folder = ("--workspace-folder", str(up_lab.root))
        done = up_lab.command((cli, "up", *folder), 300)
        assert done.returncode == 0, said(done)
        joined = json.loads(done.stdout.splitlines()[-1])
        assert joined["outcome"] == "success"
        assert joined["composeProjectName"] == up_lab.project
        assert joined["remoteWorkspaceFolder"] == "/lab"
        assert identity(up_lab) == before
        assert joined["containerId"] == before[0]
        here = ("--container-id", before[0], *folder)
        seen = up_lab.command((cli, "exec", *here, "sh", "-c", "id -u; pwd; ls"))
        assert seen.stdout.split() == [
            up_lab.env["LAB_UID"],
            "/lab",
            *("data", "models", "notebooks", "runs", "src"),
        ]
        assert client(up_lab).call(f"/api/kernels/{kernel.ident}")["execution_state"] == "busy"
    finally:
        kernel.close()


def test_a_lab_that_is_down_comes_up_for_it(up_lab: Lab, cli: str) -> None:
    """`initializeCommand` brings the lab up with its own means before anything is joined."""
    before = identity(up_lab)
    up_lab.invoke("down")
    done = up_lab.command((cli, "up", "--workspace-folder", str(up_lab.root)), 300)
    assert done.returncode == 0, said(done)
    after = identity(up_lab)
    assert json.loads(done.stdout.splitlines()[-1])["containerId"] == after[0] != before[0]
    assert after[1] == before[1]
