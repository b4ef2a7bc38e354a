"""Locks made anew: what is asked of uv, what is written, and what a dry run leaves alone."""

from __future__ import annotations

import pytest
from clone import ROOT
from double import Double
from package_lab import Engine, fill_docker, snapshot_of, texts_of

from labcrate import process
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.packages.locks import pins_of, stale_locks
from labcrate.packages.phases import Changed, Phases
from labcrate.packages.tools import (
    EXCLUDED,
    compile_lock,
    refresh_locks,
    refresh_tools,
    stale_tools,
    tool_locks,
)

PYPROJECT = """[project]
dependencies = ["invoke>=3", "pytest", "colorama; sys_platform == 'win32'"]
"""
MACHINERY = """[dependency-groups]
dev = ["mypy", "invoke"]
"""


@pytest.fixture
def tools(clone: Clone) -> Clone:
    clone.project_file.write_text(PYPROJECT)
    clone.tools_lock.write_text("invoke==3.0\npytest==9.2\n")
    return clone


def test_refresh_moves_what_was_added(settings: Settings, double: Double) -> None:
    fill_docker(settings.clone)
    engine = Engine(settings.clone, double, lock="matplotlib==3.2\npillow==9.0\ntqdm==4.0\n")
    changed = refresh_locks(snapshot_of(settings), everything=False, phases=Phases())
    assert changed == Changed(rows=(("matplotlib", "3.1", "3.2"),), built=True)
    assert engine.files[0]["keep.txt"] == "# held\n"
    assert not double.called("pip", "compile")
    assert not double.called("exec")


def test_refresh_of_everything_compiles_the_base_first(settings: Settings, double: Double) -> None:
    fill_docker(settings.clone)
    engine = Engine(settings.clone, double, lock="matplotlib==3.2\ntqdm==4.0\n")
    for name in ("uv", "torch", "tensorboard", "search", "base"):
        made = {"base": "numpy==3.0\n", "torch": "torch==2.14.0\n", "search": "onnxruntime==9\n"}
        double.expect(
            "-m", "uv", "pip", "compile", f"{name}.in", stdout=made.get(name, f"{name}==9\n")
        )
    phases = Phases()
    refresh_locks(snapshot_of(settings), everything=True, phases=phases)
    assert list(phases.seconds) == ["compile", "resolve", "build", "keep"]
    assert texts_of(settings.clone)["base.lock"].endswith("numpy==3.0\n")
    assert "numpy==3.0" in engine.files[0]["base.lock"]
    assert double.called("compile", "-c", "torch.lock", "--excludes", "base.in")
    assert double.called("compile", "--excludes", "search.in")
    assert len(double.called("compile", "--excludes")) == 2
    # The locks made up here have no hashes.
    found = stale_locks(settings.clone.docker)
    assert [problem for problem in found if "holds no hash" not in problem] == []


@pytest.mark.parametrize("name", EXCLUDED)
def test_a_lock_holds_nothing_that_it_leaves_out(name: str) -> None:
    assert not set(EXCLUDED[name]) & set(pins_of((ROOT / "docker" / f"{name}.lock").read_text()))


def test_a_dry_run_names_the_locks_and_asks_nothing(
    settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_docker(settings.clone)
    before = texts_of(settings.clone)
    with process.in_mode(process.Mode(dry=True)):
        assert refresh_locks(snapshot_of(settings), True, Phases()) == Changed()
        first = capsys.readouterr().out
        refresh_locks(snapshot_of(settings), False, Phases())
    assert "docker/base.lock would be made anew from docker/base.in" in first
    assert "base" not in capsys.readouterr().out
    assert double.calls == []
    assert texts_of(settings.clone) == before


def test_a_base_that_does_not_resolve_is_explained(clone: Clone, double: Double) -> None:
    fill_docker(clone)
    said = "error: No solution found\n  cause: Because there is no version of numpy==99"
    double.expect("pip", "compile", stderr=said, returncode=1)
    before = texts_of(clone)
    with pytest.raises(LabError) as caught:
        compile_lock(clone.docker, "base")
    assert caught.value.code is Code.PACKAGE_UNKNOWN
    assert texts_of(clone) == before


def test_a_damaged_requirement_file_is_named_before_uv_is_asked(
    clone: Clone, double: Double
) -> None:
    fill_docker(clone)
    (clone.docker / "base.in").write_text("numpy\n>>>>>>> other\n")
    with pytest.raises(LabError, match=r"docker/base\.in, line 2"):
        compile_lock(clone.docker, "base")
    assert double.calls == []


def test_a_clone_of_the_template_has_a_second_lock_for_its_own_tests(
    tools: Clone, double: Double
) -> None:
    tests = tools.root / "labcrate" / "tests"
    tests.mkdir(parents=True)
    (tools.root / "labcrate" / "pyproject.toml").write_text(MACHINERY)
    assert len(tool_locks(tools)) == 1
    (tests / "requirements.lock").write_text("invoke==3.0\n")
    assert list(stale_tools(tools)) == [
        "labcrate/tests/requirements.lock: mypy is asked for and not locked"
    ]
    double.expect("pip", "compile", stdout="invoke==3.0\npytest==9.2\n")
    below = ("pip", "compile", "-c", str(tools.tools_lock), "-")
    double.expect(*below, stdout="invoke==3.0\nmypy==2\n")
    assert refresh_tools(tools) == (("mypy", "", "2"),)
    assert list(stale_tools(tools)) == []


def test_the_tools_lock_is_compared_with_pyproject(tools: Clone) -> None:
    assert list(stale_tools(tools)) == []
    tools.project_file.write_text(PYPROJECT.replace("invoke>=3", "invoke>=4"))
    assert list(stale_tools(tools)) == [
        "requirements.lock: invoke>=4 is asked for, and 3.0 is locked"
    ]


def test_the_tools_lock_is_made_anew(tools: Clone, double: Double) -> None:
    asked: list[str | None] = []
    made = "invoke==3.1\npytest==9.2\n"
    double.expect("pip", "compile", "-", stdout=made, does=lambda _, text: asked.append(text))
    rows = (("invoke", "3.0", "3.1"),)
    with process.in_mode(process.Mode(dry=True)):
        assert refresh_tools(tools) == rows
    assert tools.tools_lock.read_text().startswith("invoke==3.0")
    assert refresh_tools(tools) == rows
    assert tools.tools_lock.read_text() == made
    assert refresh_tools(tools) == ()
    assert asked[0] == "invoke>=3\npytest\ncolorama; sys_platform == 'win32'"
