"""The lab's verbs: `invoke --list` is the table of contents, `invoke VERB --help` the manual."""

from __future__ import annotations

import functools
import http.client
import json
import sys
import time
import urllib.parse
import webbrowser
from collections.abc import Callable
from typing import Any, TypeVar

from invoke import Collection, Context, Exit, task
from rich.console import Console
from rich.table import Table

from labcrate import cleanup, lives, shell, stack
from labcrate import engine as engines
from labcrate import settings as settings_module
from labcrate import setup as setups
from labcrate.cleanup import Thing
from labcrate.errors import Code, LabError
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


def current() -> Stack:
    """The lab of this clone, settings checked, nothing asked of the engine yet."""
    return Stack(settings=settings_module.load())


def ready() -> Stack:
    """The lab of this clone on an engine that can carry it."""
    lab = current()
    engines.require(engines.find())
    return lab


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
    lab = ready()
    with stack.alone("build"):
        print_seconds("built", refreshed_build(lab))


@lab_task(no_build="start with the images as they are")
def up(c: Context, no_build: bool = False) -> None:
    """Start the lab and wait until it answers."""
    lab = ready()
    settings_module.raise_problems(list(stack.held_ports(lab.settings)))
    stack.model(lab)
    with stack.alone("up"):
        if not no_build and stack.stale(lab):
            print_seconds("built", refreshed_build(lab))
        start(lab)
        stack.drop_superseded(lab.settings.project)
    announce(lab)
    tell_lives(lab)


def refreshed_build(lab: Stack) -> float:
    setups.package_settings(lab.settings, bool(lab.settings.host_wheels))
    return stack.build(lab)


def start(lab: Stack) -> None:
    """Up, and sure that the token in .env is the one that opens the door."""
    before = container_ids(lab)
    started = time.monotonic()
    done = stack.up(lab)
    if not done.ok:
        raise lives.unhealthy(lives.watch(lab), done.text, stack.logs_of(lab, []))
    if container_ids(lab) != before:
        print_seconds("up", time.monotonic() - started)
    elif token_opens(lab):
        print_seconds("already up; nothing was touched", time.monotonic() - started)
    else:
        # Compose does not compare the content of secrets.
        print("The token in .env changed: JupyterLab is started anew.")
        lab.attach("up", "--detach", "--wait", "--no-build", "--force-recreate", "jupyter")


def container_ids(lab: Stack) -> set[str]:
    return {row["ID"] for row in stack.running(lab).values()}


def token_opens(lab: Stack) -> bool:
    """Whether the running JupyterLab takes the token of .env."""
    # http.client knows no proxy: the token must not travel to one.
    address = urllib.parse.urlsplit(stack.urls(lab)["jupyter"]).netloc
    connection = http.client.HTTPConnection(address, timeout=5)
    authorization = {"Authorization": f"token {lab.settings.jupyter_token}"}
    try:
        connection.request("GET", "/api/status", headers=authorization)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


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
    with stack.alone("down"):
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
    """Remove what this clone left on the engine; your files and .env stay."""
    lab = ready()
    wish = cleanup.Wish(images=images or all_, volumes=volumes or all_, cache=cache or all_)
    with stack.alone("clean"):
        before = cleanup.survey(lab.settings.project)
        plan = cleanup.plan(before, wish)
        show_plan(lab, before, plan, wish)
        if dry_run or not plan:
            return
        if not asker(yes)(f"Remove these {len(plan)} things?"):
            raise LabError(
                "nothing was removed", fix="invoke clean --yes (or answer y)", code=Code.CLEAN
            )
        held = cleanup.engine_bytes()
        failures = cleanup.act(plan, functools.partial(print, flush=True))
        report_clean(lab, plan, held, failures)


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


def report_clean(lab: Stack, plan: list[Thing], held: int, failures: list[str]) -> None:
    """What really went, and what the engine's disk got back by it.

    held: the engine's bytes before.
    """
    left = {thing.ref for thing in cleanup.survey(lab.settings.project)}
    gone = [thing for thing in plan if thing.ref not in left]
    state = sum(thing.size for thing in gone if thing.kind == "state")
    freed = max(0, held - cleanup.engine_bytes()) + state
    print(f"Removed {len(gone)} things; {cleanup.human(freed)} came back.")
    kinds = {thing.kind for thing in gone}
    if "image" in kinds and "cache" not in kinds:
        print("The build cache still holds the layers of the images, for the next build.")
    if failures:
        raise LabError(
            "some would not go:\n  " + "\n  ".join(failures),
            fix="stop what uses them, then run `invoke clean` again",
            code=Code.CLEAN,
        )


@lab_task(json_="as JSON, for programs")
def status(c: Context, json_: bool = False) -> None:
    """Show what runs, since when, and where."""
    lab = ready()
    rows = stack.running(lab)
    stale = stack.stale(lab)
    addresses = stack.urls(lab)
    services = {
        name: {
            "state": rows.get(name, {}).get("State", "down"),
            "health": rows.get(name, {}).get("Health", ""),
            "status": rows.get(name, {}).get("Status", ""),
            "url": addresses[name].partition("lab?token=")[0],
        }
        for name in stack.SERVICES
    }
    if json_:
        payload: dict[str, Any] = {"project": lab.settings.project, "stale": stale}
        payload |= {"services": services, "notices": lives.notices(lives.read(lab))}
        print(json.dumps(payload, indent=2))
        return
    table = Table(title=lab.settings.project)
    for heading in ("service", "state", "health", "since", "address"):
        table.add_column(heading)
    for name, row in services.items():
        table.add_row(name, row["state"], row["health"], row["status"], row["url"])
    Console().print(table)
    if stale:
        print("The images are not up to date: the next `invoke up` builds them.")
    tell_lives(lab)


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
    """Run a command in the lab's image: invoke run -- python train.py"""
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not command:
        raise LabError(
            "there is no command to run", fix="invoke run -- python train.py", code=Code.SETTINGS
        )
    lab = ready()
    if stack.stale(lab):
        with stack.alone("run"):
            print_seconds("built", refreshed_build(lab))
    finish(lab.attach("run", "--rm", "--no-deps", *no_terminal(), "jupyter", *command))


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
    "clean": clean,
    "status": status,
    "url": url,
    "open": open_,
    "logs": logs,
    "shell": shell_,
    "run": run,
}.items():
    namespace.add_task(body, name=verb)
