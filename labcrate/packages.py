"""`invoke add-package` and its kin: resolve, try live, build, verify, and only then keep.

Resolving happens inside the base image, against what is really installed there. All that the base
holds is a constraint, and so is what the lock had, so that neither moves unasked.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labcrate import live, locks, refusals, shell, stack, transaction
from labcrate.errors import Code, LabError
from labcrate.hostpip import STATE
from labcrate.live import INSIDE, Installed, Live
from labcrate.locks import Pin
from labcrate.requirements import Wanted, file_name
from labcrate.shell import ROOT
from labcrate.stack import Stack

DOCKER = ROOT / "docker"
UV = (sys.executable, "-m", "uv")
"""The uv of this environment, whether its folder is on PATH or not."""

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Options:
    """live: into the running lab, too. build: at once. upgrade: what the lock had may move."""

    live: bool = True
    build: bool = True
    upgrade: bool = False


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What a change did. rows: (name, where before, where after)."""

    rows: tuple[tuple[str, str, str], ...] = ()
    live: bool = False
    built: bool = False


@dataclass
class Phases:
    """How long each phase took, in seconds; each is announced as it begins."""

    seconds: dict[str, float] = field(default_factory=dict)

    def announce(self, name: str, what: str) -> None:
        print(f"{name}: {what}", flush=True)
        self.seconds[name] = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started

    @contextmanager
    def __call__(self, name: str, what: str) -> Iterator[None]:
        self.announce(name, what)
        with self.timed(name):
            yield


def key(line: str) -> str:
    """The project that a requirement line names."""
    return canonicalize_name(Requirement(line).name)


def asked(folder: Path = DOCKER) -> dict[str, str]:
    """name -> line of each requirement of packages.in."""
    return {key(line): line for line in locks.lines((folder / "packages.in").read_text())}


def system(folder: Path = DOCKER) -> list[str]:
    return locks.lines((folder / "apt.txt").read_text())


def locked(folder: Path = DOCKER) -> dict[str, Pin]:
    return locks.pins((folder / "packages.lock").read_text())


def base() -> dict[str, Pin]:
    """What the base's locks hold; the image itself has the last word, when it resolves."""
    texts = [(DOCKER / f"{name}.lock").read_text() for name in ("torch", "base")]
    return {name: pin for text in texts for name, pin in locks.pins(text).items()}


def already(wanted: Wanted) -> str:
    """Why there is nothing to do for a requirement; empty where there is something."""
    if wanted.path or wanted.requirement.url:
        return ""
    spec, bare = wanted.requirement.specifier, not wanted.requirement.extras
    held = base().get(wanted.name)
    if held and bare and spec.contains(held.version, prereleases=True):
        return f"{wanted.name} {held.version} is in the base already"
    pin, line = locked().get(wanted.name), asked().get(wanted.name, "")
    if pin and line and (line == wanted.line or (bare and not spec)):
        return f"{wanted.name} {pin.where} is there already"
    return ""


def rewrite(path: Path, wanted: Mapping[str, str], key_of: Callable[[str], str] = key) -> None:
    """Give a file exactly the wanted lines; those that stay keep their place and comments."""
    left = dict(wanted)
    kept = []
    for line in path.read_text().splitlines():
        bare = locks.lines(line)
        if not bare:
            kept.append(line)
        elif new := left.pop(key_of(bare[0]), ""):
            kept.append(line if bare[0] == new else new)
    path.write_text("".join(f"{line}\n" for line in (*kept, *left.values())))


@contextmanager
def candidate_folder(lab: Stack) -> Iterator[Path]:
    """A candidate that is gone afterwards, whatever happens, and its image's name with it."""
    try:
        yield transaction.prepare(STATE, DOCKER)
    finally:
        transaction.discard(STATE)
        shell.capture(("docker", "image", "rm", f"{lab.image()}:candidate"), timeout_s=60)


