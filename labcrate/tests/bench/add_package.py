"""Measure `invoke add-package` against the same final stage written as one pip line.

python labcrate/tests/bench/add_package.py [PAIRS]

Both start from the same base image and end with a rebuilt image; they take turns in one run, and
what counts is the ratio of each pair. In labcrate/docs, the table goes into packages.md,
every figure into bench-packages.json, a picture of them into bench-packages.png.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "labcrate" / "docs"
TESTS = ROOT / "labcrate" / "tests"
sys.path[:0] = [str(ROOT), str(TESTS), str(TESTS / "engine")]

from clone import Lab  # noqa: E402
from conftest import make_lab, remove_lab  # noqa: E402

from labcrate.clone.place import Clone  # noqa: E402
from labcrate.clone.settings import load  # noqa: E402
from labcrate.lab import bake, compose  # noqa: E402
from labcrate.packages.locks import read_pins  # noqa: E402
from labcrate.packages.sources import asked_lines, locked_pins  # noqa: E402

CASES = {
    "einops": "pure Python",
    "sentencepiece": "a compiled wheel",
    "mlflow-skinny": "pulls {} more",
}
MODULES = {"mlflow-skinny": "mlflow"}
WATCH = """
import importlib.util, sys, time
while importlib.util.find_spec(sys.argv[1]) is None:
    time.sleep(0.02)
    importlib.invalidate_caches()
__import__(sys.argv[1])
print(time.time())
"""
"""Runs in the lab as a kernel would, and says when the import went through. A process a question
would take a core from what is measured."""

GROWTH = (0, 30, 96)
SMALL = (
    "aiofiles alabaster altgraph arrow asgiref autopep8 backoff blinker boltons bottle "
    "braceexpand bracex cachetools cattrs chardet colorlog commonmark cssselect dacite "
    "decorator defusedxml deprecated dictdiffer distro docutils dominate easydict editables "
    "emoji execnet first flatdict frozendict funcy furl gitdb humanfriendly hyperlink "
    "iniconfig isodate itsdangerous jmespath jsonpointer junitparser lazy-loader mako mistune "
    "more-itertools munch natsort nest-asyncio oauthlib orderedmultidict parse parso pathspec "
    "pika plumbum ply portalocker pprintpp pyasn1 pycodestyle pyflakes pyfiglet pymysql "
    "pyperclip pytimeparse ratelimit schedule semver sh shtab simpleeval smmap "
    "sortedcontainers sqlparse tabulate tenacity texttable toml toolz unidecode voluptuous "
    "wcwidth webcolors xmltodict yarl zipp dill dnspython email-validator fasteners filetype "
    "flask freezegun gunicorn hpack inflection lark loguru markdown marshmallow nodeenv "
    "olefile opt-einsum "
)
PIP_BASE = """
ARG BASE
FROM ${BASE}
RUN : labcrate 'pip'; python -m ensurepip
"""
PIP_LINE = """
ARG BASE
FROM ${BASE}
ARG PACKAGES
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem \\
    : labcrate 'the pip line'; PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_CERT=/run/secrets/ca.pem \\
    python -m pip install --no-cache-dir --disable-pip-version-check ${PACKAGES}
"""


def pip_base(lab: Lab, folder: Path) -> str:
    """The lab's own base with pip in it: what the pip line starts from. Not timed."""
    base = f"{lab.project}/bench-base"
    # The build of PyTorch that `up` chose: with another one it would be installed again.
    backend = json.loads(lab.invoke("status", "--json").stdout)["torch_backend"]
    settings = load(Clone(root=lab.root, here=lab.root))
    built = compose.Lab(settings=settings, torch_backend=backend)
    model = compose.resolve_model(built, built.build_env)
    target = bake.Target(stage="base", tags=[base], output=["type=docker"])
    text = bake.bake_file(model, lab.root / "docker", [target])
    (folder / "bake.json").write_text(text)
    command = ("docker", "buildx", "bake", "--file", str(folder / "bake.json"), "base")
    must(lab, *command, **bake.BAKES)
    (folder / "Dockerfile").write_text(PIP_BASE)
    label = f"dev.labcrate.project={lab.project}"
    name = f"{lab.project}/bench-pip"
    must(
        lab,
        "docker",
        "build",
        "--label",
        label,
        "--build-arg",
        f"BASE={base}",
        "-t",
        name,
        str(folder),
    )
    return name


def must(lab: Lab, *command: str, **environ: str) -> None:
    done = lab.command(command, timeout=1200, **environ)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def pip_line(lab: Lab, base: str, folder: Path, name: str) -> float:
    """Seconds to an image with everything packages.in asks for, and one package more."""
    (folder / "Dockerfile").write_text(PIP_LINE)
    packages = " ".join([*asked_lines(lab.root / "docker"), name])
    state = lab.root / ".labcrate"
    secrets = [f"--secret=id={one},src={state / one}" for one in ("pip.conf", "ca.pem")]
    arguments = ("--build-arg", f"BASE={base}", "--build-arg", f"PACKAGES={packages}")
    label = ("--label", f"dev.labcrate.project={lab.project}")
    started = time.monotonic()
    must(
        lab, "docker", "build", "--no-cache", *secrets, *arguments, *label,
        "-t", f"{lab.project}/bench-line", str(folder),
    )  # fmt: skip
    return time.monotonic() - started


