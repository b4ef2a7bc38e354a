"""setup, build, up, down: what is started, what is refused, and what is said."""

from __future__ import annotations

import socket
import stat
from collections.abc import Sequence

import pytest
from jupyter_server import JupyterServer
from machines import DRIVEN
from task_lab import PROJECT, TaskLab, answers, context, failed

from labcrate import environment
from labcrate.clone.env_file import read_env
from labcrate.errors import Code
from labcrate.gpu.record import read_proof
from labcrate.lab import lifecycle
from labcrate.tasks.starting import build, down, setup, up

RECREATE = " DRY-RUN MODE -  Container lab-test-1-jupyter-1  Recreate\n"


@pytest.fixture
def recreated(task_lab: TaskLab) -> TaskLab:
    """A lab of which the next `up` replaces JupyterLab."""
    task_lab.answer("docker", "compose", "--dry-run", "up", told=lambda: RECREATE)
    return task_lab


def starts(lab: TaskLab) -> list[tuple[str, ...]]:
    return lab.double.called("docker", "compose", "up", "--wait")


def proof(lab: TaskLab, message: str = "") -> None:
    """The quick proof passes, or fails with these words."""
    lab.double.expect(
        "docker", "compose", "run", "quick", returncode=1 if message else 0, stderr=message
    )


# up


