"""The machine asked, gpu.py and pytorch.py decided on its answers, one Stack made of the outcome.

The running container carries the truth: a label tells its overlay, and .labcrate/gpu.json what the
proof said of that very container. So nothing here outlives the lab that it speaks of.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from labcrate import gpu, nvidia, pytorch, shell, signatures, stack
from labcrate.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu import Choice
from labcrate.hostpip import STATE
from labcrate.nvidia import Host
from labcrate.pytorch import Build
from labcrate.settings import Settings
from labcrate.shell import ROOT
from labcrate.stack import Stack

RECORD = STATE / "gpu.json"
LISTED = STATE / "gpu.yaml"

INDEX_S = 3.0
"""Seconds that PyTorch's index gets to answer: 0.7 s were measured where it can't be resolved."""

IMAGE_PYTHON = "3.13"
"""The base image's Python (Debian 13); only wheels for it count as an answer."""

BLAMES_GPU = re.compile(r"nvidia|\bcdi\b|gpu vendor|device driver", re.IGNORECASE)
"""In what the engine says when a container does not start: the GPU is why."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What `up` is going to do about the GPU, and why."""

    mode: str
    choice: Choice
    build: Build
    stamp: str
    lab: Stack


def decide(settings: Settings, engine: Engine, mode: str = "") -> Decision:
    """Ask whoever knows, and decide. mode: of the command line; wins over GPU= in .env."""
    mode = mode or settings.gpu
    if mode not in ("auto", "on", "off"):
        raise LabError(
            f"--gpu {mode} is not a choice", fix="use one of: auto, on, off", code=Code.SETTINGS
        )
    bare = Stack(settings=settings)
    image = stack.backend(bare)
    # Of an engine elsewhere this machine knows nothing.
    host = Host() if mode == "off" or engine.remote else nvidia.read()

    def cards_of(choice: Choice) -> Host:
        return far_host(bare, choice) if engine.remote and image else host

    choice, build, seen = decided(
        mode,
        settings,
        engine,
        host,
        image=image,
        cards_of=cards_of,
        index=partial(index_answers, arm(engine)),
    )
    stamp = json.dumps([choice.overlay, choice.devices, seen.driver, build.backend])
    if mode == "auto" and choice.overlay and (cause := failed(bare, stamp)):
        choice = Choice(reason=f"{cause}; `invoke up --gpu on` tries again")
    lab = replace(bare, overlays=overlays(choice), torch_backend=build.backend)
    return Decision(mode=mode, choice=choice, build=build, stamp=stamp, lab=lab)


def decided(
    mode: str,
    settings: Settings,
    engine: Engine,
    host: Host,
    *,
    image: str,
    cards_of: Callable[[Choice], Host],
    index: Callable[[], bool],
) -> tuple[Choice, Build, Host]:
    """The GPU, the build, and the machine that the GPU is in; `auto` turns what `on` refuses to
    the CPU, but for a device that the user named and that is not there."""
    assert mode in ("auto", "on", "off")
    devices = gpu.wanted(settings.gpu_devices)

    def build(choice: Choice, seen: Host) -> Build:
        return pytorch.choose(
            settings.torch_backend,
            gpu=bool(choice.overlay),
            cards=gpu.selected(seen.cards, devices),
            driver=seen.driver,
            image=image,
            index_answers=index,
            arm=arm(engine),
        )

    choice = gpu.choose(mode, devices, engine, host)
    if choice.overlay and settings.torch_backend == "cpu":
        if mode == "on":
            raise LabError(
                "TORCH_BACKEND=cpu is a build without CUDA, and the GPU is to be on",
                fix="set TORCH_BACKEND=auto in .env, or use --gpu off",
                code=Code.SETTINGS,
            )
        choice = Choice(reason="TORCH_BACKEND=cpu is a build without CUDA")
    seen = cards_of(choice) if choice.overlay else Host()
    try:
        return choice, build(choice, seen), seen
    except LabError as error:
        if mode == "on":
            raise
        choice = Choice(reason=f"{error.problem}; to use it: {error.fix}")
        return choice, build(choice, Host()), Host()


