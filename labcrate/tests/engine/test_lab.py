"""What the README promises of a running lab, on the real engine."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import Lab, said
from faultlog import Happened
from web import client, get, wait_for_runs

from labcrate.clone.limits import LEAST_PIDS
from labcrate.clone.rules import OPTIONAL

T = TypeVar("T")


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """What an action gives, and the seconds that it takes."""
    started = time.monotonic()
    return action(), time.monotonic() - started


def quickest(action: Callable[..., object], *arguments: str) -> float:
    """The measure for other seconds: a machine that is busy now is busy for both."""
    return min(timed(lambda: action(*arguments))[1] for _ in range(2))


def signals(lab: Lab, since: str) -> list[str]:
    """The signals that the lab's containers got."""
    until = lab.docker("info", "--format", "{{.SystemTime}}").stdout.strip()
    mine = ("--filter", f"label=com.docker.compose.project={lab.project}")
    form = ("--filter", "event=kill", "--format", "{{.Actor.Attributes.signal}}")
    return lab.docker("events", "--since", since, "--until", until, *mine, *form).stdout.split()


def test_setup_twice_says_already_and_is_quick(lab: Lab) -> None:
    lab.invoke("setup", "--yes")
    before = (lab.root / ".env").read_bytes()
    out = lab.invoke("setup", "--yes").stdout
    # 1 s against 0.3 s on an idle machine; it asks the engine, and makes nothing.
    assert quickest(lab.invoke, "setup", "--yes") < 8 * quickest(lab.invoke, "--list")
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert len(lines) == 5
    assert all("already" in line for line in lines), out
    assert (lab.root / ".env").read_bytes() == before


def test_env_is_private_and_complete(lab: Lab) -> None:
    assert stat.S_IMODE((lab.root / ".env").stat().st_mode) == 0o600
    assert len(lab.env["JUPYTER_TOKEN"]) >= 32


def test_up_again_leaves_kernels_alone(up_lab: Lab) -> None:
    kernel = client(up_lab).kernel()
    kernel.run("x = 41")
    out, seconds = timed(lambda: up_lab.invoke("up").stdout)
    assert "already up" in out
    # 2.0 s against 0.7 s on an idle machine.
    assert seconds < 6 * quickest(up_lab.docker, "compose", "up", "--detach", "--wait")
    assert kernel.run("print(x + 1)") == "42\n"
    kernel.close()


def test_plain_compose_changes_nothing(up_lab: Lab) -> None:
    before = up_lab.container()
    done = up_lab.docker("compose", "up", "-d", "--wait")
    assert done.returncode == 0, said(done)
    assert up_lab.container() == before


def test_quickstart_trains_and_tensorboard_shows_it(up_lab: Lab) -> None:
    """The whole loop, through the APIs that a browser uses."""
    notebook = json.loads((up_lab.root / "notebooks" / "01-quickstart.ipynb").read_text())
    kernel = client(up_lab).kernel()
    printed = "".join(
        kernel.run("".join(cell["source"]))
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    )
    kernel.close()
    assert "accuracy" in printed
    runs = wait_for_runs(up_lab)
    tags = json.loads(get(f"{up_lab.tensorboard}/data/plugin/scalars/tags")[1])
    run = runs[-1]
    tag = next(name for name in tags[run] if "accuracy" in name.lower())
    data = f"/data/plugin/scalars/scalars?run={run}&tag={tag}".replace(" ", "%20")
    values = [point[2] for point in json.loads(get(up_lab.tensorboard + data)[1])]
    assert max(values) > 0.95


@pytest.mark.fault("root as the caller, in a folder with a space, brackets, a letter beyond ASCII")
def test_files_belong_to_the_lab_user(up_lab: Lab, happened: Happened) -> None:
    for name in ("notebooks", "runs", "data", "models"):
        done = up_lab.exec("touch", f"/lab/{name}/made-inside")
        assert done.returncode == 0, said(done)
        made = up_lab.root / name / "made-inside"
        assert made.stat().st_uid == int(up_lab.env["LAB_UID"]) != 0
        made.unlink()
    happened(f"files written inside belong to uid {up_lab.env['LAB_UID']}, not to root", 4)


