"""One decision about the GPU and the build of PyTorch: ask whoever knows, then let offer.py and
torch_build.py choose.

The running container holds the truth: its label names the overlay, and record.py keeps what the
proof said of that very container.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from labcrate import known, process
from labcrate.clone.settings import Settings
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Card, Host, ask_cards, read_host
from labcrate.gpu.devices import device_names, selected_cards
from labcrate.gpu.holders import known_cards
from labcrate.gpu.offer import Choice, choose_gpu, device_overlay, parse_choice
from labcrate.gpu.pool import Wanted, wanted_cards
from labcrate.gpu.record import failed_proof
from labcrate.gpu.torch_build import Build, Hardware, choose_build, is_arm
from labcrate.gpu.torch_index import index_answers
from labcrate.gpu.unused import driven_card, unused_card
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.snapshot import Snapshot

MODES = ("auto", "on", "off")

LISTED = "gpu.yaml"
"""The overlay for some of the devices, in the clone's state."""

START_S = 10.0
"""Seconds that starting a container may add to a question that is asked inside it."""

BLAMES_GPU = re.compile(r"nvidia|\bcdi\b|gpu vendor|device driver", re.IGNORECASE)
"""Words of the engine that say: the GPU is why the container does not start."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What `up` will do about the GPU, and why. stamp: equal for equal decisions.

    unused: what to say of a card of this machine that the lab does not get; "" where all is well.
    cards: all that are known. wanted: what is still to be chosen among those that are free.
    """

    mode: str
    choice: Choice
    build: Build
    stamp: str
    lab: Lab
    unused: str = ""
    cards: tuple[Card, ...] = ()
    wanted: Wanted | None = None

    def on_cards(self, choice: Choice) -> Decision:
        """The same with cards that were chosen now."""
        lab = replace(self.lab, overlays=overlays(choice, self.lab.settings))
        return replace(self, choice=choice, lab=lab)

    def without_gpu(self, cause: str, fix: str) -> Decision:
        """The same on the CPU, after the GPU failed."""
        lab = replace(self.lab, overlays=())
        choice = Choice(reason=cause, fix=fix)
        return replace(self, choice=choice, lab=lab, unused=unused_card(choice), wanted=None)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a decision is made from. host: this machine. image: the build in the existing image.

    cards_of: reads the machine that a choice's GPU is in. index_answers: see torch_build.py.
    """

    settings: Settings
    engine: Engine
    host: Host
    image: str
    cards_of: Callable[[Choice], Host]
    index_answers: Callable[[], bool]


def decide(snapshot: Snapshot, engine: Engine, mode: str = "") -> Decision:
    """Ask whoever knows, and decide. mode: of the command line; wins over GPU= in .env."""
    mode = mode or snapshot.settings.gpu
    if mode not in MODES:
        raise LabError(
            f"--gpu {mode} is not a choice",
            fix=f"use one of: {', '.join(MODES)}",
            code=Code.SETTINGS,
        )
    clone = snapshot.lab.clone
    sources = _sources(snapshot, engine, mode)
    choice, build, seen = choose_gpu_and_build(mode, sources)
    wanted = wanted_cards(snapshot.settings.gpu_devices, choice.overlay, engine, sources.host)
    if wanted:
        choice = replace(choice, devices=(snapshot.settings.gpu_devices,))
    stamp = json.dumps([choice.overlay, choice.devices, seen.driver, build.backend])
    if mode == "auto" and choice.overlay:
        # One that ended counts too: it is the container that `up` would start again.
        container = snapshot.containers.get(JUPYTER)
        if cause := failed_proof(clone, container.id if container else "", stamp):
            choice, wanted = Choice(reason=cause, fix="invoke up --gpu on (tries again)"), None
    files = () if wanted else overlays(choice, snapshot.settings)
    lab = replace(snapshot.lab, overlays=files, torch_backend=build.backend)
    wasted = driven_card(sources.host) and snapshot.settings.torch_backend != "cpu"
    return Decision(
        mode=mode,
        choice=choice,
        build=build,
        stamp=stamp,
        lab=lab,
        unused=unused_card(choice) if wasted else "",
        cards=known_cards(engine, sources.host) if choice.overlay else (),
        wanted=wanted,
    )


def _sources(snapshot: Snapshot, engine: Engine, mode: str) -> Sources:
    # This machine says nothing about an engine elsewhere.
    host = Host() if mode == "off" or engine.remote else read_host()

    def cards_of(choice: Choice) -> Host:
        return far_host(snapshot, choice) if engine.remote and snapshot.backend else host

    return Sources(
        settings=snapshot.settings,
        engine=engine,
        host=host,
        image=snapshot.backend,
        cards_of=cards_of,
        index_answers=partial(index_answers, snapshot.lab.clone, arm=is_arm(engine)),
    )


def choose_gpu_and_build(mode: str, sources: Sources) -> tuple[Choice, Build, Host]:
    """The GPU, the build, and the machine that the GPU is in.

    Where `on` refuses, `auto` takes the CPU; but a device that the user named must exist.
    """
    choice = _choose_with_cuda(mode, sources)
    seen = sources.cards_of(choice) if choice.overlay else Host()
    try:
        return choice, _build_for(choice, seen, sources), seen
    except LabError as error:
        if mode == "on":
            raise
        choice = Choice(reason=error.problem, fix=error.fix)
        return choice, _build_for(choice, Host(), sources), Host()


def _choose_with_cuda(mode: str, sources: Sources) -> Choice:
    """The GPU, unless the user chose a build of PyTorch that cannot use it."""
    devices = device_names(sources.settings.gpu_devices)
    choice = choose_gpu(mode, devices, sources.engine, sources.host)
    if not choice.overlay or sources.settings.torch_backend != "cpu":
        return choice
    if mode == "on":
        raise LabError(
            "TORCH_BACKEND=cpu is a build without CUDA, but the GPU must be on",
            fix="set TORCH_BACKEND=auto in .env, or use --gpu off",
            code=Code.SETTINGS,
        )
    fix = "set TORCH_BACKEND=auto in .env"
    return Choice(reason="TORCH_BACKEND=cpu is a build without CUDA", fix=fix)


def _build_for(choice: Choice, seen: Host, sources: Sources) -> Build:
    devices = device_names(sources.settings.gpu_devices)
    hardware = Hardware(
        gpu=bool(choice.overlay),
        cards=selected_cards(seen.cards, devices),
        driver=seen.driver,
        arm=is_arm(sources.engine),
    )
    return choose_build(
        sources.settings.torch_backend,
        hardware,
        image=sources.image,
        index_answers=sources.index_answers,
    )


def far_host(snapshot: Snapshot, choice: Choice) -> Host:
    """The cards of another machine, as the lab's own image sees them there."""
    lab = replace(snapshot.lab, overlays=overlays(choice, snapshot.settings))
    inside = ("exec",) if snapshot.jupyter else ("run", "--rm", "--no-deps")

    def ask(argv: Sequence[str], timeout_s: float) -> process.Result:
        return lab.ask(*inside, "--no-TTY", JUPYTER, *argv, timeout_s=timeout_s + START_S)

    cards, said = ask_cards(ask, ("nvidia-smi",))
    return Host(cards=cards, smi=said, smi_found=True)