def add(
    lab: Stack,
    wanted: Sequence[Wanted],
    options: Options,
    phases: Phases,
    hold: Mapping[str, str] = NOTHING,
) -> Changed:
    """Add requirements to packages.in, for good. hold: versions to take for names that are new."""
    with candidate_folder(lab) as candidate:
        staged = [stage(one, candidate) for one in wanted]
        lines = {**asked(), **{one.name: one.line for one in staged}}
        rewrite(candidate / "packages.in", lines)
        return change(lab, candidate, options, phases, hold)


def remove(lab: Stack, names: Sequence[str], options: Options, phases: Phases) -> Changed:
    """Take requirements out of packages.in; what nothing needs any more goes with them."""
    with candidate_folder(lab) as candidate:
        lines = {name: line for name, line in asked().items() if name not in names}
        rewrite(candidate / "packages.in", lines)
        return change(lab, candidate, options, phases)


def set_system(lab: Stack, names: Sequence[str], options: Options, phases: Phases) -> Changed:
    """Another docker/apt.txt. Not live: nobody in the running lab may install system packages."""
    with candidate_folder(lab) as candidate:
        rewrite(candidate / "apt.txt", {name: name for name in names}, str)
        image = build(lab, candidate, [], phases) if options.build else ""
        with phases("keep", "docker/apt.txt and the image"):
            keep(lab, candidate, image)
        return Changed(built=bool(image))


def refresh(lab: Stack, everything: bool, phases: Phases) -> Changed:
    """Newer versions of what the user added; with everything, of the base's locks first."""
    with candidate_folder(lab) as candidate:
        if everything:
            with phases("compile", "the locks of the base and of TensorBoard"):
                for name in ("uv", "torch", "tensorboard", "base"):
                    compile_lock(candidate, name)
        return change(lab, candidate, Options(live=False, upgrade=True), phases)


def compile_lock(folder: Path, name: str) -> None:
    """One lock of the base, for every platform that the base's Python runs on."""
    below = [part for lower in locks.BELOW[name] for part in ("-c", f"{lower}.lock")]
    form = ("--universal", "--python-version", locks.PYTHON, "--generate-hashes")
    plain = ("--quiet", "--no-header", "--no-annotate")
    command = (*UV, "pip", "compile", *form, *plain, *below, f"{name}.in")
    done = shell.capture(command, cwd=folder, timeout_s=300)
    if not done.ok:
        raise refusals.unresolved(f"{name}.in", done.stderr, base(), {})
    source = (folder / f"{name}.in").read_text()
    (folder / f"{name}.lock").write_text(locks.header(f"{name}.in", source) + done.stdout)


def stage(wanted: Wanted, candidate: Path) -> Wanted:
    """Put a local wheel or project into the candidate, where builds find it."""
    if wanted.path is None:
        return wanted
    source = sdist(wanted.path) if wanted.path.is_dir() else wanted.path
    data = source.read_bytes()
    # A folder named after the content: another build of the same version gets another address.
    folder = Path(transaction.LOCAL) / sha256(data).hexdigest()[:12]
    (candidate / folder).mkdir(parents=True, exist_ok=True)
    (candidate / folder / source.name).write_bytes(data)
    name = wanted.name or file_name(str(wanted.path), source.name)
    return Wanted(name=name, line=f"{name} @ file://{INSIDE}/{folder.as_posix()}/{source.name}")


def sdist(project: Path) -> Path:
    """A project folder as an sdist: the image builds the wheel, for its own Python."""
    target = STATE / "sdist"
    for old in target.glob("*"):
        old.unlink()
    form = ("--quiet", "--sdist", "--out-dir", str(target))
    done = shell.capture((*UV, "build", *form, str(project)), timeout_s=300)
    made = sorted(target.glob("*.tar.gz"))
    if not done.ok or not made:
        raise LabError(
            f"{project.relative_to(ROOT)} cannot be packed:\n{done.stderr.strip()}",
            fix="mend the project (uv build --sdist shows the same), then the same command again",
            code=Code.PACKAGE_BROKEN,
        )
    return made[-1]


