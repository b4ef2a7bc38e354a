"""The lab's verbs: `invoke --list` is the table of contents, `invoke VERB --help` the manual."""

from __future__ import annotations

import functools
import json
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from invoke import Collection, Context, Exit, task
from rich.console import Console
from rich.table import Table

from labcrate import (
    cleanup,
    jupyter,
    live,
    lives,
    locks,
    packages,
    probe,
    proof,
    refusals,
    requirements,
    shell,
    stack,
)
from labcrate import doctor as doctors
from labcrate import engine as engines
from labcrate import settings as settings_module
from labcrate import setup as setups
from labcrate.cleanup import Thing
from labcrate.errors import Code, LabError
from labcrate.packages import Changed, Options, Phases
from labcrate.probe import Decision
from labcrate.shell import ROOT
from labcrate.stack import Stack

Body = TypeVar("Body", bound=Callable[..., Any])


def lab_task(**flags: str) -> Callable[[Body], Any]:
    """A task whose expected failures end in one message and an exit code of their own.

    flags: one line of help for each flag of the task.
    """

    def decorate(body: Body) -> Any:
        @functools.wraps(body)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            try:
                with shell.terminable():
                    return body(*arguments, **options)
            except LabError as error:
                raise Exit(str(error), code=int(error.code)) from None
            except KeyboardInterrupt:
                raise Exit(
                    "interrupted; the same command can be run again", code=Code.INTERRUPTED
                ) from None
            except shell.Terminated:
                raise Exit(
                    "terminated; the same command can be run again", code=Code.TERMINATED
                ) from None

        return task(help=flags)(wrapped)

    return decorate


def asker(yes: bool) -> setups.Confirm:
    """Consent: given by --yes, asked for at a terminal, and refused where nobody can answer."""

    def confirm(question: str) -> bool:
        if yes:
            return True
        return shell.is_terminal() and input(f"{question} [y/N] ").strip().lower() == "y"

    return confirm


def ready() -> Stack:
    """The lab of this clone as it is, on an engine that can carry it."""
    settings = settings_module.load()
    engines.require(engines.find())
    return probe.as_is(settings)


def decided(mode: str = "") -> Decision:
    """The lab of this clone with its GPU and its PyTorch chosen anew; says which and why."""
    settings = settings_module.load()
    decision = probe.decide(settings, engines.require(engines.find()), mode)
    print(f"  {'gpu':<12} {decision.choice.line}", flush=True)
    return decision


@contextmanager
def alone(lab: Stack, what: str) -> Iterator[None]:
    """One changing task at a time; what an interrupted one left half done is put back first."""
    with stack.alone(what):
        packages.recover(lab)
        yield


@lab_task(yes="do not ask before installing or building")
def setup(c: Context, yes: bool = False) -> None:
    """Make this machine ready: .env, folders, engine, base image."""
    confirm = asker(yes)
    setups.refuse_read_only()
    # The engine first: as it starts, labs of other clones come back and take their ports again.
    setups.the_engine(confirm)
    setups.env_file()
    settings = settings_module.load()
    setups.folders(settings)
    setups.package_settings(settings, bool(settings.host_wheels))
    setups.base_image(settings, confirm)
    print("Ready. Next: invoke up")


@lab_task()
def build(c: Context) -> None:
    """Build the images, as far as something changed."""
    decision = decided()
    with alone(decision.lab, "build"):
        print_seconds("built", refreshed_build(decision.lab, decision.build.reason))


@lab_task(
    no_build="start with the images as they are",
    gpu="auto (one where the engine offers it), on (or fail), off; wins over GPU= in .env",
    force="replace running services although kernels are busy",
)
def up(c: Context, no_build: bool = False, gpu: str = "", force: bool = False) -> None:
    """Start the lab and wait until it answers."""
    decision = decided(gpu)
    lab = decision.lab
    settings_module.raise_problems(list(stack.held_ports(lab.settings)))
    stack.model(lab)
    with alone(lab, "up"):
        if not no_build and stack.stale(lab):
            print_seconds("built", refreshed_build(lab, decision.build.reason))
        tell_recreated(lab, force)
        lab = start_proven(decision)
        stack.drop_superseded(lab.settings.project)
    announce(lab)
    tell_lives(lab)


def refreshed_build(lab: Stack, why: str) -> float:
    print(f"  {'pytorch':<12} {lab.torch_backend}: {why}", flush=True)
    setups.package_settings(lab.settings, bool(lab.settings.host_wheels))
    return stack.build(lab)


