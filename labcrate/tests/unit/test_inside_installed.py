"""image/inside.py lists what is installed; broken files cost their own line, and nothing else."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from double import Double
from test_snapshot import answers

from labcrate.clone.settings import Settings
from labcrate.lab.snapshot import take_snapshot
from labcrate.packages.live import UNREADABLE, in_lab

GOOD = "Metadata-Version: 2.1\nName: Good_One\nVersion: 1.0\nRequires-Dist: numpy>=2\n"


def install(site: Path, name: str, **files: bytes) -> None:
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file.replace("_json", ".json")).write_bytes(data)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"METADATA": b""},
        {"METADATA": b"Name: broken\n"},
        {"METADATA": b"Version: 1.0\n"},
        {"METADATA": b"Name: broken\nVersion: \xff\xfe\n"},
        {"METADATA": b"Name: broken\nVersion: 1\n", "direct_url_json": b"{"},
        {"METADATA": b"Name: broken\nVersion: 1\nRequires-Dist: !\n"},
    ],
)
def test_broken_files_of_one_package_hide_no_other(
    inside: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, bytes],
) -> None:
    install(tmp_path, "broken", **files)
    install(tmp_path, "good_one", METADATA=GOOD.encode())
    found = list(metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(inside.metadata, "distributions", lambda: found)
    assert inside.installed() == {
        "good-one": {"version": "1.0", "requested": False, "url": "", "needs": ["numpy"]}
    }
    assert capsys.readouterr().err.startswith(f"{UNREADABLE}broken-1.0.dist-info (")


def test_the_host_names_what_is_broken_and_reads_the_rest(
    settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    about = {"version": "1[/b]\x1b[2J", "requested": True, "url": "", "needs": []}
    answers(double)
    double.expect(
        "docker",
        "exec",
        "installed",
        stdout=json.dumps({"good": about}),
        stderr=f"warning of the engine\n{UNREADABLE}broken-1.0.dist-info (TypeError)\n",
    )
    found = in_lab(take_snapshot(settings))
    assert found["good"].version == "1[/b]\N{REPLACEMENT CHARACTER}[2J"
    told = capsys.readouterr()
    assert told.err == (
        "Left out, because its files in the running lab are broken: "
        "broken-1.0.dist-info (TypeError)\n"
    )
    assert told.out == ""
