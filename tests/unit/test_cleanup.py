"""What `clean` would remove, from recorded answers of the engine."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from labcrate import cleanup
from labcrate import engine as engines
from labcrate.cleanup import Thing, Wish
from labcrate.shell import ROOT

FOUND = [
    Thing(kind="volume", ref="lab_home", name="lab_home", size=10),
    Thing(kind="image", ref="sha256:1", name="lab/jupyter:latest", size=100),
    Thing(kind="image", ref="sha256:2", name="<none>:<none>", size=100),
    Thing(kind="network", ref="n1", name="lab_default"),
    Thing(kind="container", ref="c1", name="lab-jupyter-1"),
    Thing(kind="cache", ref="r1", name="step"),
    Thing(kind="state", ref=".labcrate", name=".labcrate"),
]

RECORDS = """ID:\t\tgz1abc
Created at:\t2026-11-24 12:00:00 +0000 UTC
Mutable:\tfalse
Shared:\t\tfalse
Size:\t\t1.5GB
Description:\tmount / from exec /bin/sh -c : labcrate; uv pip install
Type:\t\tregular

ID:\t\tgz2def
Mutable:\tfalse
Shared:\t\ttrue
Size:\t\t70MB
Parents:
 - gz1abc
Description:\tmount / from exec /bin/sh -c : labcrate; apt-get update

ID:\t\tgz3ghi
Parent:\t\tgz2def
Shared:\t\tfalse
Size:\t\t0B
Description:\t[final 4/4] WORKDIR /lab/notebooks

ID:\t\tforeign
Shared:\t\tfalse
Size:\t\t9GB
Description:\tmount / from exec /bin/sh -c pip install labcrate-unrelated
"""


@pytest.mark.parametrize(
    ("wish", "kinds"),
    [
        (Wish(), ["container", "network", "image"]),
        (Wish(images=True), ["container", "network", "image", "image"]),
        (Wish(volumes=True), ["container", "network", "image", "volume"]),
        (Wish(cache=True), ["container", "network", "image", "cache"]),
        (
            Wish(images=True, volumes=True, cache=True),
            ["container", "network", "image", "image", "volume", "cache", "state"],
        ),
    ],
)
def test_the_plan_holds_what_was_asked_for_in_order(wish: Wish, kinds: list[str]) -> None:
    assert [thing.kind for thing in cleanup.plan(FOUND, wish)] == kinds


def test_a_superseded_image_goes_and_a_named_one_stays() -> None:
    images = [t.name for t in cleanup.plan(FOUND, Wish()) if t.kind == "image"]
    assert images == ["<none>:<none>"]


def test_only_marked_records_count_and_shared_ones_free_nothing() -> None:
    """Children first, in the old form of `buildx du` (Parent:) as in the new one (Parents:)."""
    records = cleanup.cache_records(RECORDS)
    assert [(record.ref, record.size) for record in records] == [
        ("gz3ghi", 0),
        ("gz2def", 0),
        ("gz1abc", 1_500_000_000),
    ]


def test_what_an_images_layers_are_kept_by_goes_with_the_last_step_on_it() -> None:
    """And stays where another project's step is built on it, whatever it is called."""

    def block(ident: str, what: str, parent: str = "") -> str:
        return (
            f"ID: {ident}\n"
            + (f"Parents:\n - {parent}\n" if parent else "")
            + (f"Size: 1MB\nDescription: {what}")
        )

    step = "mount / from exec /bin/sh -c : labcrate 'x'"
    blocks = [
        block("low1", "from local "),
        block("high", "pulled from docker.io/library/debian", "low1"),
        block("ours", step, "high"),
        block("shared", "from local "),
        block("also", step, "shared"),
        block("theirs", "mount / from exec make", "shared"),
        block("built", "mount / from exec make base"),
        block("atop", step, "built"),
    ]
    found = [record.ref for record in cleanup.cache_records("\n\n".join(blocks))]
    assert sorted(found) == ["also", "atop", "high", "low1", "ours"]
    assert found.index("ours") < found.index("high") < found.index("low1")
    killed = "\n\n".join(block for block in blocks if step not in block)
    left = cleanup.cache_records(killed, begun=["ours", "high", "low1"])
    assert [record.ref for record in left] == ["high", "low1"]


