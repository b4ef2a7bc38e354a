"""Each known failure recognises its own examples first, and no log of a healthy lab shows any."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from labcrate import known
from labcrate.errors import Code, LabError
from labcrate.known import Failure, Where
from labcrate.lab.images import build_failure
from labcrate.lab.notices import start_failure

LOGS = Path(__file__).with_name("logs")
PAGE = known.FILE.with_name("docs") / "troubleshooting.md"
DAEMON = "Error response from daemon: "
FAILURES = known.failures()
EXAMPLES = [
    pytest.param(failure, text, id=f"{failure.name}-{number}")
    for failure in FAILURES
    for number, text in enumerate(failure.examples, 1)
]
TOML = """
[fixes]
again = "invoke up"

[[failure]]
name = "odd"
where = ["build", "lab"]
code = "BUILD"
pattern = '''
  odd\\ (?P<what>\\w+)
  |strange
'''
problem = "{what} is odd"
fix = "@again"
source = "reproduced"
examples = ["odd thing"]
"""


@pytest.mark.parametrize(("failure", "text"), EXAMPLES)
def test_an_example_is_recognised_as_its_own_failure(failure: Failure, text: str) -> None:
    """In the whole table, and in each place where the failure occurs, between other lines."""
    found = known.recognise(text)
    assert found is not None
    assert found.name == failure.name
    for where in failure.where:
        found = known.recognise(f"before\n{text}\nafter", where)
        assert found is not None
        assert (found.name, found.code) == (failure.name, failure.code)
        assert found.line
        assert found.line in text
        assert not re.search(r"\{\w*\}|@[\w-]+", found.problem + found.fix), found


def test_every_failure_is_complete() -> None:
    names = [failure.name for failure in FAILURES]
    assert len(set(names)) == len(names), "two failures share a name"
    for failure in FAILURES:
        texts = (failure.name, failure.problem, failure.fix, failure.source)
        assert all(text and text == text.strip() for text in texts), failure.name
        assert "  " not in failure.problem + failure.fix, failure.name
        assert failure.examples, failure.name
        assert len(set(failure.examples)) == len(failure.examples), failure.name
        assert len(set(failure.where)) == len(failure.where) > 0, failure.name


def test_every_place_has_failures() -> None:
    places = {where for failure in FAILURES for where in failure.where}
    assert places == set(get_args(Where)) == set(known.HEADINGS)


def test_no_failure_is_out_of_reach() -> None:
    """A general pattern before a special one would answer for it in every place."""
    answers = {found.name for f in FAILURES for e in f.examples if (found := known.recognise(e))}
    assert answers == {failure.name for failure in FAILURES}


def test_shared_fixes_are_plain_texts_that_failures_use() -> None:
    fixes, failures = known.read()
    for name, text in fixes.items():
        assert known.fix_text(name) == text
        assert not set("{}@") & set(text)
        assert any(text in failure.fix for failure in failures), f"nothing uses @{name}"
    assert "nvidia-ctk cdi generate" in known.fix_text("refresh-cdi")


def test_every_task_that_a_fix_names_exists() -> None:
    """`invoke down up` names two tasks; prose after them is no task."""
    import tasks

    named = re.findall(
        r"invoke ((?:[a-z-]+)(?: (?:up|down)\b)?)", " ".join(f.fix for f in FAILURES)
    )
    verbs = {verb for words in named for verb in words.split()}
    assert verbs >= {"setup", "up", "down", "clean"}
    assert verbs <= set(tasks.namespace.tasks)


@pytest.mark.parametrize("log", sorted(LOGS.glob("*.log")), ids=lambda path: path.name)
def test_a_log_of_a_healthy_lab_shows_nothing(log: Path) -> None:
    """A build from nothing; JupyterLab with a kernel and refused requests; TensorBoard."""
    text = log.read_text()
    assert len(text) > 300
    assert known.recognise(text) is None
    assert known.recognise_all(text) == []


def test_the_logs_are_there() -> None:
    assert sorted(log.stem for log in LOGS.glob("*.log")) == ["build", "jupyter", "tensorboard"]


@pytest.mark.parametrize(
    ("number", "version"), [("12080", "12.8"), ("13000", "13.0"), ("11040", "11.4")]
)
def test_the_drivers_number_is_decoded(number: str, version: str) -> None:
    found = known.recognise(f"driver on your system is too old (found version {number})")
    assert found is not None
    assert f"CUDA up to {version}" in found.problem


@pytest.mark.parametrize(
    "text",
    [
        "Bind for 127.0.0.1:8899 failed: port is already allocated",
        "failed to bind host port for 127.0.0.1:8899:172.17.0.2:1/tcp: address already in use",
        "failed to bind host port 0.0.0.0:8899/tcp: address already in use",
        "failed to bind host port for [::1]:8899:172.17.0.2:1/tcp: address already in use",
    ],
)
def test_problem_and_fix_carry_the_values_of_the_text(text: str) -> None:
    found = known.recognise(text, "start")
    assert found is not None
    assert "port 8899 is taken" in found.problem
    assert "8899" in found.fix


def test_the_line_is_the_one_that_matches() -> None:
    found = known.recognise("one\n  12 No devices were found, alas \nthree")
    assert found is not None
    assert found.line == "12 No devices were found, alas"


def test_a_log_shows_each_failure_once() -> None:
    log = "No devices were found\nPermission denied: work/x\nNo devices were found\nfine\n"
    assert [found.name for found in known.recognise_all(log)] == ["gpu-none-found", "permission"]


def test_a_special_failure_comes_before_a_general_one() -> None:
    text = "error: failed to extend /dev/shm/nccl-x to 9 bytes, error: No space left on device (28)"
    cases: tuple[tuple[Where, str], ...] = (("lab", "nccl-shm"), ("build", "disk-full"))
    for where, name in cases:
        found = known.recognise(text, where)
        assert found is not None
        assert found.name == name


def test_a_place_has_only_its_own_failures() -> None:
    """A program's PermissionError in a build's log has nothing to do with mounted folders."""
    text = "PermissionError: [Errno 13] Permission denied: 'x'"
    assert known.recognise(text, "build") is None
    assert known.recognise_all(text, "build") == []
    assert known.recognise(text, "lab") is not None


@pytest.mark.parametrize(
    ("text", "code", "fix"),
    [
        ("#9 no space left on device", Code.DISK_FULL, "invoke clean --cache"),
        ("rpc error: error reading from server: EOF", Code.ENGINE_DOWN, "invoke setup"),
        ("error: Failed to fetch: x\ntcp connect error", Code.NETWORK, "index settings"),
    ],
)
def test_a_known_failure_is_explained(text: str, code: Code, fix: str) -> None:
    unknown = LabError("the build failed", fix="read it", code=Code.BUILD)
    error = known.explain_failure(text, "build", otherwise=unknown)
    assert (error.code, fix in error.fix) == (code, True)
    assert error.problem.endswith(f":\n{text}")


def test_an_unknown_failure_stays_what_it_is() -> None:
    unknown = LabError("the build failed", fix="read it", code=Code.BUILD)
    assert known.explain_failure("pip failed strangely", "build", otherwise=unknown) is unknown
    assert known.recognise("pip failed strangely") is None


def test_an_unknown_build_failure_shows_its_text() -> None:
    error = build_failure("pip failed strangely")
    assert error.code is Code.BUILD
    assert error.fix
    assert "pip failed strangely" in error.problem


@pytest.mark.parametrize(
    ("said", "logs", "code", "shown"),
    [
        (
            DAEMON + 'could not select device driver "nvidia" with capabilities: [[gpu]]',
            "",
            Code.GPU_NOT_OFFERED,
            "Toolkit",
        ),
        (
            "container x is unhealthy",
            "jupyter-1 | JUPYTER_TOKEN is empty: run `x`",
            Code.SETTINGS,
            "token",
        ),
        ("container x is unhealthy", "calm", Code.UNHEALTHY, "did not become healthy"),
    ],
)
def test_a_lab_that_does_not_come_up(said: str, logs: str, code: Code, shown: str) -> None:
    """The engine's text decides; the logs of the services only where that one is unknown."""
    error = start_failure(said, logs)
    assert (error.code, shown in error.problem, said in error.problem) == (code, True, True)