def overlays(choice: Choice, settings: Settings) -> tuple[str, ...]:
    """The Compose files of a choice, relative to the clone; writes the one with a device list."""
    if not choice.overlay:
        return ()
    clone, text = settings.clone, device_overlay(choice, settings.gpu_devices)
    if not text:
        return (f"compose/{choice.overlay}.yaml",)
    path = clone.state / LISTED
    # Compose reads the file in a dry run too, but a clone that was never set up stays as it is.
    if clone.state.exists() or not process.is_dry():
        clone.state.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return (path.relative_to(clone.root).as_posix(),)


def running_choice(snapshot: Snapshot) -> Choice | None:
    """What the running JupyterLab was started with; None where none runs, or it uses the CPU."""
    return parse_choice(snapshot.jupyter.gpu) if snapshot.jupyter else None


def as_started(snapshot: Snapshot) -> Lab:
    """The lab with nothing to decide: as its image was built, with the GPU that it runs with."""
    choice = running_choice(snapshot)
    return replace(snapshot.lab, overlays=overlays(choice, snapshot.settings) if choice else ())


def gpu_refused(lab: Lab, said: str) -> LabError | None:
    """Why the engine did not start the lab, if its GPU is the reason; None for another reason."""
    # The clone itself may be named after its GPU.
    lines = said.replace(lab.project, "the lab").splitlines()
    blame = [line.strip() for line in lines if BLAMES_GPU.search(line)]
    if not lab.overlays or not blame:
        return None
    found = known.recognise(blame[-1], "start")
    return LabError(
        f"the engine cannot give the GPU to the lab: {blame[-1]}",
        fix=found.fix if found else "invoke doctor (checks every step from the card to the lab)",
        code=Code.GPU_NOT_OFFERED,
    )
