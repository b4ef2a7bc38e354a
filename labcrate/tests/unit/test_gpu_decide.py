"""What is made of the answers: mode, GPU and build together, for the lab that a snapshot shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from double import Double
from machines import BARE, DRIVEN, HOOKED, MISMATCH, OLD, PAIR, make_cards, make_engine
from small_clone import VALUES

from labcrate import process
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings, make_settings
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Host
from labcrate.gpu.decide import (
    LISTED,
    Decision,
    Sources,
    as_started,
    choose_gpu_and_build,
    decide,
    gpu_refused,
    index_answers,
    overlays,
    running_choice,
)
from labcrate.gpu.devices import ALL
from labcrate.gpu.offer import Choice, device_overlay
from labcrate.gpu.record import remember_proof
from labcrate.gpu.torch_build import Build
from labcrate.lab.compose import JUPYTER, Lab, Model
from labcrate.lab.containers import Container
from labcrate.lab.images import Image
from labcrate.lab.snapshot import Snapshot

IDENT = "1" * 64
SOME = Choice(overlay="gpu-cdi", devices=("nvidia.com/gpu=1",), reason="")
WHOLE = Choice(overlay="gpu-cdi", devices=("nvidia.com/gpu=all",), reason="")
FAR_SMI = "0, GPU-0a, Tesla P100, 6.0, 535.183.01, [N/A], 16384 MiB\n"


def make_snapshot(
    clone: Clone,
    *,
    backend: str = "",
    gpu: str | None = None,
    state: str = "running",
    env: Mapping[str, str] | None = None,
) -> Snapshot:
    """A lab with this build in its image. gpu: the label of its JupyterLab; None: none is there."""
    settings = make_settings({**VALUES, **(env or {})}, clone)
    jupyter = Container(id=IDENT, service=JUPYTER, state=state, gpu=gpu or "")
    image = Image(id="sha256:1", name="lab-test-1/jupyter", service=JUPYTER, backend=backend)
    return Snapshot(
        lab=Lab(settings=settings, torch_backend=backend or "pypi"),
        model=Model(project=settings.project, raw={}, services={}),
        containers={} if gpu is None else {JUPYTER: jupyter},
        images={JUPYTER: image} if backend else {},
    )


def on_machine(
    monkeypatch: pytest.MonkeyPatch, host: Host, snapshot: Snapshot, engine: Engine, mode: str = ""
) -> Decision:
    """The decision on a machine with this hardware."""
    monkeypatch.setattr("labcrate.gpu.decide.read_host", lambda: host)
    return decide(snapshot, engine, mode)


def choose(
    clone: Clone, mode: str, engine: Engine, host: Host, env: Mapping[str, str] | None = None
) -> tuple[Choice, Build, Host]:
    """The pure part, where PyTorch's index does not answer and no image is there."""
    sources = Sources(
        settings=make_settings({**VALUES, **(env or {})}, clone),
        engine=engine,
        host=host,
        image="",
        cards_of=lambda _choice: host,
        index_answers=lambda: False,
    )
    return choose_gpu_and_build(mode, sources)


def test_gpu_and_build_go_together(clone: Clone) -> None:
    choice, build, seen = choose(clone, "auto", make_engine("all"), DRIVEN)
    assert (choice.overlay, build.backend, seen.driver) == ("gpu-cdi", "pypi", "580.95.05")


@pytest.mark.parametrize(
    ("engine", "host", "env", "said"),
    [
        (make_engine(), BARE, {}, "no NVIDIA driver"),
        (make_engine("all"), OLD, {}, "470.256.02 is too old"),
        (make_engine("all"), MISMATCH, {}, "upgraded"),
        (make_engine("all"), DRIVEN, {"TORCH_BACKEND": "cpu"}, "without CUDA"),
    ],
)
def test_auto_takes_the_cpu_and_says_why_while_on_refuses(
    clone: Clone, engine: Engine, host: Host, env: dict[str, str], said: str
) -> None:
    choice, build, _ = choose(clone, "auto", engine, host, env)
    assert choice.overlay == ""
    assert said in choice.line
    assert choice.fix
    assert build.backend == env.get("TORCH_BACKEND", "pypi")
    with pytest.raises(LabError):
        choose(clone, "on", engine, host, env)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_named_device_that_is_not_there_is_an_error(clone: Clone, mode: str) -> None:
    with pytest.raises(LabError, match="GPU_DEVICES names 5"):
        choose(clone, mode, make_engine("all", "0"), DRIVEN, {"GPU_DEVICES": "5"})


