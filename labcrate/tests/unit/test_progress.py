"""BuildKit's plain log, cut down to what a user wants to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from labcrate.lab import progress as room
from labcrate.lab.progress import LONGEST, Progress


def shown(log: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    progress = Progress()
    for line in log.splitlines():
        progress.line(line)
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        (
            "#5 [torch 2/3] RUN --mount=x : labcrate 'PyTorch'; uv\n#5 DONE 41.2s",
            ["41.2 s PyTorch"],
        ),
        ("#5 [torch 2/3] RUN : labcrate 'PyTorch'; uv\n#5 DONE 0.0s", []),
        ("#5 [torch 2/3] RUN : labcrate 'PyTorch'; uv\n#5 CACHED", []),
        ("#5 [torch 2/3] RUN : labcrate 'PyTorch'; uv\n#5 ERROR: x", ["failed PyTorch"]),
        ("#5 [torch 2/3] RUN : labcrate 'PyTorch'; uv\n#5 CANCELED", []),
        ("#7 [jupyter] exporting to image\n#7 DONE 3.0s", ["3.0 s exporting to image jupyter"]),
        ("#7 exporting to image\n#7 DONE 3.0s", ["3.0 s exporting to image"]),
        ("#5 2.10 Installed 12 packages in 31ms", ["Installed 12 packages in 31ms"]),
        ("#9 [final 4/4] RUN make all\n#9 DONE 2.0s", ["2.0 s make all"]),
        ("#3 [internal] load build context\n#3 DONE 9.0s", []),
        ("#8 DONE 9.0s", []),
        ("anything else", []),
    ],
)
def test_what_a_line_shows(log: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(log, capsys) == lines


def test_an_owners_long_command_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = shown(f"#9 [final 4/4] RUN {'x' * 200}\n#9 DONE 2.0s", capsys)
    assert line == "2.0 s " + "x" * LONGEST


DOWNLOADS = (
    "#9 0.5 Downloading torch (500.0MiB)",
    "#9 0.5 Downloading nvidia-cublas (1.5GiB)",
    "#4 0.6 Downloading grpcio (976.6KiB)",
)


@pytest.fixture
def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What builds have received, as the kernel counts it."""
    path = tmp_path / "tx_bytes"
    path.write_text("1000000\n")
    monkeypatch.setattr(room, "BRIDGE", path)
    return path


def test_a_download_says_how_much_has_come(
    bridge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as one is under way, and never more than there is to come."""
    progress = Progress()
    progress.tick()
    for text in DOWNLOADS:
        progress.line(text)
    capsys.readouterr()
    for received, shown in ((401_000_000, "400 of"), (9_000_000_000, "2,136 of")):
        bridge.write_text(f"{received}\n")
        progress.tick()
        assert capsys.readouterr().out.strip() == f"{shown} about 2,136 MB"
    progress.line("#9 30.1 Prepared 27 packages in 29.5s")
    progress.tick()
    assert "of about" in capsys.readouterr().out
    progress.line("#4 31.0 Prepared 12 packages in 30.1s")
    capsys.readouterr()
    progress.tick()
    assert capsys.readouterr().out == ""


def test_an_engine_without_that_bridge_says_nothing_of_bytes(
    bridge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bridge.unlink()
    progress = Progress()
    progress.line(DOWNLOADS[0])
    capsys.readouterr()
    progress.tick()
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("bridge")
def test_lines_come_while_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And none after the build."""
    monkeypatch.setattr(room, "TICK_S", 0.001)
    with Progress() as progress:
        progress.line(DOWNLOADS[0])
        told = ""
        while "0 of about 524 MB" not in told:
            told += capsys.readouterr().out
    assert not progress.ticker.is_alive()
