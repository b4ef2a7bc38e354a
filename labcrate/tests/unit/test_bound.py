"""The build cache after a build: what no image needs goes, once it is too much."""

from __future__ import annotations

import pytest
from double import Double
from package_lab import snapshot_of

from labcrate import process
from labcrate.clean.bound import LIMIT_BYTES, bound_cache
from labcrate.clone.settings import Settings

STEP = "mount / from exec /bin/sh -c : labcrate 'packages of packages.lock'"
HALF = LIMIT_BYTES // 2_000_000_000 + 1


def record(ident: str, rest: str = "", size: str = f"{HALF}GB") -> str:
    return f"ID: {ident}\n{rest}Size: {size}\nDescription: {STEP}\n"


def answer(double: Double, *records: str) -> None:
    double.expect("docker", "buildx", "du")
    double.expect("docker", "buildx", "prune")
    double.expect("docker", "buildx", "du", "--verbose", stdout="\n".join(records))


def removed(double: Double) -> list[str]:
    return [argv[-1] for argv in double.called("docker", "buildx", "prune")]


@pytest.fixture
def asked(settings: Settings) -> Settings:
    (settings.clone.docker / "Dockerfile").write_text("FROM x\n")
    return settings


def test_what_no_image_needs_goes_when_it_is_too_much(
    asked: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an image holds stays, and so do downloads and what others built."""
    held, downloads = record("held", "Shared: true\n"), record("uv", "Type: exec.cachemount\n")
    theirs = record("theirs").replace(": labcrate", "make")
    answer(double, record("old1"), record("old2"), held, downloads, theirs)
    bound_cache(snapshot_of(asked))
    (told,) = removed(double)
    assert sorted(told.removeprefix('id="').removesuffix('"').split("|")) == ["old1", "old2"]
    assert f"holds {2 * HALF}.0 GB that no image needs" in capsys.readouterr().out


def test_the_next_build_finds_what_is_not_too_much(asked: Settings, double: Double) -> None:
    answer(double, record("old1"), record("held", "Shared: true\n"))
    bound_cache(snapshot_of(asked))
    assert removed(double) == []


def test_an_engine_that_gives_no_answer_fails_no_build(asked: Settings, double: Double) -> None:
    double.expect("docker", "buildx", "du", returncode=1, stderr="no")
    bound_cache(snapshot_of(asked))
    assert removed(double) == []


def test_a_dry_run_asks_nothing(asked: Settings, double: Double) -> None:
    with process.in_mode(process.Mode(dry=True)):
        bound_cache(snapshot_of(asked))
    assert double.calls == []