def start_proven(decision: Decision) -> Stack:
    """Up, and with a GPU sure that it computes; `auto` goes on without it, and says so."""
    lab = decision.lab
    try:
        start(lab)
        if lab.overlays and not probe.proven(lab):
            print_seconds("the GPU computes", proof.verify(lab, decision.stamp))
    except LabError as error:
        broken = error.code in (Code.GPU_NOT_OFFERED, Code.GPU_PROOF)
        if decision.mode == "on" or not broken:
            raise
        print(f"{error.problem}\nThe lab goes on on the CPU; {error.fix}.", flush=True)
        lab = replace(lab, overlays=())
        start(lab)
        probe.remember(lab, decision.stamp, error.problem)
    return lab


def tell_recreated(lab: Stack, force: bool) -> None:
    """Say which running services `up` will replace, and spare kernels that are at work."""
    names = stack.to_recreate(lab)
    if not names:
        return
    busy = jupyter.busy_kernels(lab) if "jupyter" in names else []
    if busy and not force:
        raise LabError(
            f"`up` would replace {' and '.join(names)}, and kernels are busy: {', '.join(busy)}",
            fix="wait for them, or lose what they compute: invoke up --force",
            code=Code.BUSY,
        )
    print(f"Replacing {' and '.join(names)}: the image or the settings changed.")


def start(lab: Stack) -> None:
    """Up, and sure that the token in .env is the one that opens the door."""
    before = container_ids(lab)
    started = time.monotonic()
    done = stack.up(lab)
    if not done.ok:
        raise probe.refused(lab, done.text) or lives.unhealthy(
            lives.watch(lab), done.text, stack.logs_of(lab, [])
        )
    if container_ids(lab) != before:
        print_seconds("up", time.monotonic() - started)
    elif jupyter.token_opens(lab):
        print_seconds("already up; nothing was touched", time.monotonic() - started)
    else:
        # Compose does not compare the content of secrets.
        print("The token in .env changed: JupyterLab is started anew.")
        lab.attach("up", "--detach", "--wait", "--no-build", "--force-recreate", "jupyter")


def container_ids(lab: Stack) -> set[str]:
    return {one.id for one in stack.running(lab).values()}


def tell_lives(lab: Stack) -> None:
    """What happened to the containers while nobody looked."""
    for notice in lives.notices(lives.read(lab)):
        print(f"  note: {notice}")


def announce(lab: Stack) -> None:
    for name, address in stack.urls(lab).items():
        print(f"  {name:<12} {address}")
    if not settings_module.is_loopback(lab.settings.bind_address):
        print(
            f"  BIND_ADDRESS={lab.settings.bind_address}: other machines can reach JupyterLab, "
            "unencrypted; the token is its only lock."
        )


def print_seconds(what: str, seconds: float) -> None:
    print(f"  {what} ({seconds:.1f} s)", flush=True)


@lab_task()
def down(c: Context) -> None:
    """Stop the lab; your files, .env and caches stay."""
    lab = ready()
    with alone(lab, "down"):
        done = shell.stream(lab.compose("down", "--remove-orphans"))
    if not done.ok:
        raise LabError(
            f"the lab could not be stopped: {done.text.strip()}",
            fix="run `invoke down` again; `invoke status` shows what is left",
            code=Code.UNHEALTHY,
        )


