"""An editor's dev container is the lab's own container: tried with the editors' real CLI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clone import Lab, said
from conftest import AWKWARD, copy_without_torch, remove_lab
from web import client

pytestmark = pytest.mark.npm


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


@pytest.mark.usefixtures("kept_layers")
def test_a_fresh_clone_comes_up_for_it(cli: str, tmp_path: Path) -> None:
    """Nothing was typed in it: no .env, no .venv. It has no PyTorch, which saves 6 GB."""
    root = tmp_path / AWKWARD
    copy_without_torch(root)
    tmp_path.chmod(0o755)
    lab = Lab(root=root)
    try:
        done = lab.command((cli, "up", "--workspace-folder", str(root)), 600)
        assert done.returncode == 0, said(done)
        joined = json.loads(done.stdout.splitlines()[-1])
        assert joined["containerId"] == lab.container()
        assert "nothing was touched" in lab.invoke("up").stdout
    finally:
        if (root / ".env").exists():
            remove_lab(lab)
