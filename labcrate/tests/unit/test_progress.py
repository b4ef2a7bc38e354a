"""BuildKit's plain log, cut down to what a user wants to see."""

from __future__ import annotations

import pytest

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