def change(
    lab: Stack,
    candidate: Path,
    options: Options,
    phases: Phases,
    hold: Mapping[str, str] = NOTHING,
) -> Changed:
    """Carry one candidate through to the end, or leave everything as it was."""
    before = locked()
    with phases("resolve", "what it takes, inside the base image"), ThreadPoolExecutor() as pool:
        seen = pool.submit(live.in_lab, lab) if options.live else None
        lock = resolve(lab, candidate, {} if options.upgrade else before, hold)
    source = (candidate / "packages.in").read_text()
    (candidate / "packages.lock").write_text(locks.header("packages.in", source) + lock)
    after = locks.pins(lock)
    rows = locks.difference(before, after)
    running = Live(lab=lab, before=seen.result() if seen else {})
    fresh = [name for name, _, new in rows if new and name in asked(candidate)]

    def bring() -> None:
        with phases.timed("live"):
            running.bring(candidate, (row[0] for row in rows), after)

    try:
        with ThreadPoolExecutor() as pool:
            if running.before:
                phases.announce("live", "into the running lab; no kernel is restarted")
            brought = pool.submit(bring) if running.before else None
            image = build(lab, candidate, fresh, phases) if options.build else ""
            if brought:
                brought.result()
        with phases("keep", "docker/packages.in, its lock and the image"):
            keep(lab, candidate, image)
    except BaseException:
        running.put_back()
        raise
    return Changed(rows=tuple(rows), live=bool(running.before), built=bool(image))


def resolve(lab: Stack, candidate: Path, held: Mapping[str, Pin], hold: Mapping[str, str]) -> str:
    """The lock of the candidate's packages.in, from inside the base image."""
    old, new = asked(), asked(candidate)
    fresh = {name: line for name, line in new.items() if line != old.get(name)}
    # What this change asks for anew must not be held at the version that it had as a dependency.
    kept = {name: pin for name, pin in held.items() if pin.version and name not in fresh}
    versions = {**{name: pin.version for name, pin in kept.items()}, **hold}
    lines = ["# held", *(f"{name}=={version}" for name, version in versions.items())]
    (candidate / "keep.txt").write_text("\n".join(lines) + "\n")
    stack.bake(lab, candidate, {"resolved": answering("resolved")})
    answer = answer_of("resolved")
    if not answer["ok"]:
        raise refusals.unresolved(", ".join(fresh.values()), answer["said"], base(), kept)
    lock: str = answer["lock"]
    return lock


def answering(stage: str, **args: str) -> dict[str, Any]:
    """The bake target of a stage whose answer.json this host reads; asked anew each time.

    no-cache would do that, too, and give uv an empty cache mount: BuildKit finds one with an owner
    again by the cached step that made it.
    """
    output = stack.fields(type="local", dest=str(STATE / stage))
    return {"output": [output], "args": {**args, "ASKED": str(time.time_ns())}}


def answer_of(stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STATE / stage / "answer.json").read_text())
    return found


def build(lab: Stack, candidate: Path, names: Sequence[str], phases: Phases) -> str:
    """The candidate's image, built and verified; its id. names: what must import.

    It is looked into while the engine still writes it, which takes as long.
    """
    name = f"{lab.image()}:candidate"
    label = {"dev.labcrate.inputs": lab.inputs("jupyter", candidate)}
    image = {"tags": [name], "output": ["type=docker"], "labels": label}
    asking = answering("verified", NAMES=" ".join(names))
    with phases("build", "the final stage alone, and a look whether all of it works"):
        stack.bake(lab, candidate, {"final": image, "verified": asking})
        refusals.check_verified(answer_of("verified"))
    return stack.image_id(name)


