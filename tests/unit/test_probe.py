"""What is made of the answers: mode, GPU and build together, and what a failed proof leaves."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_gpu import BARE, DRIVEN, MISMATCH, cards, engine
from test_settings import GOOD

from labcrate import probe, proof, settings, shell, stack
from labcrate.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu import Choice
from labcrate.nvidia import Host
from labcrate.pytorch import Build
from labcrate.stack import Container, Stack

OLD = replace(DRIVEN, loaded="470.256.02", cards=cards("Tesla T4, 7.5", driver="470.256.02"))
BASE = "compose/compose.yaml"


def decided(
    mode: str, offers: Engine, host: Host, image: str = "", far: Host | None = None, **env: str
) -> tuple[Choice, Build, Host]:
    wanted = settings.build({**GOOD, **env})
    seen = host if far is None else far
    return probe.decided(
        mode, wanted, offers, host, image=image, cards_of=lambda _choice: seen, index=lambda: False
    )


def test_gpu_and_build_go_together() -> None:
    choice, build, seen = decided("auto", engine("all"), DRIVEN)
    assert (choice.overlay, build.backend, seen.driver) == ("gpu-cdi", "pypi", "580.95.05")


@pytest.mark.parametrize(
    ("offers", "host", "env", "said"),
    [
        (engine(), BARE, {}, "no NVIDIA driver"),
        (engine("all"), OLD, {}, "470.256.02 is too old"),
        (engine("all"), OLD, {}, "to use it: update the driver"),
        (engine("all"), MISMATCH, {}, "upgraded"),
        (engine("all"), DRIVEN, {"TORCH_BACKEND": "cpu"}, "without CUDA"),
    ],
)
def test_auto_goes_to_the_cpu_aloud_and_on_refuses(
    offers: Engine, host: Host, env: dict[str, str], said: str
) -> None:
    choice, build, _ = decided("auto", offers, host, **env)
    assert choice.overlay == ""
    assert said in choice.line
    assert build.backend == env.get("TORCH_BACKEND", "pypi")
    with pytest.raises(LabError):
        decided("on", offers, host, **env)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_device_that_is_not_there_is_an_error(mode: str) -> None:
    with pytest.raises(LabError, match="GPU_DEVICES names 5"):
        decided(mode, engine("all", "0"), DRIVEN, GPU_DEVICES="5")


def test_only_the_cards_of_the_list_count() -> None:
    """An old card beside a new one: named alone, the new one gets its build."""
    both = replace(DRIVEN, cards=cards("NVIDIA GTX 1080, 6.1", "NVIDIA RTX 5090, 12.0"))
    assert decided("auto", engine("all", "0", "1"), both)[0].overlay == ""
    choice, build, _ = decided("auto", engine("all", "0", "1"), both, GPU_DEVICES="1")
    assert (choice.devices, build.backend) == (("nvidia.com/gpu=1",), "pypi")
    assert decided("auto", engine("all", "0", "1"), both, GPU_DEVICES="0")[1].backend == "cu126"


def test_a_far_engines_cards_are_its_own() -> None:
    """This machine has an H100 and a new driver, the one with the engine a P100."""
    far = Host(smi_found=True, cards=cards("Tesla P100, 6.0", driver="535.183.01"))
    offers = engine("all", host="ssh://server")
    _, build, seen = decided("auto", offers, DRIVEN, image="pypi", far=far)
    assert (build.backend, seen.driver) == ("cu126", "535.183.01")
    _, unknown, _ = decided("auto", offers, DRIVEN, far=Host())
    assert (unknown.backend, "not known" in unknown.reason) == ("pypi", True)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(LabError, match="--gpu maybe is not a choice") as caught:
        probe.decide(settings.build(GOOD), engine(), "maybe")
    assert caught.value.code is Code.SETTINGS


@pytest.mark.parametrize(
    ("files", "overlays", "options"),
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
def test_the_files_that_compose_gets(
    files: str, overlays: tuple[str, ...], options: tuple[str, ...]
) -> None:
    lab = Stack(settings=settings.build({**GOOD, "COMPOSE_FILE": files}), overlays=overlays)
    base = ("--env-file", ".env", *options) if options else ()
    assert lab.compose("ps") == ("docker", "compose", *base, "ps")


@pytest.mark.parametrize(
    ("code", "said", "answers"),
    [
        (0, "torch==2.14.0+cpu\ntorchvision==0.29.0+cpu\n", True),
        # A mirror in place of PyTorch's own index has no such builds.
        (0, "torch==2.14.0\ntorchvision==0.29.0\n", False),
        (2, "", False),
        (124, "", False),
    ],
)
def test_pytorchs_index_answers_with_builds_of_its_own(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, answers: bool
) -> None:
    asked: list[tuple[str, ...]] = []

    def capture(argv: tuple[str, ...], **options: Any) -> shell.Result:
        asked.append(argv)
        assert options["stdin"].startswith("torch==")
        assert options["timeout_s"] <= 3
        return shell.Result(argv=argv, returncode=code, stdout=said, stderr="")

    monkeypatch.setattr(shell, "capture", capture)
    assert probe.index_answers(arm=True) is answers
    assert "aarch64-unknown-linux-gnu" in asked[0]


def test_an_index_that_is_not_there_is_noticed_in_time() -> None:
    """The real uv, with a proxy that leads nowhere."""
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
        assert probe.index_answers(arm=False) is False
    assert time.monotonic() - started < 4


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stack:
    """A lab whose running container is `one`, with its own record."""
    rows = {"jupyter": Container(id="one", name="one", state="running")}
    monkeypatch.setattr(stack, "running", lambda _lab: rows)
    monkeypatch.setattr(probe, "RECORD", tmp_path / "gpu.json")
    return Stack(settings=settings.build(GOOD))


def test_a_failed_proof_is_known_again(lab: Stack) -> None:
    assert not probe.failed(lab, "a")
    probe.remember(lab, "a", "no kernel image")
    assert probe.failed(lab, "a") == "no kernel image"
    assert not probe.proven(lab)
    assert not probe.failed(lab, "another driver")


def test_a_passed_proof_is_not_repeated(lab: Stack) -> None:
    assert not probe.proven(lab)
    probe.remember(lab, "a", "")
    assert probe.proven(lab)
    assert not probe.failed(lab, "a")


@pytest.mark.parametrize(
    "rows", [{}, {"jupyter": Container(id="two", name="two", state="running")}]
)
def test_what_a_proof_said_goes_with_its_container(
    lab: Stack, monkeypatch: pytest.MonkeyPatch, rows: dict[str, Container]
) -> None:
    for cause in ("", "no kernel image"):
        probe.remember(lab, "a", cause)
        with monkeypatch.context() as later:
            later.setattr(stack, "running", lambda _lab: rows)
            assert not probe.failed(lab, "a")
            assert not probe.proven(lab)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_spoilt_record_is_no_record(lab: Stack, text: str) -> None:
    probe.RECORD.write_text(text)
    assert not probe.failed(lab, "a")
    assert not probe.proven(lab)


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
def test_a_start_that_fails_because_of_the_gpu(lab: Stack, said: str, blamed: bool) -> None:
    named = replace(lab.settings, project="lab-nvidia-3090-1a2b3c")
    with_gpu = replace(lab, settings=named, overlays=("compose/gpu-cdi.yaml",))
    error = probe.refused(with_gpu, f" Container x  Starting\n{said}\n")
    assert (error is not None) is blamed
    if error:
        assert said in error.problem
        assert error.code is Code.GPU_NOT_OFFERED
    assert probe.refused(lab, said) is None


@pytest.mark.parametrize(
    ("results", "said", "line"),
    [
        (
            [{"message": ""}, {"message": "no working CUDA: x\nmore"}, {"message": "y"}],
            "= 2 failed =",
            "no working CUDA: x",
        ),
        ([], "Error response from daemon\nunresolvable CDI devices\n", "unresolvable CDI devices"),
        ([], "", "the proof ended without a word"),
    ],
)
def test_why_a_proof_failed(results: list[dict[str, str]], said: str, line: str) -> None:
    assert proof.why({"results": results}, said) == line
