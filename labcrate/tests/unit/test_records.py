"""BuildKit's records of the lab's own steps, from recorded answers of `docker buildx du`."""

from __future__ import annotations

import re

import pytest
from dockerfiles import DOCKERFILES, run_steps

from labcrate.clean.records import INSTALLER, MARKS, own_records, size_bytes
from labcrate.lab.steps import dockerfile_steps

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
Description:\t[final 4/4] COPY --from=labcrate-parts healthy.py /opt/labcrate/

ID:\t\tforeign
Shared:\t\tfalse
Size:\t\t9GB
Description:\tmount / from exec /bin/sh -c pip install labcrate-unrelated

Total:\t\t9GB
"""


def block(ident: str, what: str, parent: str = "") -> str:
    below = f"Parents:\n - {parent}\n" if parent else ""
    return f"ID: {ident}\n{below}Size: 1MB\nDescription: {what}"


STEP = "mount / from exec /bin/sh -c : labcrate 'x'"


def ids(text: str, begun: tuple[str, ...] = (), steps: tuple[str, ...] = ()) -> list[str]:
    return [record.id for record in own_records(text, begun, steps)]


def test_only_marked_records_count_and_shared_ones_free_nothing() -> None:
    """Children first, in the old form of `buildx du` (Parent:) as in the new one (Parents:)."""
    assert [(one.id, one.size) for one in own_records(RECORDS)] == [
        ("gz3ghi", 0),
        ("gz2def", 0),
        ("gz1abc", 1_500_000_000),
    ]


def test_what_an_images_layers_are_kept_by_goes_with_the_last_step_on_it() -> None:
    """And stays where another project's step is built on it, whatever it is called."""
    blocks = [
        block("low1", "from local "),
        block("high", "pulled from docker.io/library/debian", "low1"),
        block("ours", STEP, "high"),
        block("shared", "from local "),
        block("also", STEP, "shared"),
        block("theirs", "mount / from exec make", "shared"),
        block("built", "mount / from exec make base"),
        block("atop", STEP, "built"),
    ]
    found = ids("\n\n".join(blocks))
    assert sorted(found) == ["also", "atop", "high", "low1", "ours"]
    assert found.index("ours") < found.index("high") < found.index("low1")
    killed = "\n\n".join(one for one in blocks if STEP not in one)
    assert ids(killed, begun=("ours", "high", "low1")) == ["high", "low1"]


def test_what_images_hold_and_downloads_are_needed() -> None:
    """And what they are built on, whoever built it; beside other clones the rest goes."""
    blocks = [
        block("low", STEP),
        block("torch", STEP, "low"),
        block("final", STEP, "torch") + "\nShared: true",
        block("probe", STEP, "torch"),
        block("folder", "local source for labcrate-parts"),
        block("under", STEP),
        block("theirs", "mount / from exec make", "under") + "\nShared: true",
        block("uv", STEP) + "\nType: exec.cachemount",
        block("installer", STEP.replace("'x'", "'uv, the installer'; python3 -m venv")),
        block("below", STEP),
        block("unknown", "mount / from exec make", "below"),
    ]
    found = own_records("\n\n".join(blocks))
    assert {one.id for one in found if not one.needed} == {"probe", "folder"}
    assert {one.id for one in found if one.needed} == {
        *("final", "torch", "low", "under", "uv", "installer", "below"),
    }


def test_an_owners_steps_count_on_top_of_a_labs_and_nowhere_else() -> None:
    blocks = [
        block("ours", STEP),
        block("mine1", "mount / from exec /bin/sh -c make all", "ours"),
        block("mine2", "[final 9/9] COPY x /opt/", "mine1"),
        block("other", "mount / from exec /bin/sh -c make all"),
        block("unknown", "mount / from exec /bin/sh -c make none", "ours"),
    ]
    steps = ("/bin/sh -c make all", "] COPY x /opt/")
    assert ids("\n\n".join(blocks), steps=steps) == ["mine2", "mine1", "ours"]


def test_every_step_of_the_dockerfiles_can_be_told() -> None:
    """Else its record would stay behind; and no mark is left that no step carries."""
    text = "\n".join(path.read_text() for path in DOCKERFILES)
    runs = run_steps(text)
    assert len(runs) > 7
    assert [run for run in runs if not re.search(r"^(RUN|   ) : labcrate", run, re.MULTILINE)] == []
    copies = re.findall(r"^(?:COPY|ADD|WORKDIR) .*$", text, re.MULTILINE)
    told = list(dockerfile_steps(text))
    assert [line for line in copies if f"] {' '.join(line.split())}" not in told] == []
    assert INSTALLER.removeprefix("/bin/sh -c ") in text
    marks = [mark.removeprefix("] ") for mark in MARKS if mark.startswith("] ")]
    assert [mark for mark in marks if mark not in text] == []
    assert "FROM labcrate-wheels " in text


def test_the_steps_of_a_dockerfile_read_as_buildkit_shows_them() -> None:
    text = """FROM x
RUN --mount=type=cache,target=/a --network=none \\
    # why
    make   all \\
    && make install
copy  a  /b/
ENV A=1
WORKDIR /c
"""
    assert list(dockerfile_steps(text)) == [
        "/bin/sh -c make all && make install",
        "] COPY a /b/",
        "] WORKDIR /c",
    ]


def test_steps_like_ours_are_not_ours() -> None:
    tempting = (
        "mount / from exec /bin/sh -c echo ': labcrate;'",
        "[2/3] COPY data /opt/lab/data",
        "[3/3] WORKDIR /lab/other",
        "[3/3] WORKDIR /lab",
        "local source for wheels",
    )
    text = "\n\n".join(f"ID: x{n}\nDescription: {what}" for n, what in enumerate(tempting))
    assert own_records(text) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("312kB", 312_000), ("5.83GB", 5_830_000_000), ("1.2MB", 1_200_000), ("N/A", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size