def test_only_the_cards_of_the_list_count(clone: Clone) -> None:
    """An old card beside a new one: named alone, the new one gets its build."""
    both = replace(DRIVEN, cards=make_cards("NVIDIA GTX 1080, 6.1", "NVIDIA RTX 5090, 12.0"))
    engine = make_engine("all", "0", "1")
    assert choose(clone, "auto", engine, both)[0].overlay == ""
    choice, build, _ = choose(clone, "auto", engine, both, {"GPU_DEVICES": "1"})
    assert (choice.devices, build.backend) == (("nvidia.com/gpu=1",), "pypi")
    assert choose(clone, "auto", engine, both, {"GPU_DEVICES": "0"})[1].backend == "cu126"


@pytest.mark.usefixtures("double")
def test_a_decision_about_an_engine_here_starts_no_process(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = on_machine(monkeypatch, DRIVEN, make_snapshot(clone), make_engine("all"))
    assert decision.mode == "auto"
    assert decision.lab.overlays == ("compose/gpu-cdi.yaml",)
    assert decision.lab.torch_backend == decision.build.backend == "pypi"


@pytest.mark.usefixtures("double")
def test_the_command_line_wins_over_the_setting(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With GPU off nobody reads the machine, and the image stays."""
    monkeypatch.setattr("labcrate.gpu.decide.read_host", lambda: pytest.fail("read the machine"))
    decision = decide(make_snapshot(clone, backend="cu126"), make_engine("all"), "off")
    assert (decision.mode, decision.choice.line) == ("off", "on the CPU: GPU is off")
    assert (decision.lab.overlays, decision.lab.torch_backend) == ((), "cu126")


def test_an_unknown_mode_is_refused(clone: Clone) -> None:
    with pytest.raises(LabError, match="--gpu maybe is not a choice") as caught:
        decide(make_snapshot(clone), make_engine(), "maybe")
    assert caught.value.code is Code.SETTINGS


@pytest.mark.parametrize(("gpu", "inside"), [("gpu-cdi nvidia.com/gpu=all", "exec"), (None, "run")])
def test_the_cards_of_an_engine_elsewhere_are_asked_there(
    clone: Clone, double: Double, monkeypatch: pytest.MonkeyPatch, gpu: str | None, inside: str
) -> None:
    """This machine has an H100 and a new driver, the one with the engine a P100."""
    double.expect("docker", "compose", "-f", "compose/gpu-cdi.yaml", "nvidia-smi", stdout=FAR_SMI)
    snapshot = make_snapshot(clone, backend="pypi", gpu=gpu)
    engine = make_engine("all", host="ssh://server")
    decision = on_machine(monkeypatch, DRIVEN, snapshot, engine)
    assert (decision.build.backend, len(double.calls)) == ("cu126", 1)
    assert double.called(inside, JUPYTER, "nvidia-smi")
    assert "535.183.01" in decision.stamp


@pytest.mark.usefixtures("double")
def test_without_an_image_the_driver_elsewhere_stays_unknown(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine("all", host="ssh://server")
    decision = on_machine(monkeypatch, DRIVEN, make_snapshot(clone), engine)
    assert decision.build.backend == "pypi"


@pytest.mark.parametrize("state", ["running", "exited"])
def test_auto_does_not_try_a_gpu_again_whose_proof_failed(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    snapshot = make_snapshot(clone, backend="pypi", gpu="", state=state)
    first = on_machine(monkeypatch, DRIVEN, snapshot, make_engine("all"))
    assert first.choice.overlay
    remember_proof(clone, IDENT, first.stamp, "no kernel image")
    again = on_machine(monkeypatch, DRIVEN, snapshot, make_engine("all"))
    assert again.choice.reason == "no kernel image"
    assert again.choice.fix == "invoke up --gpu on (tries again)"
    assert (again.lab.overlays, again.stamp) == ((), first.stamp)
    assert on_machine(monkeypatch, DRIVEN, snapshot, make_engine("all"), "on").choice.overlay
    changed = replace(DRIVEN, loaded="610.43.02")
    assert on_machine(monkeypatch, changed, snapshot, make_engine("all")).choice.overlay


def test_a_new_container_gets_a_new_try(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of another container, and of none, does not count."""
    stamp = on_machine(monkeypatch, DRIVEN, make_snapshot(clone), make_engine("all")).stamp
    for ident in ("2" * 64, ""):
        remember_proof(clone, ident, stamp, "no kernel image")
        assert on_machine(
            monkeypatch, DRIVEN, make_snapshot(clone), make_engine("all")
        ).choice.overlay


def test_a_list_of_devices_becomes_a_file(clone: Clone, settings: Settings) -> None:
    path = clone.state / LISTED
    path.write_text("old")
    assert overlays(SOME, settings) == (".labcrate/gpu.yaml",)
    assert path.read_text() == device_overlay(SOME, "1")
    path.chmod(0o400)
    before = path.stat().st_mtime_ns
    assert overlays(SOME, settings) == (".labcrate/gpu.yaml",)
    assert path.stat().st_mtime_ns == before, "an equal file is left alone"


@pytest.mark.parametrize(
    ("choice", "files"),
    [
        (Choice(reason=""), ()),
        (WHOLE, ("compose/gpu-cdi.yaml",)),
        (Choice(overlay="gpu-runtime", devices=ALL, reason=""), ("compose/gpu-runtime.yaml",)),
    ],
)
def test_other_choices_write_nothing(
    clone: Clone, settings: Settings, choice: Choice, files: tuple[str, ...]
) -> None:
    assert overlays(choice, settings) == files
    assert not list(clone.state.iterdir())


@pytest.mark.parametrize(("dry", "written"), [(True, False), (False, True)])
def test_a_dry_run_makes_no_folder(
    clone: Clone, settings: Settings, dry: bool, written: bool
) -> None:
    clone.state.rmdir()
    with process.in_mode(process.Mode(dry=dry)):
        assert overlays(SOME, settings) == (".labcrate/gpu.yaml",)
    assert (clone.state / LISTED).exists() is written


@pytest.mark.parametrize(
    ("gpu", "state", "devices", "files"),
    [
        ("gpu-cdi nvidia.com/gpu=all", "running", ("nvidia.com/gpu=all",),
         ("compose/gpu-cdi.yaml",)),
        ("gpu-cdi nvidia.com/gpu=0,nvidia.com/gpu=1", "running",
         ("nvidia.com/gpu=0", "nvidia.com/gpu=1"), (".labcrate/gpu.yaml",)),
        ("gpu-runtime all", "running", ("all",), ("compose/gpu-runtime.yaml",)),
        # .env names others by now.
        ("gpu-runtime 0,1", "running", ("0", "1"), (".labcrate/gpu.yaml",)),
        ("gpu-cdi nvidia.com/gpu=all", "exited", None, ()),
        ("", "running", None, ()),
        (None, "running", None, ()),
    ],
)  # fmt: skip
def test_the_running_lab_keeps_the_gpu_it_was_started_with(
    clone: Clone, gpu: str | None, state: str, devices: tuple[str, ...] | None,
    files: tuple[str, ...],
) -> None:  # fmt: skip
    snapshot = make_snapshot(clone, backend="cu126", gpu=gpu, state=state)
    choice = running_choice(snapshot)
    assert (choice.devices if choice else None) == devices
    assert as_started(snapshot) == replace(snapshot.lab, overlays=files)
    assert as_started(snapshot).torch_backend == "cu126"


@pytest.mark.parametrize(
    ("returncode", "said", "answers"),
    [
        (0, "torch==2.14.0+cpu\ntorchvision==0.29.0+cpu\n", True),
        # A mirror in place of PyTorch's own index has no such builds.
        (0, "torch==2.14.0\ntorchvision==0.29.0\n", False),
        (2, "torch==2.14.0+cpu\n", False),
        (124, "", False),
    ],
)
def test_pytorchs_index_answers_with_builds_of_its_own(
    clone: Clone, double: Double, returncode: int, said: str, answers: bool
) -> None:
    (clone.docker / "torch.in").write_text("torch==2.14.0\n")
    inputs: list[str | None] = []

    def keep(_argv: Sequence[str], stdin: str | None) -> None:
        inputs.append(stdin)

    double.expect("-m", "uv", "pip", "compile", returncode=returncode, stdout=said, does=keep)
    assert index_answers(clone, arm=True) is answers
    assert inputs == ["torch==2.14.0\n"]
    assert double.called("--python-platform", "aarch64-unknown-linux-gnu")
    index_answers(clone, arm=False)
    assert double.called("--python-platform", "x86_64-unknown-linux-gnu")


def test_without_gpu_and_image_the_index_is_asked_once(
    clone: Clone, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone.docker / "torch.in").write_text("torch==2.14.0\n")
    double.expect("-m", "uv", stdout="torch==2.14.0+cpu\n")
    decision = on_machine(monkeypatch, BARE, make_snapshot(clone), make_engine())
    assert (decision.build.backend, decision.lab.torch_backend) == ("cpu", "cpu")
    assert len(double.calls) == 1


def test_an_index_that_is_not_there_is_noticed(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real uv, with a proxy that leads nowhere."""
    (clone.docker / "torch.in").write_text("torch==2.14.0\n")
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert index_answers(clone, arm=False) is False


@pytest.mark.parametrize(
    ("said", "blamed"),
    [
        (
            "Error response from daemon: could not select device driver "
            '"nvidia" with capabilities: [[gpu]]',
            True,
        ),
        ("CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all", True),
        ("Error response from daemon: unknown or invalid runtime name: nvidia", True),
        ("Bind for 127.0.0.1:8888 failed: port is already allocated", False),
        ("Error response from daemon: failed to discover GPU vendor from CDI", True),
        ("container lab-jupyter-1 is unhealthy", False),
        ("container lab-nvidia-3090-1a2b3c-jupyter-1 is unhealthy", False),
    ],
)
def test_a_start_that_fails_because_of_the_gpu_says_so(
    clone: Clone, said: str, blamed: bool
) -> None:
    bare = make_snapshot(clone, env={"COMPOSE_PROJECT_NAME": "lab-nvidia-3090-1a2b3c"}).lab
    with_gpu = replace(bare, overlays=("compose/gpu-cdi.yaml",))
    error = gpu_refused(with_gpu, f" Container x  Starting\n{said}\n")
    assert (error is not None) is blamed
    if error:
        assert said in error.problem
        assert error.code is Code.GPU_NOT_OFFERED
    assert gpu_refused(bare, said) is None


def test_an_unknown_refusal_names_the_doctor(clone: Clone) -> None:
    with_gpu = replace(make_snapshot(clone).lab, overlays=("compose/gpu-cdi.yaml",))
    error = gpu_refused(with_gpu, "the nvidia thing is on fire")
    assert error
    assert "invoke doctor" in error.fix


def test_a_hook_alone_starts_some_devices_by_a_file(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = make_snapshot(clone, env={"GPU_DEVICES": "1"})
    host = replace(PAIR, tools=HOOKED.tools)
    decision = on_machine(monkeypatch, host, snapshot, make_engine())
    assert decision.lab.overlays == (".labcrate/gpu.yaml",)
    assert decision.choice.devices == ("1",)


BASE = "compose/compose.yaml"


@pytest.mark.parametrize(
    ("files", "chosen", "options"),
    [
        (BASE, (), ()),
        (BASE, ("compose/gpu-cdi.yaml",), ("-f", BASE, "-f", "compose/gpu-cdi.yaml")),
        # A GPU that was written into .env by hand: equal to the choice, and against it.
        (f"{BASE}:compose/gpu-cdi.yaml", ("compose/gpu-cdi.yaml",), ()),
        (f"{BASE}:compose/gpu-cdi.yaml", (), ("-f", BASE)),
        (f"{BASE}:compose/gpu-cdi.yaml", (".labcrate/gpu.yaml",),
         ("-f", BASE, "-f", ".labcrate/gpu.yaml")),
        # A file of the user's own stays.
        (f"{BASE}:mine.yaml", (), ()),
        (f"{BASE}:mine.yaml", ("compose/gpu-runtime.yaml",),
         ("-f", BASE, "-f", "mine.yaml", "-f", "compose/gpu-runtime.yaml")),
    ],
)  # fmt: skip
def test_the_decision_wins_over_a_gpu_in_compose_file(
    clone: Clone, files: str, chosen: tuple[str, ...], options: tuple[str, ...]
) -> None:
    bare = make_snapshot(clone, env={"COMPOSE_FILE": files}).lab
    base = ("--env-file", ".env", *options) if options else ()
    assert replace(bare, overlays=chosen).compose("ps") == ("docker", "compose", *base, "ps")