def far_host(bare: Stack, choice: Choice) -> Host:
    """The cards of another machine, as the lab's own image sees them there."""
    lab = replace(bare, overlays=overlays(choice))
    inside = ("exec",) if running(bare) else ("run", "--rm", "--no-deps")

    def ask(argv: Sequence[str], timeout_s: float) -> shell.Result:
        return lab.ask(*inside, "--no-TTY", "jupyter", *argv, timeout_s=timeout_s + 10)

    cards, said = nvidia.ask_smi(ask, ("nvidia-smi",))
    return Host(cards=cards, smi=said, smi_found=True)


def arm(engine: Engine) -> bool:
    return engine.architecture in ("aarch64", "arm64")


def index_answers(arm: bool) -> bool:
    """Whether PyTorch's own index gives this template's torch for a CPU, asked through uv.

    Asked for the image's Python and the engine's processor; this machine's may be others.
    """
    platform = f"{'aarch64' if arm else 'x86_64'}-unknown-linux-gnu"
    pins = (ROOT / "docker" / "torch.in").read_text(encoding="utf-8")
    target = ("--python-version", IMAGE_PYTHON, "--python-platform", platform)
    options = ("--torch-backend", "cpu", "--no-deps", "--no-header", "--quiet", *target)
    answer = shell.capture(
        (sys.executable, "-m", "uv", "pip", "compile", "-", *options),
        stdin=pins,
        timeout_s=INDEX_S,
        extra_env={"UV_HTTP_RETRIES": "0", "UV_PYTHON_DOWNLOADS": "never"},
    )
    return answer.ok and "+cpu" in answer.stdout


def overlays(choice: Choice) -> tuple[str, ...]:
    """The overlay files of a choice; writes the one that holds a list of devices."""
    if not choice.overlay:
        return ()
    text = gpu.listed(choice)
    if not text:
        return (f"compose/{choice.overlay}.yaml",)
    STATE.mkdir(exist_ok=True)
    if not LISTED.exists() or LISTED.read_text(encoding="utf-8") != text:
        LISTED.write_text(text, encoding="utf-8")
    return (str(LISTED.relative_to(ROOT)),)


def running(bare: Stack) -> Choice | None:
    """What the running JupyterLab was started with; None where none runs, or it is on the CPU."""
    jupyter = stack.running(bare).get("jupyter")
    if jupyter is None or jupyter.state != "running" or not jupyter.gpu:
        return None
    overlay, _, devices = jupyter.gpu.partition(" ")
    return Choice(
        overlay=gpu.overlay(overlay), devices=tuple(devices.split(",")), reason="as it was started"
    )


def refused(lab: Stack, said: str) -> LabError | None:
    """The engine would not start the lab because of its GPU; None where it is something else."""
    # A clone may well be named after its GPU.
    lines = said.replace(lab.settings.project, "the lab").splitlines()
    blame = [line for line in lines if BLAMES_GPU.search(line)]
    if not lab.overlays or not blame:
        return None
    known = signatures.first(blame[-1], "start")
    return LabError(
        f"the engine cannot hand the GPU over: {blame[-1].strip()}",
        fix=known.fix if known else "`invoke doctor` looks for the cause",
        code=Code.GPU_NOT_OFFERED,
    )


def as_is(settings: Settings) -> Stack:
    """The lab with nothing to decide: as its image was built, with the GPU that it runs with."""
    bare = Stack(settings=settings)
    setting = settings.torch_backend
    built = stack.backend(bare) or "pypi" if setting == "auto" else setting
    choice = running(bare)
    return replace(bare, overlays=overlays(choice) if choice else (), torch_backend=built)


def record() -> dict[str, Any]:
    try:
        found = json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(lab: Stack, stamp: str, cause: str) -> None:
    """Keep what the proof said ("" passed) with the container that runs now."""
    payload = {"container": container(lab), "stamp": stamp, "cause": cause.strip()}
    RECORD.write_text(json.dumps(payload, indent=2) + "\n", encoding="utf-8")


def failed(lab: Stack, stamp: str) -> str:
    """Why the running lab's proof failed with this very choice; "" if it did not."""
    kept = record()
    known = bool(kept.get("cause")) and kept.get("stamp") == stamp
    return str(kept["cause"]) if known and kept.get("container") == container(lab) else ""


def proven(lab: Stack) -> bool:
    """Whether the container that runs now passed its proof."""
    kept = record()
    return kept.get("cause") == "" and kept.get("container") == container(lab)


def container(lab: Stack) -> str:
    jupyter = stack.running(lab).get("jupyter")
    return jupyter.id if jupyter else ""