def launcher_folder(lab: Lab) -> str:
    """Where JupyterLab's launcher makes a new notebook, by the settings of its page."""
    status, page = get(f"{lab.jupyter}/lab", Authorization=f"token {lab.env['JUPYTER_TOKEN']}")
    assert status == 200
    found = re.search(r'"preferredPath": "([^"]*)"', page.decode())
    return found[1] if found else ""


def test_the_launcher_makes_notebooks_where_they_can_be_saved(up_lab: Lab) -> None:
    """Also in a folder of .env that is not there yet: the engine would make it as root."""
    folder = launcher_folder(up_lab)
    assert folder == "notebooks"
    made = client(up_lab).call(f"/api/contents/{folder}", "POST", {"type": "notebook"})
    (up_lab.root / made["path"]).unlink()
    up_lab.set(JUPYTER_DIR="/lab/notebooks/thesis/one")
    try:
        up_lab.invoke("up")
        folder = launcher_folder(up_lab)
        made = client(up_lab).call(f"/api/contents/{folder}", "POST", {"type": "notebook"})
        assert made["path"] == "notebooks/thesis/one/Untitled.ipynb"
        owners = {path.stat().st_uid for path in (up_lab.root / made["path"]).parents[:2]}
        assert owners == {int(up_lab.env["LAB_UID"])} != {0}
    finally:
        up_lab.set(JUPYTER_DIR="/lab/notebooks")
        up_lab.invoke("up")


def test_env_reaches_notebooks_without_the_token(up_lab: Lab) -> None:
    seen = up_lab.exec("env").stdout
    assert "TENSORBOARD_DIR=/lab/runs" in seen
    assert up_lab.env["JUPYTER_TOKEN"] not in seen


def test_nothing_shows_the_token(up_lab: Lab) -> None:
    token = up_lab.env["JUPYTER_TOKEN"]
    for service in ("jupyter", "tensorboard"):
        shown = [
            up_lab.docker("inspect", up_lab.container(service)),
            up_lab.docker("image", "inspect", f"{up_lab.project}/{service}"),
            up_lab.docker("history", "--no-trunc", f"{up_lab.project}/{service}"),
            up_lab.docker("top", up_lab.container(service), "-eo", "pid,args"),
            up_lab.docker("compose", "logs", service),
        ]
        assert all(one.returncode == 0 for one in shown)
        assert not [one.args for one in shown if token in said(one)]


def test_run_passes_arguments_and_exit_code(up_lab: Lab) -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    done = up_lab.invoke("run", "--", "python", "-c", code, "two words", "$(id)", check=False)
    assert "['two words', '$(id)']" in done.stdout
    assert done.returncode == 7


def test_status_tells_programs(up_lab: Lab) -> None:
    told = json.loads(up_lab.invoke("status", "--json").stdout)
    assert told["services"]["jupyter"]["health"] == "healthy"
    assert not told["stale"]


def test_health_checks_can_fail(up_lab: Lab) -> None:
    """Pause Jupyter's answers: the engine must notice, or `up --wait` proves nothing."""
    test = json.loads(
        up_lab.docker(
            "inspect", "--format", "{{json .Config.Healthcheck.Test}}", up_lab.container()
        ).stdout
    )
    assert up_lab.exec(*test[1:]).returncode == 0
    broken = [part.replace("8888", "8889") for part in test[1:]]
    assert up_lab.exec(*broken).returncode != 0


def test_token_change_is_taken_up(up_lab: Lab) -> None:
    old = up_lab.env["JUPYTER_TOKEN"]
    up_lab.set(JUPYTER_TOKEN="another-token-of-more-than-32-characters")
    up_lab.invoke("up")
    assert get(f"{up_lab.jupyter}/api/status", Authorization=f"token {old}")[0] == 403
    new = up_lab.env["JUPYTER_TOKEN"]
    assert get(f"{up_lab.jupyter}/api/status", Authorization=f"token {new}")[0] == 200