def test_a_warm_up_takes_ten_processes_and_touches_nothing(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    up(context())
    assert task_lab.calls <= 10, task_lab.double.calls
    told = capsys.readouterr().out
    assert "already up; nothing was touched" in told
    assert not task_lab.double.called("build")


def stays(lab: TaskLab) -> None:
    """By Compose's dry run the next `up` has nothing to do."""
    names = ("jupyter", "tensorboard", "mlflow")
    said = "".join(f" DRY-RUN MODE -  Container {PROJECT}-{name}-1  Running\n" for name in names)
    lab.answer("docker", "compose", "--dry-run", "up", told=lambda: said)


def test_where_nothing_is_to_be_started_compose_is_not_asked_to(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    stays(task_lab)
    up(context())
    assert starts(task_lab) == []
    assert "already up; nothing was touched" in capsys.readouterr().out
    task_lab.containers["mlflow"] = {"state": "exited"}
    up(context())
    assert len(starts(task_lab)) == 1


def test_a_changed_token_is_seen_where_nothing_is_to_be_started(
    task_lab: TaskLab, jupyter_server: JupyterServer, capsys: pytest.CaptureFixture[str]
) -> None:
    stays(task_lab)
    jupyter_server.token = "another"
    up(context())
    assert "The token in .env changed" in capsys.readouterr().out
    assert len(starts(task_lab)) == 1


def test_a_log_of_up_has_no_token(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    (task_lab.clone.root / "notebooks" / "01-quickstart.ipynb").touch()
    up(context())
    told = capsys.readouterr().out
    port = task_lab.ports["jupyter"]
    assert f"  jupyter      http://127.0.0.1:{port}/\n" in told
    assert f"http://127.0.0.1:{port}/lab/tree/notebooks/01-quickstart.ipynb\n" in told
    assert "invoke url" in told
    assert "t" * 48 not in told


def test_up_says_where_on_what_and_how_to_stop(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "is_read_at_once", lambda: True)
    (task_lab.clone.root / "notebooks" / "01-quickstart.ipynb").touch()
    up(context())
    told = capsys.readouterr().out
    port = task_lab.ports["jupyter"]
    lines = (
        f"  jupyter      http://127.0.0.1:{port}/lab?token={'t' * 48}",
        f"  tensorboard  http://127.0.0.1:{task_lab.ports['tensorboard']}/",
        f"  mlflow       http://127.0.0.1:{task_lab.ports['mlflow']}/",
        f"/lab/tree/notebooks/01-quickstart.ipynb?token={'t' * 48}",
        "  gpu          on the CPU: ",
        "  stop         invoke down",
    )
    assert [line for line in lines if line not in told] == []
    assert told.endswith("invoke down\n")


def test_a_lab_that_is_down_is_started(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.down()
    up(context())
    assert len(starts(task_lab)) == 1
    assert "  up (" in capsys.readouterr().out
    assert not task_lab.double.called("--dry-run", "up")


def built(lab: TaskLab) -> None:
    """Builds succeed, and no image was left without a name."""
    lab.double.expect("docker", "compose", "build", does=lambda *_: lab.built.clear())
    lab.double.expect("docker", "image", "ls")


def test_what_changed_is_built_first(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    task_lab.built = {"jupyter": "old"}
    built(task_lab)
    up(context())
    (command,) = task_lab.double.called("docker", "compose", "build")
    assert command[-1] == "jupyter"
    calls = task_lab.double.calls
    assert calls.index(command) < calls.index(starts(task_lab)[0])
    told = capsys.readouterr().out
    assert "pytorch      pypi: the image has it" in told
    assert "  built (" in told


def test_quiet_shows_the_result_alone(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.built = {"jupyter": "old"}
    built(task_lab)
    up(context(), quiet=True)
    told = capsys.readouterr().out
    assert told.startswith(f"  jupyter      http://127.0.0.1:{task_lab.ports['jupyter']}/\n")
    assert told.endswith("invoke down\n")
    assert not [word for word in ("$ docker", "pytorch", "built", "up (") if word in told]


def test_quiet_says_what_ends(recreated: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    recreated.work["idle"] = ["eda.ipynb"]
    up(context(), quiet=True)
    assert "kernels, whose variables go: eda.ipynb" in capsys.readouterr().out


@pytest.mark.usefixtures("task_lab")
def test_a_dry_run_is_never_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    up(context(dry=True), quiet=True)
    assert "$ docker compose up" in capsys.readouterr().out


def test_tensorboard_alone_says_nothing_of_pytorch(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.built = {"tensorboard": "old"}
    built(task_lab)
    up(context())
    assert "pytorch" not in capsys.readouterr().out


def test_no_build_starts_what_is_there(task_lab: TaskLab) -> None:
    task_lab.built = {"jupyter": "old"}
    up(context(), no_build=True)
    assert not task_lab.double.called("build")
    assert len(starts(task_lab)) == 1


def test_what_computes_is_spared(recreated: TaskLab) -> None:
    recreated.work["busy"] = ["train.ipynb", "python x.py"]
    code, message = failed(up)
    assert code == Code.BUSY
    assert "this is at work: train.ipynb, python x.py" in message
    assert "fix: wait for it, or lose what it computes: invoke up --force" in message
    assert starts(recreated) == []


def test_force_replaces_it(recreated: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    recreated.work["busy"] = ["train.ipynb"]
    up(context(), force=True)
    told = capsys.readouterr().out
    assert "  at work: train.ipynb" in told
    assert "Replacing jupyter" in told
    assert len(starts(recreated)) == 1


def idle(lab: TaskLab) -> None:
    """A kernel with variables, and a package that somebody installed by hand."""
    lab.work |= {"idle": ["eda.ipynb"], "packages": {"einops": "0.8.2"}}
    lab.double.expect("docker", "run", "installed", stdout="{}")


LOST = ("kernels, whose variables go: eda.ipynb", "would keep it: einops 0.8.2")


def test_up_names_what_goes_with_jupyter(
    recreated: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is at the terminal, so it goes on."""
    idle(recreated)
    up(context())
    told = capsys.readouterr().out
    assert [words for words in LOST if words not in told] == []
    assert len(starts(recreated)) == 1


@pytest.mark.parametrize("said", ["n", "y", None])
def test_up_asks_at_a_terminal(
    recreated: TaskLab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str | None,
) -> None:
    idle(recreated)
    answers(monkeypatch, said)
    up(context())
    assert len(starts(recreated)) == (said == "y")
    assert ("Nothing was replaced" in capsys.readouterr().out) is (said != "y")


def test_a_run_is_not_ups_to_end(recreated: TaskLab) -> None:
    recreated.runs = {"train": {}}
    up(context())
    assert len(starts(recreated)) == 1


def test_another_service_is_replaced_without_a_question(task_lab: TaskLab) -> None:
    task_lab.work["busy"] = ["train.ipynb"]
    said = RECREATE.replace("jupyter", "mlflow")
    task_lab.answer("docker", "compose", "--dry-run", "up", told=lambda: said)
    up(context())
    assert len(starts(task_lab)) == 1


def test_a_taken_port_stops_it_before_anything_is_built(task_lab: TaskLab) -> None:
    task_lab.down()
    task_lab.built = {"jupyter": "old"}
    with socket.socket() as other:
        other.bind(("127.0.0.1", task_lab.ports["mlflow"]))
        other.listen()
        code, message = failed(up)
    assert code == Code.PORT_TAKEN
    assert f"port {task_lab.ports['mlflow']} of the service mlflow is taken by process" in message
    assert not task_lab.double.called("build")


def test_a_changed_token_restarts_jupyter(
    task_lab: TaskLab, jupyter_server: JupyterServer, capsys: pytest.CaptureFixture[str]
) -> None:
    jupyter_server.token = "the old one"
    up(context())
    (command,) = task_lab.double.called("up", "--force-recreate")
    assert command[-1] == "jupyter"
    assert "The token in .env changed" in capsys.readouterr().out


def test_a_restart_for_the_token_that_fails_is_an_error(
    task_lab: TaskLab, jupyter_server: JupyterServer
) -> None:
    jupyter_server.token = "the old one"
    task_lab.double.expect("docker", "compose", "logs", stdout="boom")
    task_lab.double.expect("docker", "compose", "up", "--force-recreate", returncode=1)
    code, message = failed(up)
    assert (code, "boom" in message) == (Code.UNHEALTHY, True)


def test_a_changed_token_spares_what_computes(
    task_lab: TaskLab, jupyter_server: JupyterServer
) -> None:
    jupyter_server.token = "the old one"
    task_lab.work["busy"] = ["train.ipynb"]
    code, message = failed(up)
    assert (code, "train.ipynb" in message) == (Code.BUSY, True)
    assert not task_lab.double.called("up", "--force-recreate")
    up(context(), force=True)
    assert len(task_lab.double.called("up", "--force-recreate")) == 1


def test_a_changed_token_is_asked_for_at_a_terminal(
    task_lab: TaskLab,
    jupyter_server: JupyterServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    jupyter_server.token = "the old one"
    idle(task_lab)
    answers(monkeypatch, "n")
    up(context())
    assert "keeps the token that it was started with" in capsys.readouterr().out
    assert not task_lab.double.called("up", "--force-recreate")


def test_a_service_that_was_stopped_by_hand_is_not_nothing(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.containers["tensorboard"]["state"] = "exited"

    def started() -> str:
        task_lab.containers["tensorboard"]["state"] = "running"
        return ""

    task_lab.answer("docker", "compose", "up", "--wait", told=started)
    up(context())
    told = capsys.readouterr().out
    assert "nothing was touched" not in told
    assert "  up (" in told


def test_a_paused_service_goes_on(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    task_lab.containers["jupyter"]["state"] = "paused"
    goes_on = lambda *_: task_lab.containers["jupyter"].pop("state")  # noqa: E731
    task_lab.double.expect("docker", "compose", "unpause", "jupyter", does=goes_on)
    up(context())
    calls = task_lab.double.calls
    (command,) = task_lab.double.called("unpause")
    # Nothing can be asked of it before.
    assert calls.index(command) < calls.index(starts(task_lab)[0])
    told = capsys.readouterr().out
    assert "Paused by hand, goes on: jupyter." in told
    assert "nothing was touched" not in told


def test_a_service_that_was_paused_for_long_is_given_time_and_not_restarted(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checks failed meanwhile; a restart would end its kernels."""
    one = task_lab.containers["jupyter"]
    one |= {"state": "paused", "health": "unhealthy"}
    task_lab.double.expect("docker", "compose", "unpause", does=lambda *_: one.pop("state"))
    monkeypatch.setattr(lifecycle.time, "sleep", lambda _: one.pop("health", None))
    up(context())
    assert one == {}
    assert not task_lab.double.called("restart")


def test_one_that_does_not_recover_is_restarted(
    hung: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hung.containers["jupyter"]
    one["state"] = "paused"
    hung.double.expect("docker", "compose", "unpause", does=lambda *_: one.pop("state"))
    monkeypatch.setattr(lifecycle, "RECOVERY_S", 0.0)
    monkeypatch.setattr(lifecycle.time, "sleep", lambda _: None)
    up(context())
    assert len(hung.double.called("restart")) == 1


def test_a_paused_service_that_stays_so_is_an_error(task_lab: TaskLab) -> None:
    task_lab.containers["jupyter"]["state"] = "paused"
    task_lab.double.expect("docker", "compose", "unpause", stderr="no", returncode=1)
    code, message = failed(up)
    assert (code, "invoke down --force" in message) == (Code.UNHEALTHY, True)


@pytest.fixture
def hung(task_lab: TaskLab) -> TaskLab:
    """JupyterLab runs and does not answer, until it is restarted."""
    task_lab.containers["jupyter"]["health"] = "unhealthy"
    recovers = lambda *_: task_lab.containers["jupyter"].pop("health")  # noqa: E731
    task_lab.double.expect("docker", "compose", "restart", does=recovers)
    return task_lab


def test_a_hung_jupyterlab_is_restarted(hung: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    hung.work["unasked"] = "timed out"
    up(context())
    (command,) = hung.double.called("restart")
    assert command[-2:] == ("restart", "jupyter")
    told = capsys.readouterr().out
    assert "Restarting jupyter: it runs and does not answer." in told
    assert "timed out" in told
    assert "nothing was touched" not in told


def test_a_hung_jupyterlab_whose_kernels_compute_is_spared(hung: TaskLab) -> None:
    hung.work |= {"unasked": "timed out", "busy": ["kernel 1a2b3c4d"]}
    code, message = failed(up)
    assert (code, "kernel 1a2b3c4d" in message) == (Code.BUSY, True)
    assert not hung.double.called("restart")
    up(context(), force=True)
    assert len(hung.double.called("restart")) == 1


def test_a_hung_board_is_restarted_without_a_question(task_lab: TaskLab) -> None:
    task_lab.containers["tensorboard"]["health"] = "unhealthy"
    task_lab.double.expect("docker", "compose", "restart")
    up(context())
    (command,) = task_lab.double.called("restart")
    assert command[-1] == "tensorboard"
    assert not task_lab.double.called("docker", "exec", "work")


def test_what_is_replaced_is_not_restarted_before(recreated: TaskLab) -> None:
    recreated.containers["jupyter"]["health"] = "unhealthy"
    up(context())
    assert not recreated.double.called("restart")


def test_a_restart_that_fails_is_an_error(hung: TaskLab) -> None:
    hung.double.expect("docker", "compose", "restart", stderr="no such device", returncode=1)
    code, message = failed(up)
    assert (code, "no such device" in message) == (Code.UNHEALTHY, True)


def test_folders_that_the_lab_cannot_write_are_said(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a changed LAB_UID everything is still the old owner's."""
    task_lab.containers["jupyter"]["check"] = '{"cannot_write": ["/home/lab", "/lab/runs"]}'
    up(context())
    told = capsys.readouterr().out
    assert "cannot write in /home/lab, /lab/runs" in told
    assert "`invoke doctor` has the fix" in told


def test_the_first_notebook_is_below_an_own_base_url(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.containers["jupyter"]["check"] = '{"base_url": "/x/"}'
    (task_lab.clone.root / "notebooks" / "01-quickstart.ipynb").touch()
    up(context())
    port = task_lab.ports["jupyter"]
    told = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}/x/lab/tree/notebooks/01-quickstart.ipynb\n" in told


def test_a_lab_that_does_not_come_up_shows_its_last_words(task_lab: TaskLab) -> None:
    task_lab.double.expect("docker", "compose", "up", "--wait", stdout="unhealthy", returncode=1)
    task_lab.double.expect("docker", "compose", "logs", stdout="ImportError: boom\n")
    code, message = failed(up)
    assert code == Code.UNHEALTHY
    assert "ImportError: boom" in message


def test_what_happened_meanwhile_is_said(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.containers["jupyter"] = {"restarts": 2}
    up(context())
    assert "  note: jupyter: ended and was restarted 2 times" in capsys.readouterr().out


def test_other_machines_are_warned_of(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.set(BIND_ADDRESS="0.0.0.0", JUPYTER_TOKEN="0123456789abcdef" * 3)
    up(context())
    assert "other machines can reach JupyterLab" in capsys.readouterr().out


def test_missing_folders_are_made(task_lab: TaskLab) -> None:
    (task_lab.clone.root / "models").rmdir()
    up(context())
    assert (task_lab.clone.root / "models").is_dir()


def test_a_dry_up_asks_and_changes_nothing(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.down()
    built(task_lab)
    task_lab.built = {"jupyter": "old"}
    before = sorted(path.name for path in task_lab.clone.state.iterdir())
    up(context(dry=True))
    told = capsys.readouterr().out
    assert "$ TORCH_BACKEND=auto docker compose" in told
    assert "$ docker compose up --detach --wait" in told
    assert "  built (" not in told
    assert not task_lab.double.called("docker", "compose", "build")
    assert starts(task_lab) == []
    assert sorted(path.name for path in task_lab.clone.state.iterdir()) == before


@pytest.mark.parametrize("gpu", ["maybe", "ON"])
def test_an_unknown_way_is_refused(task_lab: TaskLab, gpu: str) -> None:
    code, message = failed(up, gpu=gpu)
    assert (code, f"--gpu {gpu} is not a choice" in message) == (Code.SETTINGS, True)
    assert starts(task_lab) == []


# up, with a GPU


@pytest.fixture
def gpu(task_lab: TaskLab) -> TaskLab:
    """A lab whose GPU is offered; what `up` starts has it."""
    task_lab.offer_gpu()
    task_lab.down()
    overlay = {"gpu": "gpu-cdi nvidia.com/gpu=all"}

    def start(argv: Sequence[str], _stdin: str | None) -> None:
        told = overlay if "compose/gpu-cdi.yaml" in argv else {}
        ident = f"with-{bool(told)}"
        task_lab.containers = {"jupyter": {**told, "id": ident}, "tensorboard": {}, "mlflow": {}}

    task_lab.double.expect("docker", "compose", "up", "--wait", does=start)
    return task_lab


def test_a_gpu_is_proven_once_for_each_container(
    gpu: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    proof(gpu)
    up(context())
    told = capsys.readouterr().out
    assert "  the GPU computes (" in told
    assert "gpu          nvidia.com/gpu=all through CDI: " in told
    up(context())
    assert len(gpu.double.called("docker", "compose", "run", "quick")) == 1
    record = read_proof(gpu.clone, "with-True")
    assert record is not None
    assert record.cause == ""


def test_auto_goes_on_without_a_gpu_that_does_not_work(
    gpu: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    proof(gpu, "CUDA error: no kernel image")
    up(context(), gpu="auto")
    told = capsys.readouterr().out
    assert "the GPU is there and does not work: CUDA error: no kernel image" in told
    assert "The lab goes on on the CPU." in told
    assert "THE GPU IS NOT USED: the GPU is there and does not work" in told.splitlines()[-2]
    first, second = starts(gpu)
    assert ("compose/gpu-cdi.yaml" in first, "compose/gpu-cdi.yaml" in second) == (True, False)
    capsys.readouterr()
    up(context())
    assert "compose/gpu-cdi.yaml" not in starts(gpu)[-1]
    assert "no kernel image" in capsys.readouterr().out


def test_on_fails_with_a_gpu_that_does_not_work(gpu: TaskLab) -> None:
    proof(gpu, "CUDA error: no kernel image")
    code, message = failed(up, gpu="on")
    assert (code, "no kernel image" in message) == (Code.GPU_PROOF, True)
    assert len(starts(gpu)) == 1


def test_a_card_that_stays_unused_is_said_before_the_build_and_last(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """A card and a driver, and no container toolkit."""
    task_lab.host = DRIVEN
    task_lab.built["jupyter"] = "old"
    built(task_lab)
    up(context())
    lines = capsys.readouterr().out.splitlines()
    loud = [n for n, line in enumerate(lines) if line.startswith("THE GPU IS NOT USED: the engine")]
    building = next(n for n, line in enumerate(lines) if line.startswith("Building jupyter"))
    assert [loud[0] < building, loud[1:] == [len(lines) - 2]] == [True, True], lines
    fix = "  fix: install nvidia-container-toolkit, then: sudo nvidia-ctk cdi generate"
    assert [lines[n + 1].startswith(fix) for n in loud] == [True, True]
    assert "H100" in lines[-2]


@pytest.mark.parametrize("setting", [{"GPU": "off"}, {"TORCH_BACKEND": "cpu"}])
def test_a_card_that_was_switched_off_is_not_complained_of(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str], setting: dict[str, str]
) -> None:
    task_lab.host = DRIVEN
    task_lab.set(**setting)
    up(context(), no_build=True)
    assert "NOT USED" not in capsys.readouterr().out


def test_off_asks_for_no_gpu(gpu: TaskLab) -> None:
    up(context(), gpu="off")
    assert "compose/gpu-cdi.yaml" not in starts(gpu)[0]


def test_on_without_any_gpu_fails(task_lab: TaskLab) -> None:
    code, _ = failed(up, gpu="on")
    assert code == Code.GPU_NOT_OFFERED
    assert starts(task_lab) == []


@pytest.mark.parametrize(("mode", "goes_on"), [("auto", True), ("on", False)])
def test_an_engine_that_refuses_the_gpu(
    gpu: TaskLab, capsys: pytest.CaptureFixture[str], mode: str, goes_on: bool
) -> None:
    said = 'could not select device driver "cdi"'
    gpu.double.expect(
        "docker", "compose", "compose/gpu-cdi.yaml", "up", "--wait", stdout=said, returncode=1
    )
    gpu.double.expect("docker", "compose", "compose/gpu-cdi.yaml", "logs")
    if goes_on:
        up(context(), gpu=mode)
        assert "the engine cannot give the GPU to the lab" in capsys.readouterr().out
    else:
        assert failed(up, gpu=mode)[0] == Code.GPU_NOT_OFFERED


def test_a_dry_up_proves_nothing(gpu: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    up(context(dry=True))
    assert "compose/gpu-cdi.yaml" in capsys.readouterr().out
    assert not gpu.double.called("docker", "compose", "run")


# build, down


def test_build_does_nothing_where_nothing_changed(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    build(context())
    assert "up to date; nothing was built" in capsys.readouterr().out
    assert not task_lab.double.called("docker", "compose", "build")


def test_build_builds_what_is_missing_and_starts_nothing(task_lab: TaskLab) -> None:
    """Without an image, PyTorch's index is asked for the CPU's build."""
    task_lab.absent = {"jupyter", "tensorboard"}
    task_lab.double.expect("uv", "pip", "compile", stdout="torch==2.14.0+cpu\n")
    built(task_lab)
    build(context())
    (command,) = task_lab.double.called("docker", "compose", "build")
    assert command[-2:] == ("jupyter", "tensorboard")
    assert starts(task_lab) == []


def test_down_stops_it_all(task_lab: TaskLab) -> None:
    task_lab.double.expect("docker", "compose", "down", "--remove-orphans")
    down(context())
    assert task_lab.double.calls[-1][-2:] == ("down", "--remove-orphans")


@pytest.mark.parametrize("at_terminal", [False, True])
@pytest.mark.parametrize("what", ["kernel", "run"])
def test_down_spares_what_computes(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch, what: str, at_terminal: bool
) -> None:
    if what == "run":
        task_lab.runs = {"train": {}}
    else:
        task_lab.work["busy"] = ["train.ipynb"]
    if at_terminal:
        answers(monkeypatch, "y")
    code, message = failed(down)
    assert (code, "train" in message, "invoke down --force" in message) == (Code.BUSY, True, True)
    assert not task_lab.double.called("docker", "compose", "down")


def test_down_by_force_stops_it_all(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    task_lab.runs = {"train": {}}
    task_lab.double.expect("docker", "compose", "down", "--remove-orphans")
    down(context(), force=True)
    assert "  at work: the run train" in capsys.readouterr().out
    assert len(task_lab.double.called("docker", "compose", "down")) == 1


def test_a_run_that_ended_keeps_nobody(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.runs = {"train": {"state": "exited", "status": "Exited (0) 2 hours ago"}}
    task_lab.double.expect("docker", "compose", "down", "--remove-orphans")
    down(context())
    assert "train" not in capsys.readouterr().out


def test_down_in_a_script_names_what_goes_and_goes_on(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    idle(task_lab)
    task_lab.double.expect("docker", "compose", "down", "--remove-orphans")
    down(context())
    told = capsys.readouterr().out
    assert [words for words in LOST if words not in told] == []
    assert len(task_lab.double.called("docker", "compose", "down")) == 1


@pytest.mark.parametrize("said", ["", "y", None])
def test_down_asks_at_a_terminal(
    task_lab: TaskLab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str | None,
) -> None:
    idle(task_lab)
    task_lab.double.expect("docker", "compose", "down", "--remove-orphans")
    answers(monkeypatch, said)
    down(context())
    assert len(task_lab.double.called("docker", "compose", "down")) == (said == "y")
    assert ("Nothing was stopped." in capsys.readouterr().out) is (said != "y")


def test_down_asks_nothing_where_nothing_is_lost(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "n")
    task_lab.double.expect("docker", "compose", "down", "--remove-orphans")
    down(context())
    assert len(task_lab.double.called("docker", "compose", "down")) == 1


def test_a_dry_down_stops_nothing(task_lab: TaskLab, capsys: pytest.CaptureFixture[str]) -> None:
    down(context(dry=True))
    assert "$ docker compose down" in capsys.readouterr().out
    assert not task_lab.double.called("down")


# setup


def test_setup_refuses_a_path_that_builds_cannot(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = task_lab.clone.root.rename(task_lab.clone.root.with_name('a,"b'))
    monkeypatch.chdir(moved)
    code, told = failed(setup)
    assert (code, "which builds cannot" in told) == (Code.FOLDER, True)
    assert task_lab.calls == 0


def test_setup_changes_nothing_that_is_right(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.double.expect("docker", "image", "inspect", "debian:trixie-slim")
    before = task_lab.clone.env_file.read_text()
    setup(context(), yes=True)
    told = capsys.readouterr().out
    for name in ("engine", ".env", "folders", "base image"):
        assert f"  {name:<18} already " in told
    assert told.endswith("Ready. Next: invoke up\n")
    assert task_lab.clone.env_file.read_text() == before
    assert (task_lab.clone.state / "parts" / "guard.py").exists()


def test_setup_says_what_a_card_lacks(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole of it is in test_gpu_toolkit.py."""
    task_lab.host = DRIVEN
    task_lab.double.expect("docker", "image", "inspect", "debian:trixie-slim")
    setup(context(), yes=True)
    told = capsys.readouterr().out
    assert "gpu                NOT USED: the engine offers no GPU" in told
    assert told.endswith("Ready. Next: invoke up\n")


def test_a_first_setup_writes_env(task_lab: TaskLab) -> None:
    task_lab.clone.env_file.rename(task_lab.clone.example_file)
    task_lab.double.expect("docker", "image", "inspect", "debian:trixie-slim")
    setup(context())
    assert stat.S_IMODE(task_lab.clone.env_file.stat().st_mode) == 0o600
    assert read_env(task_lab.clone.env_file)["COMPOSE_PROJECT_NAME"] == "lab-test-1"


def test_a_dry_first_setup_ends_before_env(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.clone.env_file.rename(task_lab.clone.example_file)
    setup(context(dry=True))
    assert "This dry run ends here" in capsys.readouterr().out
    assert not task_lab.clone.env_file.exists()


def test_setup_asks_before_it_starts_an_engine(task_lab: TaskLab) -> None:
    task_lab.info = {"ServerErrors": ["Cannot connect"]}
    task_lab.double.expect("docker", "info", returncode=1, stderr="Cannot connect")
    task_lab.double.expect("docker", "--version", stdout="Docker version 28.5.2, build x")
    code, message = failed(setup)
    assert code in (Code.CONSENT, Code.ENGINE_MISSING)
    assert "fix: " in message
