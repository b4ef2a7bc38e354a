"""The rows of the table: what a user waits for, by hand and with the lab, in turn in one run."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clone import Lab
from recipe import base_with_pip, build_line, image, must

from labcrate.clean.records import size_bytes
from labcrate.lab.built import layer_bytes
from labcrate.packages.settled import STEP

Timed = Callable[[], object]

LONG = "jax spacy mlflow datasets ray[default] opencv-python-headless diffusers timm"
"""A list as it is after some months: 190 packages, 1.5 GB."""

TWENTY = (
    "einops humanize tabulate toml loguru tenacity funcy dill xmltodict semver texttable emoji "
    "colorlog sqlparse pyfiglet inflection filetype boltons bottle dacite"
)

IMPORT = """
import subprocess, sys, time
for _ in range(2):
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import transformers.models.bert"], check=True)
    print(time.monotonic() - began)
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement. goal: what ours/theirs may be, or ours where theirs is only a limit.

    ours, theirs: seconds, or bytes where `unit` says so, one for each turn. bare: seconds of
    Invoke with no task to read, which every task takes on top of what it does.
    """

    name: str
    what: str
    against: str
    goal: float
    ours: list[float]
    theirs: list[float]
    unit: str = "s"
    absolute: bool = False
    bare: float = 0.0

    @property
    def ratio(self) -> float:
        """The median of the turns' ratios: a turn's two figures had the same machine."""
        return statistics.median(
            mine / other for mine, other in zip(self.ours, self.theirs, strict=True)
        )

    @property
    def best(self) -> float:
        """The ratio of the quickest turns: what else the machine does only ever adds to them."""
        return min(self.ours) / min(self.theirs)

    @property
    def reached(self) -> float:
        """What is compared with the goal."""
        return statistics.median(self.ours) if self.absolute else self.ratio

    @property
    def limit(self) -> float:
        """What no task that does the same by the same commands can get below; 0: not known."""
        theirs = statistics.median(self.theirs)
        if self.absolute:
            return theirs
        return (theirs + self.bare) / theirs if self.bare else 0.0


def seconds(act: Timed) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def adding(
    short: Lab, folder: Path, turns: int, cases: Sequence[tuple[str, str, float]]
) -> Iterator[Row]:
    """`add-package` against the pip line; what was downloaded before is cached where it can be."""
    base = base_with_pip(short, folder)
    for name, what, goal in cases:
        short.invoke("add-package", name)  # fills uv's cache; the pip line has none
        short.invoke("remove-package", name)
        ours, theirs = [], []
        for _ in range(turns):
            theirs.append(seconds(lambda: build_line(short, base, folder, [name])))  # noqa: B023
            ours.append(add(short, name))
        yield Row(
            name=f"`add-package {name}`",
            what=what,
            against="the final stage as one pip line",
            goal=goal,
            ours=ours,
            theirs=theirs,
        )


def add(lab: Lab, name: str) -> float:
    """Seconds of `add-package`, which is taken back."""
    asks = lab.root / "docker" / "packages.in"
    # BuildKit has never built this one, as a user's next final stage.
    asks.write_text(f"{asks.read_text()}# {time.time()}\n")
    taken = seconds(lambda: lab.invoke("add-package", name))
    lab.invoke("remove-package", name)
    return taken


def growing(short: Lab, long: Lab, turns: int, names: Sequence[str]) -> Iterator[Row]:
    """The same package on a list that has grown against the list as it comes."""
    long.invoke("add-package", LONG, timeout=1200)
    for name in names:
        for lab in (short, long):
            add(lab, name)
        pairs = [(add(short, name), add(long, name)) for _ in range(turns)]
        yield Row(
            name=f"`add-package {name}` on a long list",
            what=f"on top of {LONG}",
            against="the same on the list as it comes",
            goal=1.3,
            ours=[pair[1] for pair in pairs],
            theirs=[pair[0] for pair in pairs],
        )


def shipping(lab: Lab) -> Row:
    """What a machine that has the image fetches anew after one package more."""
    lab.invoke("add-package", "einops")
    above = layer_bytes(image(lab), STEP)
    whole = int(lab.docker("image", "inspect", "--format", "{{.Size}}", image(lab)).stdout)
    lab.invoke("remove-package", "einops")
    return Row(
        name="bytes of a change",
        what="the layers that are new after `add-package einops`",
        against="the whole image",
        goal=0.01,
        ours=[float(above)],
        theirs=[float(whole)],
        unit="bytes",
    )


def starting(lab: Lab, turns: int) -> Iterator[Row]:
    """Warm `up` and `down` against plain Compose on the same files."""
    ups: tuple[list[float], list[float]] = ([], [])
    downs: tuple[list[float], list[float]] = ([], [])
    compose = ("docker", "compose")
    bare = statistics.median(seconds(bare_invoke(lab)) for _ in range(turns))
    lab.invoke("down")
    for _ in range(turns):
        ups[1].append(seconds(lambda: must(lab, *compose, "up", "--detach", "--wait")))
        downs[1].append(seconds(lambda: must(lab, *compose, "down")))
        ups[0].append(seconds(lambda: lab.invoke("up")))
        downs[0].append(seconds(lambda: lab.invoke("down")))
    rows = (("up", ups, "up --detach --wait"), ("down", downs, "down"))
    for verb, (ours, theirs), plain in rows:
        yield Row(
            name=f"warm `invoke {verb}`",
            what="images built, nothing to decide",
            against=f"`docker compose {plain}`",
            goal=1.15,
            ours=ours,
            theirs=theirs,
            bare=bare,
        )
    lab.invoke("up")


def bare_invoke(lab: Lab) -> Timed:
    """Invoke with no task to read."""
    folder = lab.root / ".labcrate" / "bare"
    folder.mkdir(exist_ok=True)
    (folder / "tasks.py").write_text("")
    return lambda: Lab(root=folder).command((sys.executable, "-m", "invoke", "--list"))


SHORT_TASKS = (("up", 0.8), ("--list", 0.25), ("status", 0.4), ("url", 0.3))


def short_tasks(lab: Lab, turns: int) -> Iterator[Row]:
    """Tasks that change nothing, with what they cannot be quicker than: Invoke with no task."""
    bare = bare_invoke(lab)
    for verb, goal in SHORT_TASKS:
        pairs = [
            (seconds(bare), seconds(lambda: lab.invoke(verb)))  # noqa: B023
            for _ in range(turns)
        ]
        yield Row(
            name=f"`invoke {verb}`" + (" when up" if verb == "up" else ""),
            what="changes nothing",
            against="`invoke --list` of an empty tasks.py",
            goal=goal,
            ours=[pair[1] for pair in pairs],
            theirs=[pair[0] for pair in pairs],
            absolute=True,
        )


def importing(lab: Lab, turns: int) -> Row:
    """The first import in a fresh container against the second: is it compiled already?"""
    pairs = []
    for _ in range(turns):
        run = ("docker", "compose", "run", "--rm", "--no-deps", "--no-TTY", "jupyter")
        told = must(lab, *run, "python", "-c", IMPORT).split()
        pairs.append((float(told[-2]), float(told[-1])))
    return Row(
        name="first `import transformers`",
        what="in a fresh container",
        against="the second one there",
        goal=1.25,
        ours=[pair[0] for pair in pairs],
        theirs=[pair[1] for pair in pairs],
    )


def disk(lab: Lab) -> Row:
    """What twenty changes leave on the disk: the cache that the lab may keep is bounded."""
    whole = int(lab.docker("image", "inspect", "--format", "{{.Size}}", image(lab)).stdout)
    before = cache_bytes(lab)
    for name in TWENTY.split():
        lab.invoke("add-package", name)
    after = cache_bytes(lab)
    return Row(
        name="disk after 20 packages",
        what="the build cache's growth, one `add-package` after another",
        against="one image",
        goal=1.5,
        ours=[float(after - before)],
        theirs=[float(whole)],
        unit="bytes",
    )


def cache_bytes(lab: Lab) -> int:
    """Bytes of the engine's build cache. No other build may run meanwhile."""
    told = must(lab, "docker", "buildx", "du", "--format", "{{json .}}")
    return sum(size_bytes(json.loads(line)["Size"]) for line in told.splitlines())


def sharing(second: Lab) -> Row:
    """What a second clone keeps on the disk beside the first: one PyTorch layer for both."""
    told = json.loads(must(second, "docker", "system", "df", "--verbose", "--format", "{{json .}}"))
    (found,) = (one for one in told["Images"] if one["Repository"] == image(second))
    return Row(
        name="a second clone",
        what="bytes of its image that no other image has",
        against="the whole image",
        goal=0.1,
        ours=[float(size_bytes(found["UniqueSize"]))],
        theirs=[float(size_bytes(found["Size"]))],
        unit="bytes",
    )