@lab_task(
    images="the images too",
    cache="downloads and build steps kept for the next build, too",
    volumes="the home volume (model caches, JupyterLab's own settings), too",
    all_="all of it",
    dry_run="show the plan and stop",
    yes="do not ask",
)
def clean(
    c: Context,
    images: bool = False,
    cache: bool = False,
    volumes: bool = False,
    all_: bool = False,
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Remove what this clone left on the engine; not your files."""
    lab = ready()
    wish = cleanup.Wish(images=images or all_, volumes=volumes or all_, cache=cache or all_)
    with alone(lab, "clean"):
        before = cleanup.survey(lab.settings.project)
        plan = cleanup.plan(before, wish)
        show_plan(lab, before, plan, wish)
        if dry_run or not plan:
            return
        if not asker(yes)(f"Remove these {len(plan)} things?"):
            raise LabError(
                "nothing was removed", fix="invoke clean --yes (or answer y)", code=Code.CLEAN
            )
        engine = engines.find()
        held = cleanup.engine_bytes(engine)
        failures = cleanup.act(plan, functools.partial(print, flush=True))
        report_clean(lab, plan, held - cleanup.engine_bytes(engine), failures)


def show_plan(lab: Stack, before: list[Thing], plan: list[Thing], wish: cleanup.Wish) -> None:
    """The plan as a table, one row a kind of thing where there are many."""
    shared = "images share layers: less comes back than the sum"
    table = Table(title=f"clean {lab.settings.project}", caption=shared)
    for heading in ("what", "name", "size", "goes"):
        table.add_column(heading)
    for thing in before:
        if thing.kind != "cache":
            going = "yes" if thing in plan else "stays"
            table.add_row(thing.kind, thing.name, cleanup.human(thing.size), going)
    records = [thing for thing in before if thing.kind == "cache"]
    if records:
        size = cleanup.human(sum(thing.size for thing in records))
        going = "yes" if wish.cache else "stays"
        table.add_row("cache", f"{len(records)} records of build steps", size, going)
    Console().print(table)
    others = cleanup.other_clones(lab.settings.project)
    if wish.cache and others:
        print(f"The build cache stays: {', '.join(sorted(others))} uses it too.")
    if not plan:
        print("Nothing to remove.")


def report_clean(lab: Stack, plan: list[Thing], freed: int, failures: list[str]) -> None:
    """What really went, and what the engine's disk got back by it.

    freed: bytes; other processes that write at the same time can make it less than nothing.
    """
    left = {thing.ref for thing in cleanup.survey(lab.settings.project)}
    gone = [thing for thing in plan if thing.ref not in left]
    print(f"Removed {len(gone)} things; {cleanup.human(max(0, freed))} came back.")
    kinds = {thing.kind for thing in gone}
    if "image" in kinds and "cache" not in kinds:
        print("The build cache still holds the layers of the images, for the next build.")
    if failures:
        raise LabError(
            "some would not go:\n  " + "\n  ".join(failures),
            fix="stop what uses them, then run `invoke clean` again",
            code=Code.CLEAN,
        )


def ready_to_install() -> Stack:
    """The lab, with this host's package settings where a build finds them."""
    lab = ready()
    if not setups.has_package_settings():
        setups.package_settings(lab.settings, bool(lab.settings.host_wheels))
    return lab


@lab_task(
    requirement="a name, a requirement, a URL, a path in this clone; several in one argument",
    system="system packages (Debian's) instead, for docker/apt.txt",
    upgrade="let what was added before move to newer versions",
    no_live="leave the running lab as it is",
    no_build="change the requirement files only; the next `up` builds",
)
def add_package(
    c: Context,
    requirement: str,
    system: bool = False,
    upgrade: bool = False,
    no_live: bool = False,
    no_build: bool = False,
) -> None:
    """Add a package for good, live and in the image."""
    help_instead("add-package", requirement)
    wanted = () if system else requirements.parse(requirement, ROOT)
    names = requirements.debian_names(requirement) if system else ()
    options = Options(live=not no_live, build=not no_build, upgrade=upgrade)
    lab = ready_to_install()
    with alone(lab, "add-package"):
        phases = Phases()
        if system:
            fresh = told_already(names, packages.system())
            if fresh:
                every = (*packages.system(), *fresh)
                report(lab, packages.set_system(lab, every, options, phases), phases)
            return
        todo = [one for one in wanted if upgrade or not nothing_to_do(one)]
        if todo:
            report(lab, packages.add(lab, todo, options, phases), phases)


def help_instead(verb: str, typed: str) -> None:
    """Invoke takes what follows a verb with a positional for its value, `--help` included."""
    if typed in ("--help", "-h"):
        finish(shell.attach((sys.executable, "-m", "invoke", "--help", verb), quiet=True))
        raise Exit(code=0)


def told_already(names: Sequence[str], there: Sequence[str]) -> list[str]:
    for name in names:
        if name in there:
            print(f"{name} is there already.")
    return [name for name in names if name not in there]


def nothing_to_do(one: requirements.Wanted) -> bool:
    """Whether a requirement is met already, said aloud."""
    told = packages.already(one)
    if told:
        print(f"{told}; nothing to do.")
    return bool(told)


@lab_task(
    package="the package, or several in one argument",
    system="system packages instead",
    no_live="leave the running lab as it is",
    no_build="change the requirement files only; the next `up` builds",
)
def remove_package(
    c: Context, package: str, system: bool = False, no_live: bool = False, no_build: bool = False
) -> None:
    """Take a package out, with what only it needed."""
    help_instead("remove-package", package)
    wanted = requirements.debian_names(package) if system else requirements.names(package)
    options = Options(live=not no_live, build=not no_build)
    lab = ready_to_install()
    with alone(lab, "remove-package"):
        phases = Phases()
        if system:
            refuse_absent(wanted, packages.system(), "docker/apt.txt")
            rest = [one for one in packages.system() if one not in wanted]
            report(lab, packages.set_system(lab, rest, options, phases), phases)
            return
        packages.refuse_unasked(lab, wanted)
        changed = packages.remove(lab, wanted, options, phases)
        report(lab, changed, phases)
        for kept in (one for one in wanted if one in packages.locked()):
            others = ", ".join(packages.needed_by(kept, live.in_image(lab))) or "another package"
            print(f"{kept} stays in the image: {others} needs it.")


def refuse_absent(names: Sequence[str], there: Sequence[str], where: str) -> None:
    absent = [name for name in names if name not in there]
    if absent:
        raise LabError(
            f"{', '.join(absent)}: not in {where}",
            fix="invoke packages (shows what was asked for)",
            code=Code.PACKAGE_UNKNOWN,
        )


def report(lab: Stack, changed: Changed, phases: Phases) -> None:
    """What changed, where, and how long each phase took."""
    if changed.rows:
        show_difference(changed.rows)
    table = Table(title="phases")
    for heading in phases.seconds:
        table.add_column(heading, justify="right")
    table.add_row(*(f"{taken:.1f} s" for taken in phases.seconds.values()))
    Console().print(table)
    if changed.live:
        print("In the running lab now; a module that a kernel has loaded stays until it restarts.")
    if not changed.built:
        print("The image is as it was: the next `invoke up` builds it.")
    elif stack.to_recreate(lab):
        print("The image has it, too: the next `invoke up` takes it.")


def show_difference(rows: Sequence[tuple[str, str, str]]) -> None:
    table = Table()
    for heading in ("package", "before", "now"):
        table.add_column(heading)
    for name, before, now in rows:
        table.add_row(name, before or "-", now or "-")
    Console().print(table)


@lab_task(json_="as JSON, for programs")
def packages_(c: Context, json_: bool = False) -> None:
    """Show what is asked for, locked, built and running."""
    lab = ready()
    rows = packages.overview(live.in_image(lab), live.in_lab(lab))
    if json_:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title=lab.settings.project)
    headings = ("package", "asked for", "locked", "image", "running", "note")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(row[heading] for heading in headings))
    Console().print(table)
    for problem in locks.stale(packages.DOCKER):
        print(f"{problem}: invoke lock")