def test_every_step_of_the_dockerfile_carries_a_mark() -> None:
    """Else its record would stay behind; and no mark is left that no step carries."""
    text = (ROOT / "docker" / "Dockerfile").read_text()
    steps = re.findall(r"^(?:COPY|WORKDIR) .*$", text, re.MULTILINE)
    marked = [mark.removeprefix("] ") for mark in cleanup.MARKS if mark.startswith("] ")]
    assert sorted(steps) == sorted(marked)
    runs = re.findall(r"^RUN(?:.*\\\n)*.*$", text, re.MULTILINE)
    assert len(runs) > 7
    assert [run for run in runs if not re.search(r"^(RUN|   ) : labcrate", run, re.MULTILINE)] == []
    assert "FROM labcrate-wheels " in text


def test_steps_like_ours_are_not_ours() -> None:
    tempting = (
        "mount / from exec /bin/sh -c echo ': labcrate;'",
        "[2/3] COPY data /opt/lab/data",
        "[3/3] WORKDIR /lab/other",
        "[3/3] WORKDIR /lab",
        "local source for wheels",
    )
    text = "\n\n".join(f"ID: x{n}\nDescription: {what}" for n, what in enumerate(tempting))
    assert cleanup.cache_records(text) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("312kB", 312_000), ("5.83GB", 5_830_000_000), ("1.2MB", 1_200_000), ("N/A", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert cleanup.size_bytes(text) == size


def test_a_tagged_image_is_removed_by_name() -> None:
    """Another clone may have tagged the very same image; its name must stay."""
    named, nameless = FOUND[1], FOUND[2]
    assert cleanup.removal(named)[-1] == "lab/jupyter:latest"
    assert cleanup.removal(nameless)[-1] == "sha256:2"


class Engine:
    """A stand-in that answers nothing, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: set[str]) -> None:
        self.asked: list[tuple[str, ...]] = []
        monkeypatch.setattr(cleanup, "ask", self.ask)
        monkeypatch.setattr(cleanup, "other_clones", lambda project: others)
        monkeypatch.setattr(cleanup, "_state", lambda project: [])

    def ask(self, command: tuple[str, ...], timeout_s: float = 0) -> str:
        self.asked.append(tuple(command))
        return ""


def test_every_listing_is_by_this_clones_label(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch, others=set())
    assert cleanup.survey("lab-x") == []
    listings = [command for command in engine.asked if command[0] != "buildx"]
    assert {command[0] for command in listings} == {"ps", "network", "image", "volume"}
    assert [c for c in listings if "label=dev.labcrate.project=lab-x" not in c] == []


def test_a_shared_build_cache_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Engine(monkeypatch, others=set())
    cleanup.survey("lab-x")
    assert ("buildx", "du", "--verbose") in alone.asked
    shared = Engine(monkeypatch, others={"lab-y"})
    cleanup.survey("lab-x")
    assert ("buildx", "du", "--verbose") not in shared.asked


def test_a_users_image_on_the_labs_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """It inherits the labels of the image that it is built on."""
    rows = ("1\tlab-x/jupyter:latest\t7GB", "2\t<none>:<none>\t7GB", "3\tmine:1\t8GB")
    listed = "\n".join((*rows, "4\tlab-xy/jupyter:latest\t7GB"))
    monkeypatch.setattr(cleanup, "ask", lambda command: listed if command[0] == "image" else "")
    monkeypatch.setattr(cleanup, "_state", lambda project: [])
    found = [thing for thing in cleanup.survey("lab-x") if thing.kind == "image"]
    assert [thing.ref for thing in found] == ["1", "2"]


def test_what_came_back_is_the_disks_own_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its own disk where that is here; the engine's account where it is on another machine."""
    said = '{"Size": "1.5GB"}\n{"Size": "500MB"}\n'
    monkeypatch.setattr(cleanup, "ask", lambda argv: said)
    here = engines.Engine(root_dir=str(tmp_path))
    assert cleanup.engine_bytes(here) == pytest.approx(shutil.disk_usage(tmp_path).used, rel=0.01)
    for elsewhere in (replace(here, host="ssh://far"), engines.Engine(root_dir="/no/such/folder")):
        assert cleanup.engine_bytes(elsewhere) == 2_000_000_000