def test_down_keeps_the_users_things(up_lab: Lab) -> None:
    up_lab.exec("bash", "-c", "mkdir -p ~/.cache/x && echo kept > ~/.cache/x/model")
    (up_lab.root / "runs" / "keep").write_text("mine")
    since = up_lab.docker("info", "--format", "{{.SystemTime}}").stdout.strip()
    up_lab.invoke("down")
    assert "9" not in signals(up_lab, since), "a service had to be killed, ten seconds late"
    assert set(up_lab.left_over()) == {"volumes", "images"}
    assert (up_lab.root / "runs" / "keep").read_text() == "mine"
    assert up_lab.invoke("run", "--", "cat", "/home/lab/.cache/x/model").stdout.count("kept") == 1
    done = up_lab.docker("compose", "up", "-d", "--wait")
    assert done.returncode == 0, said(done)


def test_smoke_session_passes_and_reports(up_lab: Lab) -> None:
    done = up_lab.command((sys.executable, "-m", "nox", "-s", "smoke"), timeout=300)
    assert done.returncode == 0, said(done)
    assert "passed" in done.stdout
    assert (up_lab.root / "reports" / "cpu_smoke.xml").exists()


def test_no_consent_no_change(lab: Lab, tmp_path: Path) -> None:
    """Without an engine on PATH, a terminal or --yes: setup says what it would do, and stops."""
    path = tmp_path / "bin"
    path.mkdir()
    for tool in ("env", "git"):
        (path / tool).symlink_to(f"/usr/bin/{tool}")
    done = lab.invoke("setup", check=False, PATH=str(path))
    assert done.returncode == 24, said(done)
    assert "apt-get install" in said(done)


def test_bootstrap_makes_the_tools(lab: Lab) -> None:
    """The README's way in, from a clone without .venv."""
    done = subprocess.run(
        [sys.executable, str(lab.root / "bootstrap.py"), "invoke", "--list"],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert (done.returncode, "Available tasks" in done.stdout) == (0, True), said(done)


def test_the_log_of_a_fresh_lab_is_calm(up_lab: Lab) -> None:
    """A warning that is always there hides the one that matters."""
    up_lab.invoke("down")
    up_lab.invoke("up")
    logs = up_lab.docker("compose", "logs", "--no-color").stdout
    loud = [line for line in logs.splitlines() if re.search(r"\[[WEC] |Warning|Error|rror:", line)]
    assert loud == []
    # The container's own addresses lead nowhere outside.
    assert re.findall(r"https?://\S+:\d+\S*", logs) == []
    assert logs.count("`invoke url` prints its link") == 2


def processes_of(lab: Lab) -> int:
    told = lab.docker("stats", "--no-stream", "--format", "{{.PIDs}}", lab.container())
    return int(told.stdout)


def test_a_fork_bomb_ends_at_the_limit(up_lab: Lab) -> None:
    """Tried with the lowest limit, and only where the engine has it."""
    up_lab.set(PIDS_LIMIT=str(LEAST_PIDS))
    try:
        up_lab.invoke("up")
        for service in ("jupyter", "tensorboard"):
            told = up_lab.docker(
                "inspect", "--format", "{{.HostConfig.PidsLimit}}", up_lab.container(service)
            )
            assert told.stdout.strip() == str(LEAST_PIDS)
        kernel = client(up_lab).kernel()
        kernel.run(
            "import subprocess; subprocess.Popen(['bash', '-c', 'f() { f | f & }; f; wait'])"
        )
        deadline = time.monotonic() + 120
        while (most := processes_of(up_lab)) < 0.9 * LEAST_PIDS and time.monotonic() < deadline:
            pass
        assert 0.9 * LEAST_PIDS <= most <= LEAST_PIDS
        assert get(f"{up_lab.tensorboard}/data/runs")[0] == 200
        other = up_lab.docker(
            "run", "--rm", "--pids-limit", "64", f"{up_lab.project}/jupyter", "true"
        )
        assert other.returncode == 0, said(other)
        up_lab.invoke("down")
    finally:
        up_lab.set(PIDS_LIMIT=OPTIONAL["PIDS_LIMIT"])
        up_lab.invoke("up")
    assert client(up_lab).kernel().run("print(1 + 1)") == "2\n"