@lab_task(yes="do not ask")
def capture(c: Context, yes: bool = False) -> None:
    """Keep what was installed by hand in the running lab."""
    lab = ready_to_install()
    require_up(lab)
    with alone(lab, "capture"):
        running, image = live.in_lab(lab), live.in_image(lab)
        names = live.by_hand(running, image)
        found = live.named(running, names)
        if not found:
            print("Nothing was installed by hand.")
            return
        print("Installed by hand: " + ", ".join(f"{n} {running[n].version}" for n in names))
        wanted = requirements.parse(" ".join(found.values()), ROOT)
        if not asker(yes)(f"Add {', '.join(found)} for good?"):
            raise LabError(
                "nothing was added",
                fix="invoke capture --yes (or answer y)",
                code=Code.CONSENT,
            )
        phases = Phases()
        hold = {name: running[name].version for name in names if not running[name].url}
        report(lab, packages.add(lab, wanted, Options(), phases, hold), phases)


@lab_task(
    check="only say whether a lock is stale; needs no engine",
    all_="also the base's locks, TensorBoard's and the tools'",
)
def lock(c: Context, check: bool = False, all_: bool = False) -> None:
    """Bring the locks up to date, and show what moved."""
    if check:
        problems = [*locks.stale(packages.DOCKER), *packages.stale_tools()]
        if problems:
            raise refusals.stale(problems)
        print("Every lock holds what was asked for.")
        return
    lab = ready_to_install()
    with alone(lab, "lock"):
        phases = Phases()
        report(lab, packages.refresh(lab, all_, phases), phases)
        if all_:
            show_difference(packages.refresh_tools())