def written(tmp_path: Path, old: str = "", new: str = "") -> Path:
    """A table of one failure, with one change."""
    assert old in TOML
    file = tmp_path / "known.toml"
    file.write_text(TOML.replace(old, new, 1) if old else TOML, encoding="utf-8")
    return file


def test_a_table_is_read(tmp_path: Path) -> None:
    """Line breaks in a pattern and the blanks around them are left out; @again is replaced."""
    fixes, (failure,) = known.read(written(tmp_path))
    assert fixes == {"again": "invoke up"}
    assert failure.pattern.pattern == r"odd\ (?P<what>\w+)|strange"
    assert (failure.where, failure.code, failure.fix) == (("build", "lab"), Code.BUILD, "invoke up")
    found = failure.find("an ODD Thing")
    assert found is not None
    assert found.problem == "Thing is odd"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"BUILD"', '"BUILDD"', "BUILDD"),
        ('"lab"', '"labb"', "labb"),
        ('"@again"', '"@agian"', "agian"),
        ('source = "reproduced"', "", "source"),
        ('code = "BUILD"', "", "code"),
        ("source =", "sources =", "sources"),
        ("|strange", "|(strange", "unterminated"),
    ],
)
def test_a_fault_in_the_table_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"known\.toml: odd: unknown or missing: .*{said}"):
        known.read(written(tmp_path, old, new))


def test_an_import_reads_and_compiles_nothing() -> None:
    script = "from labcrate import known; print(known.read.cache_info().currsize)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=known.FILE.parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"


def test_the_table_is_read_once() -> None:
    assert known.failures() is known.failures()


def test_the_page_is_current() -> None:
    """Written with: python -m labcrate.known > labcrate/docs/troubleshooting.md"""
    assert PAGE.read_text(encoding="utf-8") == known.troubleshooting()


def test_the_page_shows_each_failure_once() -> None:
    page = known.troubleshooting()
    outside = re.sub(r"^```text\n.*\n```$", "", page, flags=re.MULTILINE)
    listed = re.findall(r"^### (\S+)$", outside, re.MULTILINE)
    assert sorted(listed) == sorted(failure.name for failure in FAILURES)
    assert re.findall(r"^## (.+)$", outside, re.MULTILINE) == list(known.HEADINGS.values())
    assert page.count("\n```text\n") == len(FAILURES)
