"""lab.env as the real Compose reads it, beside what the tasks say of each line. No engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from clone import clean_environ

from labcrate.clone.lab_env import check_lines


def read_by_compose(folder: Path, text: str) -> dict[str, str] | None:
    """What arrives in a container; None where Compose refuses the file."""
    (folder / "lab.env").write_text(text)
    service = {"image": "x", "env_file": ["lab.env"]}
    (folder / "compose.yaml").write_text(json.dumps({"services": {"a": service}}))
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=folder,
        env=clean_environ(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return None
    found = json.loads(done.stdout)["services"]["a"].get("environment") or {}
    # Printed as a Compose file again, where a `$` is written twice.
    return {name: str(value).replace("$$", "$") for name, value in found.items()}


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("A='pa$word'\nB='two\n$lines'\nC=3\n", {"A": "pa$word", "B": "two\n$lines", "C": "3"}),
        ("A=5$\nB=$5\nC=$(x)\n", {"A": "5$", "B": "$5", "C": "$(x)"}),
        (
            "export A=1\n  B = 2\nC: 3\n# D=4\nE=f#g # h\n",
            {"A": "1", "B": "2", "C": "3", "E": "f#g"},
        ),
        ('A=p\'a\nB=b"c"\n', {"A": "p'a", "B": 'b"c"'}),
    ],
)
def test_what_is_accepted_arrives_as_it_is_written(
    tmp_path: Path, text: str, arrives: dict[str, str]
) -> None:
    assert list(check_lines(text)) == []
    assert read_by_compose(tmp_path, text) == arrives


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("A=pa$word9\n", {"A": "pa$word9"}),
        ('A="pa$word9"\n', {"A": "pa$word9"}),
        ("A=pa$$word9\n", {"A": "pa$$word9"}),
        ('A="a"b\n', {"A": "ab"}),
        ("FOO BAR=1\n", {"FOO BAR": "1"}),
        ("=x\n", {}),
        ('A="open\n', {"A": "open"}),
        ("A='it'\\''s'\n", {"A": "it's"}),
        ("<<<<<<< HEAD\n", {}),
    ],
)
def test_what_is_refused_would_have_arrived_changed_or_not_at_all(
    tmp_path: Path, text: str, written: dict[str, str]
) -> None:
    assert len(list(check_lines(text))) == 1
    assert read_by_compose(tmp_path, text) != written
