"""lab.env: what would not arrive as it is written is said, with the file and the line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from clone import ROOT
from double import Double
from machine_of import Gather, gather, programs
from test_rules import GOOD
from test_settings import refused, write

from labcrate import process
from labcrate.clone.fresh import ensure_env_file
from labcrate.clone.lab_env import OVERRIDDEN, check_lines, lab_env_problems
from labcrate.clone.place import Clone
from labcrate.clone.settings import load
from labcrate.errors import Code

__all__ = ["gather", "programs"]
"""Fixtures."""


def write_lab_env(clone: Clone, text: str, mode: int = 0o600) -> Path:
    path = clone.root / "lab.env"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "HF_TOKEN=\n",
        "HF_TOKEN\n",
        "A=1\r\nB=2\r\n",
        "export A=1\n  B = 2\nC: 3\nD.e-f[0]=4\n",
        "A='pa$word'\nB='two\n$lines'\nC=3\n",
        "A=5$\nB=$5\nC=$(x)\n",
        'A="x" # $y\nB=z # $y\n# C=$y\n',
        'A=p\'a\nB=b"c"\n',
        "MLFLOW_URI=http://h:1/x#y\n",
        "",
    ],
)
def test_what_compose_reads_as_it_is_written_is_no_problem(text: str) -> None:
    assert list(check_lines(text)) == []


@pytest.mark.parametrize(
    ("text", "line", "problem", "fix"),
    [
        ("A=1\nDB_PASSWORD=pa$word9\n", 2, "DB_PASSWORD holds a `$`", "DB_PASSWORD='...'"),
        ('A="pa$word9"\n', 1, "A holds a `$`", "single quotes"),
        ("A=${HOME}/x\n", 1, "A holds a `$`", "single quotes"),
        ("A=pa$$word\n", 1, "A holds a `$`", "single quotes"),
        ("A=1\nB='a\n$b\nc'\nC=$c\n", 5, "C holds a `$`", "single quotes"),
        ("A=1\nFOO BAR=1\n", 2, "not NAME=value", "fix the line"),
        ("- A=1\n", 1, "not NAME=value", "fix the line"),
        ("=x\n", 1, "not NAME=value", "fix the line"),
        ("<<<<<<< HEAD\n", 1, "not NAME=value", "#"),
        ('A=1\nB="open\nC=2\n', 2, "the quote of B is not closed", "close it"),
        ("A='it'\\''s'\n", 1, "text after the closing quote of A", "one pair"),
        ('A="a"b\n', 1, "text after the closing quote of A", "one pair"),
        ("TZ=Europe/Berlin\n", 1, "TZ is set by compose/compose.yaml", ".env"),
    ],
)
def test_what_would_not_arrive_is_said_with_its_line(
    text: str, line: int, problem: str, fix: str
) -> None:
    ((number, told, help_),) = check_lines(text)
    assert (number, problem in told, fix in help_) == (line, True, True), (told, help_)


def test_the_error_names_lab_env_and_shows_no_value(clone: Clone) -> None:
    write(clone, GOOD)
    write_lab_env(clone, "A=1\nDB_PASSWORD=s3cret$word\n")
    error = refused(clone)
    assert "lab.env, line 2" in error.problem
    assert "s3cret" not in str(error)
    write_lab_env(clone, "A=1\nB=\n")
    load(clone)


def test_bytes_that_are_not_utf8_are_those_of_lab_env(clone: Clone) -> None:
    (clone.root / "lab.env").write_bytes(b"A=\xe9\n")
    (found,) = lab_env_problems(clone)
    assert found.text.startswith("lab.env is not UTF-8: byte 0xe9")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_values_that_others_can_read_are_refused_and_setup_makes_them_private(
    clone: Clone, double: Double, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    double.expect("pip", "config", "list")
    write(clone, GOOD)
    path = write_lab_env(clone, "# mine\nHF_TOKEN=x\n", mode)
    error = refused(clone)
    assert (error.code, error.fix[:17]) == (Code.ENV_READABLE, "chmod 600 lab.env")
    with process.in_mode(process.Mode(dry=True)):
        ensure_env_file(clone)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    ensure_env_file(clone)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "lab.env            made private" in capsys.readouterr().out
    load(clone)


def test_a_file_without_values_may_be_read(clone: Clone) -> None:
    write_lab_env(clone, (ROOT / "lab.env.example").read_text(), 0o644)
    assert list(lab_env_problems(clone)) == []


def test_the_doctor_names_it_and_reads_the_rest(gather: Gather, clone: Clone) -> None:
    write_lab_env(clone, "A=$b\n", 0o644)
    found = gather()
    assert [one.text[:24] for one in found.env_problems] == [
        "other users can read lab",
        "lab.env, line 1: A holds",
    ]
    assert found.settings is not None


def test_the_names_that_compose_sets_itself_are_all_known() -> None:
    model = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())
    assert set(model["services"]["jupyter"]["environment"]) == OVERRIDDEN
