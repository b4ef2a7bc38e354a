"""How the tests of the image are run, and where their results go."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from double import Double
from task_lab import TaskLab
from test_report import RESULTS

from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.doctor.findings import Finding
from labcrate.errors import Code
from labcrate.lab.compose import Lab
from labcrate.smoke import prove as room
from labcrate.smoke.prove import SUITE, main, proof_command, prove, prove_quickly


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings=settings, overlays=("compose/gpu-cdi.yaml",))


def leaves(results: object, junit: str = "<testsuite/>") -> object:
    """What the container leaves in the folder that is mounted as /results."""

    def does(argv: Sequence[str], _stdin: str | None) -> None:
        (mount,) = (part for part in argv if part.endswith(":/results"))
        folder = Path(mount.removesuffix(":/results"))
        (folder / "results.json").write_text(json.dumps(results))
        if junit:
            (folder / "junit.xml").write_text(junit)

    return does


@pytest.mark.parametrize(
    ("half", "where", "marker"),
    [
        ("cpu", ("/smoke", "/tests"), "not gpu"),
        ("gpu", ("/smoke/test_cuda.py", "/tests"), "gpu"),
        ("quick", ("/smoke/test_cuda.py",), "quick"),
    ],
)
def test_each_half_runs_its_tests_with_the_labs_overlay(
    lab: Lab, half: str, where: tuple[str, ...], marker: str
) -> None:
    command = proof_command(lab, half, Path("/results"), ["-k", "x"])
    assert command[-len(where) - 4 :] == (*where, "-m", marker, "-k", "x")
    assert "compose/gpu-cdi.yaml" in command
    mounts = {"/results:/results", f"{SUITE}:/smoke:ro", f"{lab.clone.tests}:/tests:ro"}
    assert mounts <= set(command)
    assert all((SUITE / Path(path).name).exists() for path in where if path.endswith(".py"))


def test_a_cpu_proof_leaves_its_reports(lab: Lab, double: Double) -> None:
    double.expect("docker", "compose", "run", does=leaves(RESULTS))  # type: ignore[arg-type]
    assert prove(lab, "cpu") == 0
    names = sorted(path.name for path in lab.clone.reports.iterdir())
    assert names == ["cpu_smoke.json", "cpu_smoke.xml"]
    double.expect("docker", "compose", "run", returncode=5)
    assert prove(lab, "cpu") == 5
    assert list(lab.clone.reports.iterdir()) == []


@pytest.mark.parametrize(("returncode", "status"), [(0, 0), (1, Code.GPU_PROOF)])
def test_a_gpu_proof_shows_its_figures_and_why_it_failed(
    lab: Lab,
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    returncode: int,
    status: int,
) -> None:
    finding = Finding(severity="error", check="driver", problem="no driver is loaded", fix="x")
    monkeypatch.setattr(room, "gather_facts", lambda _: None)
    monkeypatch.setattr(room, "gpu_reasons", lambda _: [finding])
    double.expect("docker", "compose", "run", returncode=returncode, does=leaves(RESULTS))  # type: ignore[arg-type]
    assert prove(lab, "gpu") == status
    told = capsys.readouterr().out
    assert "test_nccl" in told
    assert ("no driver is loaded" in " ".join(told.split())) is bool(returncode)


@pytest.mark.parametrize(
    ("returncode", "results", "cause"),
    [(0, RESULTS, ""), (1, RESULTS, "RuntimeError: <a | b>"), (125, {}, "no such device")],
)
def test_the_quick_half_says_why_it_failed(
    lab: Lab, double: Double, returncode: int, results: object, cause: str
) -> None:
    double.expect(
        "docker",
        "compose",
        "run",
        "quick",
        returncode=returncode,
        stderr="no such device\n",
        does=leaves(results),  # type: ignore[arg-type]
    )
    seconds, said = prove_quickly(lab)
    assert (said, 0 <= seconds < 5) == (cause, True)


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["prove", *words])
    return main()


def test_a_half_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("both",), (), ("summary",)):
        assert run_main(monkeypatch, *words) == 2
        assert "labcrate.smoke.prove gpu" in capsys.readouterr().out


def test_a_summary_is_read_from_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Also as CI calls it, on a report that is not there."""
    assert run_main(monkeypatch, "summary", str(tmp_path / "none.json")) == 0
    assert capsys.readouterr().out.startswith("**No results**")
    (tmp_path / "some.json").write_text(json.dumps(RESULTS))
    assert run_main(monkeypatch, "summary", str(tmp_path / "some.json")) == 0
    assert capsys.readouterr().out.startswith("## NVIDIA H100")


def test_the_cpu_half_runs_in_the_lab_as_it_was_built(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_lab.double.expect("docker", "compose", "run", returncode=1)
    assert run_main(monkeypatch, "cpu", "-k", "x") == 1
    (command,) = task_lab.double.called("docker", "compose", "run")
    assert command[-2:] == ("-k", "x")


def test_stale_images_prove_nothing(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task_lab.built = {"jupyter": "old"}
    assert run_main(monkeypatch, "cpu") == Code.NOT_UP
    assert "fix: invoke build" in capsys.readouterr().err


def test_the_gpu_half_does_not_accept_a_cpu(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "gather_facts", lambda _: None)
    monkeypatch.setattr(room, "gpu_reasons", lambda _: [])
    assert task_lab.double.expected
    assert run_main(monkeypatch, "gpu") == Code.GPU_NOT_OFFERED
    assert "error: " in capsys.readouterr().err


def test_the_gpu_half_uses_the_gpu_that_is_offered(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_lab.offer_gpu()
    task_lab.double.expect("docker", "compose", "run")
    assert run_main(monkeypatch, "gpu") == 0
    (command,) = task_lab.double.called("docker", "compose", "run")
    assert "compose/gpu-cdi.yaml" in command


def test_the_results_folder_belongs_to_the_labs_user(lab: Lab, clone: Clone) -> None:
    mine = replace(lab.settings, uid=clone.root.stat().st_uid, gid=clone.root.stat().st_gid)
    with room.results_folder(replace(lab, settings=mine)) as folder:
        assert folder.stat().st_uid == mine.uid
    assert not folder.exists()