def add(lab: Lab, name: str) -> dict[str, float]:
    """Seconds to the import in the running lab, and to the rebuilt image; bytes that came in."""
    never_built(lab)
    before = received(lab)
    watch = ("docker", "compose", "exec", "-T", "--workdir", "/", "jupyter", "python", "-c", WATCH)
    with subprocess.Popen(
        [*watch, MODULES.get(name, name)], cwd=lab.root, stdout=subprocess.PIPE, text=True
    ) as watcher:
        time.sleep(1)  # it is at its loop by then
        began, started = time.time(), time.monotonic()
        child = lab.start("add-package", name)
        text, _ = child.communicate(timeout=600)
        total = time.monotonic() - started
        if child.returncode:
            watcher.terminate()
        imported, _ = watcher.communicate(timeout=60)
    if child.returncode:
        sys.exit(f"add-package {name} ended with {child.returncode}:\n{text}")
    log = (lab.root / ".labcrate" / "build.log").read_text()
    torch = len(re.findall(r"Downloading (torch|torchvision|nvidia-\S+|triton)\b", log))
    return {
        "total_s": total,
        "import_s": float(imported) - began,
        "live_s": live_phases(text),
        "received_mb": (received(lab) - before) / 1e6,
        "torch_downloads": torch,
    }


def never_built(lab: Lab) -> None:
    """Make the next final stage one that BuildKit has not built before, as a user's is."""
    asks = lab.root / "docker" / "packages.in"
    asks.write_text(f"{asks.read_text()}# {time.time()}\n")


def live_phases(text: str) -> float:
    """Seconds of the phases up to and including `live`, by the command's own table."""
    row = [float(one) for one in re.findall(r"([\d.]+) s ", text.rpartition("phases")[2])]
    return sum(row[:2])


def received(lab: Lab) -> int:
    """Bytes that builds and the running lab have received over the engine's bridges."""
    build = Path("/sys/class/net/docker0/statistics/tx_bytes")
    running = lab.exec("cat", "/sys/class/net/eth0/statistics/rx_bytes").stdout
    return int(build.read_text()) + int(running or 0)


def compare(lab: Lab, pairs: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = pip_base(lab, folder)
        for package, what in CASES.items():
            add(lab, package)  # the first run fills the caches, which the pip line does not have
            more = len(locked_pins(lab.root / "docker")) - start_count()
            lab.invoke("remove-package", package)
            runs = []
            for _ in range(pairs):
                line = pip_line(lab, base, folder, package)
                runs.append({"pip_s": line, **add(lab, package)})
                lab.invoke("remove-package", package)
                print(package, runs[-1], flush=True)
            rows.append({"package": package, "what": what.format(more - 1), "runs": runs})
    return rows


def start_count() -> int:
    return len(read_pins(ROOT / "docker" / "packages.lock"))


def growth(lab: Lab) -> list[dict[str, float]]:
    """Seconds for one package more, on top of a list that grows."""
    rows = []
    for count in GROWTH:
        have = len(asked_lines(lab.root / "docker"))
        fresh = [one for one in SMALL.split() if one not in asked_lines(lab.root / "docker")]
        wanted = fresh[: max(0, count + 4 - have)]
        if wanted:
            lab.invoke("add-package", " ".join(wanted), timeout=900)
        taken = add(lab, "einops")
        lab.invoke("remove-package", "einops")
        rows.append({"packages": len(asked_lines(lab.root / "docker")), **taken})
        print(rows[-1], flush=True)
    return rows


def median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def table(rows: list[dict[str, Any]], grown: list[dict[str, float]]) -> str:
    lines = [
        "| adding | one pip line | `invoke add-package` | ratio | live import after | received |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        runs = row["runs"]
        ratio = statistics.median(run["total_s"] / run["pip_s"] for run in runs)
        lines.append(
            f"| `{row['package']}` ({row['what']}) | {median(runs, 'pip_s'):.1f} s "
            f"| {median(runs, 'total_s'):.1f} s | {ratio:.2f} | {median(runs, 'import_s'):.1f} s "
            f"| {median(runs, 'received_mb'):.1f} MB |"
        )
    growing = ", ".join(f"{one['packages']:.0f}: {one['total_s']:.1f} s" for one in grown)
    torch = sum(run["torch_downloads"] for row in rows for run in row["runs"])
    count = len(rows[0]["runs"])
    return "\n".join(
        [
            *lines,
            "",
            f"Medians of {count} pairs, taken in turn on two cores, downloads cached; both end "
            "with an image whose final stage was built anew. The pip line is that stage with `pip "
            f"install --no-cache-dir`. Downloads of PyTorch or CUDA by `add-package`: {torch}. One "
            f"package more on a list of N packages, N: seconds: {growing}.",
        ]
    )


def picture(lab: Lab, text: str) -> bytes:
    """Drawn by the lab's own matplotlib: this host has none."""
    command = ("docker", "compose", "exec", "-T", "jupyter", "python", "-", text)
    script = Path(__file__).with_name("plot.py").read_bytes()
    return subprocess.run(
        command, cwd=lab.root, input=script, capture_output=True, check=True
    ).stdout


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="labcrate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        lab = make_lab(folder / "lab")
        try:
            lab.invoke("up", timeout=1200)
            rows, grown = compare(lab, pairs), growth(lab)
            text = json.dumps({"cases": rows, "growth": grown}, indent=1) + "\n"
            (DOCS / "bench-packages.json").write_text(text)
            (DOCS / "bench-packages.png").write_bytes(picture(lab, text))
        finally:
            remove_lab(lab)
    page = DOCS / "packages.md"
    text = page.read_text()
    head, rest = text.split("<!-- bench -->\n", 1)
    tail = rest.split("<!-- /bench -->", 1)[1]
    page.write_text(f"{head}<!-- bench -->\n{table(rows, grown)}\n<!-- /bench -->{tail}")


if __name__ == "__main__":
    main()
