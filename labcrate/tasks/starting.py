"""setup, build, up, down: the lab comes and goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from invoke import Context

from labcrate import environment, output, process
from labcrate.clean.bound import bound_cache
from labcrate.clone.device_list import free_count
from labcrate.clone.fresh import ensure_env_file, ensure_folders, refresh_package_settings
from labcrate.clone.identity import part_from_original, settle
from labcrate.clone.lock import refuse_read_only
from labcrate.clone.place import find_clone, refuse_awkward_path
from labcrate.clone.settings import Settings, load, refuse_lost_root
from labcrate.engine.base_image import ensure_base_image
from labcrate.engine.engine import find_engine, require_engine
from labcrate.engine.install import ensure_engine
from labcrate.errors import Code, LabError
from labcrate.gpu.decide import Decision, decide
from labcrate.gpu.free import shared_cards, with_free_cards
from labcrate.gpu.toolkit import ensure_toolkit
from labcrate.lab.built import drop_superseded
from labcrate.lab.compose import JUPYTER, Lab
from labcrate.lab.containers import all_containers, of_project
from labcrate.lab.images import build_images, provide_parts
from labcrate.lab.lifecycle import (
    resume_services,
    stop_services,
)
from labcrate.lab.notices import notices
from labcrate.lab.own_ports import settle_ports
from labcrate.lab.snapshot import Snapshot, profiles_of
from labcrate.lab.work import Work, lab_work
from labcrate.tasks.base import (
    alone,
    asker,
    lab_task,
    read_lab_and_engine,
    result_only,
    with_the_engines_group,
)
from labcrate.tasks.coming_up import How, bring_up
from labcrate.tasks.showing import report_links, show_notices, show_unused, warn_of_others
from labcrate.tasks.sparing import may_end


@lab_task(yes="do not ask before installing or building")
def setup(c: Context, yes: bool = False) -> None:  # noqa: ARG001
    """Make this machine ready: .env, folders, engine, base image."""
    confirm = asker(yes)
    clone = find_clone()
    refuse_read_only(clone)
    refuse_awkward_path(clone)
    refuse_lost_root(clone)
    # The engine first: as it starts, labs of other clones come back and take their ports again.
    with with_the_engines_group():
        engine = ensure_engine(confirm)
    part_from_original(clone)
    ensure_env_file(clone, engine.rootless)
    if process.is_dry() and not clone.env_file.exists():
        output.say("This dry run ends here: the next steps read the new .env.")
        return
    if not process.is_dry():
        settle(clone)
    settings = load(clone)
    ensure_folders(settings)
    refresh_package_settings(settings)
    provide_parts(clone)
    ensure_base_image(settings, confirm)
    ensure_toolkit(settings, engine, confirm)
    output.say("Ready. Next: invoke up")


@lab_task()
def build(c: Context) -> None:  # noqa: ARG001
    """Build the images, as far as something changed."""
    with alone("build") as settings:
        engine, snapshot = read_lab_and_engine(settings)
        decision = decide(snapshot, engine)
        output.row("gpu", decision.choice.line)
        if build_stale(decision.lab, snapshot, decision.build.reason):
            bound_cache(snapshot)
        else:
            output.say("  images       up to date; nothing was built")


@lab_task(
    no_build="start with the images as they are",
    gpu="auto (one where the engine offers it), on (or fail), off; wins over GPU= in .env",
    force="replace JupyterLab whatever runs in it",
    quiet="show the result alone: the links, and what must be known",
    wait_gpu="with GPU_DEVICES=free: wait until a card is free",
)
def up(
    c: Context,  # noqa: ARG001
    no_build: bool = False,
    gpu: str = "",
    force: bool = False,
    quiet: bool = False,
    wait_gpu: bool = False,
) -> None:
    """Start the lab and wait until it answers."""
    with alone("up") as settings:
        refuse_wait(settings, wait_gpu)
        engine, snapshot = read_lab_and_engine(settings)
        found = settle_ports(snapshot)
        snapshot = resume_services(found)
        decision = decide(snapshot, engine, gpu)
        if not wait_gpu:
            with_free_cards(decision)  # Nobody waits for a build to hear that there is no card.
        with result_only(quiet):
            output.row("gpu", decision.choice.line)
            show_unused(decision.unused)
            ensure_folders(settings, quiet=True)
            built = not no_build and build_stale(decision.lab, snapshot, decision.build.reason)
        started = bring_up(decision, snapshot, found, How(force=force, quiet=quiet, wait=wait_gpu))
        if started is None:
            output.say("Nothing was replaced; the lab runs as before.")
            return
        decision, snapshot = started
        if built:
            drop_superseded(decision.lab)
            bound_cache(snapshot)
    announce(decision, snapshot)


def refuse_wait(settings: Settings, wait_gpu: bool) -> None:
    """There is something to wait for only where the lab takes any card that is free."""
    if wait_gpu and not free_count(settings.gpu_devices):
        raise LabError(
            f"--wait-gpu waits for a free card, and GPU_DEVICES={settings.gpu_devices} names them",
            fix="set GPU_DEVICES=free in .env",
            code=Code.SETTINGS,
        )


def build_stale(lab: Lab, snapshot: Snapshot, why: str) -> bool:
    """Build what changed, if anything did; whether something was built."""
    services = snapshot.stale(lab)
    if not services:
        return False
    if JUPYTER in services:
        output.row("pytorch", f"{lab.torch_backend}: {why}")
    refresh_package_settings(lab.settings, quiet=True)
    taken = build_images(lab, snapshot.model, services)
    if not process.is_dry():
        output.seconds("built", taken)
    return True


def announce(decision: Decision, snapshot: Snapshot) -> None:
    """The last lines of `up`: where, on what, the first notebook, and how to stop."""
    settings = snapshot.settings
    # A log of CI, or a file, would keep the token.
    token = settings.jupyter_token if environment.is_read_at_once() else ""
    found = snapshot.links(token)
    show_notices(notices(snapshot.containers.values()))
    report_links(found)
    first = settings.root_dir / "notebooks" / "01-quickstart.ipynb"
    if JUPYTER in found and first.exists():
        server, _, login = found[JUPYTER].partition("lab?")
        query = f"?{login}" if login else ""
        output.row("first steps", f"{server}lab/tree/notebooks/{first.name}{query}")
    if JUPYTER in found and not token:
        output.row("", "JupyterLab's link with its token: invoke url")
    warn_of_others(settings.bind_address)
    output.row("gpu", decision.choice.line)
    for told in shared_cards(decision, snapshot.everyone):
        output.row("", told)
    if decision.choice.fix and not decision.unused:
        output.row("", f"to use a GPU: {decision.choice.fix}")
    output.row("stop", "invoke down")
    show_unused(decision.unused)


def lab_at_work(settings: Settings) -> tuple[Lab, Work]:
    """The lab with the profiles that were started, and what ends with its containers."""
    everyone = all_containers()
    profiles = profiles_of(of_project(everyone, settings.project))
    lab = Lab(settings=settings, profiles=profiles)
    return lab, lab_work(lab, everyone)


@lab_task(force="stop it whatever runs in it")
def down(c: Context, force: bool = False) -> None:  # noqa: ARG001
    """Stop the lab and its runs; your files, .env and caches stay."""
    with alone("down") as settings:
        with ThreadPoolExecutor() as pool:
            engine, asked = pool.submit(find_engine), pool.submit(lab_at_work, settings)
            require_engine(engine.result())
            lab, work = asked.result()
        doing = f"`down` would stop {lab.project}"
        if may_end(work, doing=doing, again="invoke down --force", force=force):
            stop_services(lab)
        else:
            output.say("Nothing was stopped.")