@lab_task(json_="as JSON, for programs")
def status(c: Context, json_: bool = False) -> None:
    """Show what runs, since when, and where."""
    lab = ready()
    rows = stack.running(lab)
    stale = stack.stale(lab)
    addresses = stack.urls(lab)
    services = {
        name: {
            "state": rows[name].state if name in rows else "down",
            "health": rows[name].health if name in rows else "",
            "status": rows[name].status if name in rows else "",
            "url": addresses[name].partition("lab?token=")[0],
        }
        for name in stack.SERVICES
    }
    choice = probe.running(lab)
    devices = list(choice.devices) if choice else []
    if json_:
        payload: dict[str, Any] = {"project": lab.settings.project, "stale": stale}
        payload |= {"services": services, "notices": lives.notices(lives.read(lab))}
        payload |= {"gpu": devices, "torch_backend": lab.torch_backend}
        print(json.dumps(payload, indent=2))
        return
    table = Table(title=lab.settings.project)
    for heading in ("service", "state", "health", "since", "address"):
        table.add_column(heading)
    for name, row in services.items():
        table.add_row(name, row["state"], row["health"], row["status"], row["url"])
    Console().print(table)
    if devices:
        print(f"JupyterLab has the GPU: {', '.join(devices)}")
    if stale:
        print("The images are not up to date: the next `invoke up` builds them.")
    tell_lives(lab)


@lab_task(json_="as JSON, for programs")
def doctor(c: Context, json_: bool = False) -> None:
    """Say what is wrong with machine, engine and lab, and the fix."""
    started = time.monotonic()
    findings = doctors.diagnose()
    if json_:
        print(json.dumps(doctors.as_json(findings), indent=2))
    else:
        doctors.show(findings)
        print_seconds(doctors.summary(findings), time.monotonic() - started)
    if doctors.failed(findings):
        raise Exit(code=Code.FINDINGS)


@lab_task()
def url(c: Context) -> None:
    """Print the links, JupyterLab's with its token."""
    announce(ready())


@lab_task()
def open_(c: Context) -> None:
    """Open JupyterLab and TensorBoard in the browser."""
    lab = ready()
    require_up(lab)
    for address in stack.urls(lab).values():
        webbrowser.open(address)


def require_up(lab: Stack) -> None:
    if not stack.healthy(lab):
        raise LabError("the lab is not up", fix="invoke up", code=Code.NOT_UP)


@lab_task(service="jupyter or tensorboard; both by default", follow="as they come")
def logs(c: Context, service: str = "", follow: bool = False) -> None:
    """Show the services' logs."""
    names = named(service)
    options = ["--follow"] if follow else []
    finish(ready().attach("logs", *options, *names))


def named(service: str) -> list[str]:
    """A service's name as arguments, or none for all of them."""
    if service and service not in stack.SERVICES:
        raise LabError(
            f"there is no service {service}",
            fix=f"use one of: {', '.join(stack.SERVICES)}",
            code=Code.SETTINGS,
        )
    return [service] if service else []


@lab_task(service="jupyter or tensorboard")
def shell_(c: Context, service: str = "jupyter") -> None:
    """Open a shell in a running service."""
    names = named(service)
    lab = ready()
    require_up(lab)
    finish(lab.attach("exec", *no_terminal(), *names, "bash"))


@lab_task()
def run(c: Context) -> None:
    """Run in the lab's image: invoke run -- python train.py"""
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not command:
        raise LabError(
            "there is no command to run", fix="invoke run -- python train.py", code=Code.SETTINGS
        )
    lab, why = started_or_decided()
    if stack.stale(lab):
        with alone(lab, "run"):
            print_seconds("built", refreshed_build(lab, why))
    finish(lab.attach("run", "--rm", "--no-deps", *no_terminal(), "jupyter", *command))


def started_or_decided() -> tuple[Stack, str]:
    """The running lab with the GPU that it has; where none runs, what `up` would start.

    Beside it, why this build of PyTorch.
    """
    lab = ready()
    jupyter = stack.running(lab).get("jupyter")
    if jupyter and jupyter.state == "running":
        return lab, "the image has it"
    decision = decided()
    return decision.lab, decision.build.reason


def no_terminal() -> list[str]:
    return [] if shell.is_terminal() else ["--no-TTY"]


def finish(returncode: int) -> None:
    """End with another command's exit status, where it has one to tell."""
    if returncode:
        raise Exit(code=returncode)


namespace = Collection()
for verb, body in {
    "setup": setup,
    "build": build,
    "up": up,
    "down": down,
    "add-package": add_package,
    "remove-package": remove_package,
    "packages": packages_,
    "capture": capture,
    "lock": lock,
    "clean": clean,
    "status": status,
    "doctor": doctor,
    "url": url,
    "open": open_,
    "logs": logs,
    "shell": shell_,
    "run": run,
}.items():
    namespace.add_task(body, name=verb)