def keep(lab: Stack, candidate: Path, image: str) -> None:
    transaction.commit(
        STATE,
        DOCKER,
        candidate,
        old_image=stack.image_id(lab.image()),
        new_image=image,
        retag=retagger(lab),
    )
    stack.drop_superseded(lab.settings.project)


def retagger(lab: Stack) -> transaction.Retag:
    def retag(image: str) -> None:
        done = shell.capture(("docker", "tag", image, lab.image()))
        if not done.ok:
            raise LabError(
                f"the image cannot be named: {done.stderr.strip()}",
                fix="run the same command again",
                code=Code.BUILD,
            )

    return retag


def recover(lab: Stack) -> None:
    """Put back what an interrupted change left half done. Call it with the clone's lock held."""
    if transaction.recover(STATE, DOCKER, retagger(lab)):
        print("A change of the packages that was cut off has been put back.")


def needed_by(name: str, installed: Mapping[str, Installed]) -> list[str]:
    """The distributions that need this one."""
    return sorted(other for other, one in installed.items() if name in one.needs)


def refuse_unasked(lab: Stack, names: Sequence[str]) -> None:
    """Only what packages.in asks for can be taken out of it."""
    for name in names:
        if name in asked():
            continue
        if name in base():
            problem, fix = f"{name} belongs to the base", "nothing to do: the base stays as it is"
        elif name in locked():
            others = [n for n in needed_by(name, live.in_image(lab)) if n in locked()]
            needing = ", ".join(others) or "another package"
            problem = f"{name} was not asked for: {needing} needs it"
            fix = f"invoke remove-package {others[0]}" if others else "invoke packages"
        else:
            near = refusals.nearest(name, asked())
            problem = f"{name} is not among the added packages"
            fix = f"did you mean {near[0]}?" if near else "invoke packages (shows them)"
        raise LabError(problem, fix=fix, code=Code.PACKAGE_UNKNOWN)


def overview(
    image: Mapping[str, Installed], running: Mapping[str, Installed]
) -> list[dict[str, str]]:
    """A row for each package that was asked for, is locked, or was installed by hand."""
    lines, pins = asked(), locked()
    hand = live.by_hand(running, image)
    names = sorted({*lines, *pins, *hand})
    return [
        {
            "package": name,
            "asked for": lines.get(name, ""),
            "locked": pins[name].where if name in pins else "",
            "image": image[name].version if name in image else "",
            "running": running[name].version if name in running else "",
            "note": note(name, pins, image, hand),
        }
        for name in names
    ]


def note(
    name: str, pins: Mapping[str, Pin], image: Mapping[str, Installed], hand: Sequence[str]
) -> str:
    if name in hand and name not in pins:
        return "by hand: invoke capture keeps it"
    if name in pins and image and name not in image:
        return "not in the image yet: invoke up"
    return "the running lab differs from the image" if name in hand else ""


TOOLS = ROOT / "requirements.lock"


def tools() -> list[str]:
    return locks.host_tools((ROOT / "pyproject.toml").read_text())


def stale_tools() -> Iterator[str]:
    """What is wrong between pyproject.toml and the lock of the tools on this host."""
    known = locks.pins(TOOLS.read_text())
    return (f"requirements.lock: {problem}" for problem in locks.unmet(tools(), known))


def refresh_tools() -> list[tuple[str, str, str]]:
    """Newer versions of the tools on this host; bootstrap.py installs them at its next call."""
    form = ("--universal", "--python-version", "3.11", "--generate-hashes")
    plain = ("--quiet", "--no-header", "--no-annotate")
    done = shell.capture((*UV, "pip", "compile", *form, *plain, "-"), stdin="\n".join(tools()))
    if not done.ok:
        raise refusals.unresolved("pyproject.toml", done.stderr, {}, {})
    rows = locks.difference(locks.pins(TOOLS.read_text()), locks.pins(done.stdout))
    if rows:
        transaction.replace(TOOLS, done.stdout)
    return rows
