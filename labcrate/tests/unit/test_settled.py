"""Which packages lie in the layer below, and that a change writes that down."""

from __future__ import annotations

from pathlib import Path

import pytest
from double import Double
from package_lab import Engine, fill_docker, snapshot_of

from labcrate import process
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.lab.built import layer_bytes
from labcrate.lab.compose import Lab
from labcrate.packages.change import add_packages, remove_packages
from labcrate.packages.locks import pins_of
from labcrate.packages.phases import Options, Phases
from labcrate.packages.recovery import recover_packages
from labcrate.packages.requested import parse_requirements
from labcrate.packages.settled import (
    HEAD,
    LARGE,
    MANY,
    STEP,
    choose_settled,
    read_settled,
    settled_text,
)
from labcrate.packages.tools import refresh_locks

ROOT = Path(__file__).parents[3]


def entry(name: str, version: str = "1", hashed: str = "aa") -> str:
    return f"{name}=={version} \\\n    --hash=sha256:{hashed}\n"


def lock_of(*names: str) -> str:
    return "".join(entry(name) for name in names)


NAMES = ("matplotlib", "pillow", "tqdm")
BEFORE = pins_of(lock_of(*NAMES))
ALL = {*NAMES, "einops"}


@pytest.mark.parametrize(
    ("lock", "above", "anew", "settled"),
    [
        pytest.param(lock_of(*NAMES), 0, False, {*NAMES}, id="nothing new"),
        pytest.param(lock_of("einops", *NAMES), 0, False, {*NAMES}, id="one more"),
        pytest.param(lock_of("einops", *NAMES), LARGE, False, {*NAMES}, id="a layer that fits"),
        pytest.param(lock_of("einops", *NAMES), LARGE + 1, False, ALL, id="a big layer above"),
        pytest.param(lock_of("einops", *NAMES), 0, True, ALL, id="asked for"),
        pytest.param(lock_of(*NAMES[1:]), 0, False, {*NAMES[1:]}, id="one was removed"),
        pytest.param(
            lock_of(*NAMES[1:]) + entry(NAMES[0], "2"), 0, False, {*NAMES}, id="another version"
        ),
        pytest.param(
            lock_of(*NAMES[1:]) + entry(NAMES[0], "1", "bb"), 0, False, {*NAMES}, id="another hash"
        ),
    ],
)
def test_what_is_settled_after_a_change(
    lock: str, above: int, anew: bool, settled: set[str]
) -> None:
    wanted = pins_of(lock)
    chosen = choose_settled(BEFORE, wanted, above, anew=anew)
    assert set(chosen) == settled
    assert all(chosen[name].text == wanted[name].text for name in chosen)


@pytest.mark.parametrize(("more", "grows"), [(MANY, False), (MANY + 1, True)])
def test_a_long_list_is_settled_at_once(more: int, grows: bool) -> None:
    wanted = pins_of(lock_of(*NAMES, *(f"p{number}" for number in range(more))))
    assert len(choose_settled(BEFORE, wanted, 0)) == (len(wanted) if grows else len(NAMES))


def test_what_no_index_gave_by_hash_is_never_settled() -> None:
    """An archive of the clone, an address, and an index without hashes: read at each change."""
    wanted = pins_of(
        lock_of("tqdm")
        + "mine @ file:///tmp/docker/local/ab/mine.whl\n"
        + "far @ git+https://example.org/far@0123\n"
        + "plain==1  # its index gives no hash\n"
    )
    assert set(choose_settled({}, wanted, 0, anew=True)) == {"tqdm"}


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_settled(tmp_path) is None
    (tmp_path / "settled.lock").write_text(settled_text(BEFORE))
    assert read_settled(tmp_path) == BEFORE


def test_the_template_starts_with_all_of_its_lock_settled() -> None:
    docker = ROOT / "docker"
    wanted = pins_of((docker / "packages.lock").read_text())
    assert read_settled(docker) == wanted
    assert (docker / "settled.lock").read_text() == settled_text(wanted)
    assert f": labcrate '{STEP}'" in (docker / "Dockerfile").read_text()


@pytest.fixture
def engine(clone: Clone, double: Double) -> Engine:
    fill_docker(clone)
    (clone.docker / "packages.in").write_text("tqdm\n")
    (clone.docker / "settled.lock").write_text(settled_text(BEFORE))
    return Engine(clone, double, lock=lock_of("einops", *NAMES))


def settled_now(clone: Clone) -> set[str]:
    return set(read_settled(clone.docker) or ())


def add(settings: Settings) -> None:
    wanted = parse_requirements("einops", settings.clone)
    add_packages(snapshot_of(settings, running=False), wanted, Options(), Phases())


def test_a_small_change_leaves_the_settled_layer_alone(engine: Engine, settings: Settings) -> None:
    before = (settings.clone.docker / "settled.lock").read_text()
    add(settings)
    assert (settings.clone.docker / "settled.lock").read_text() == before
    assert engine.files[-1]["settled.lock"] == before


def test_a_change_on_a_big_layer_settles_all(
    engine: Engine, settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = f"5 RUN : labcrate 'another'\n{LARGE + 1} RUN |1 : labcrate '{STEP}'; sh x\n"
    double.expect("docker", "history", stdout=rows)
    add(settings)
    assert settled_now(settings.clone) == ALL
    assert (
        "settled: 4 packages go into a layer that the next changes keep" in capsys.readouterr().out
    )
    assert pins_of(engine.files[-1]["settled.lock"]).keys() == ALL


def test_a_removal_takes_it_out_of_the_settled_layer(engine: Engine, settings: Settings) -> None:
    engine.lock = lock_of("pillow")
    remove_packages(snapshot_of(settings, running=False), ["tqdm"], Options(), Phases())
    assert settled_now(settings.clone) == {"pillow"}


def test_lock_settles_all(engine: Engine, settings: Settings) -> None:
    assert engine.lock
    refresh_locks(snapshot_of(settings, running=False), False, Phases())
    assert settled_now(settings.clone) == ALL


def test_a_lab_whose_dockerfile_has_no_such_layer_gets_no_file(
    engine: Engine, settings: Settings
) -> None:
    (settings.clone.docker / "settled.lock").unlink()
    add(settings)
    assert "settled.lock" not in engine.files[-1]
    assert read_settled(settings.clone.docker) is None


@pytest.mark.parametrize(
    ("dockerfile", "made"), [("FROM x\n", False), ("source=settled.lock", True)]
)
def test_an_updated_lab_gets_an_empty_list(
    engine: Engine, settings: Settings, dockerfile: str, made: bool
) -> None:
    assert engine.double.expected
    docker = settings.clone.docker
    (docker / "settled.lock").unlink()
    (docker / "Dockerfile").write_text(dockerfile)
    with process.in_mode(process.Mode(dry=True)):
        recover_packages(Lab(settings=settings))
    assert not (docker / "settled.lock").exists()
    recover_packages(Lab(settings=settings))
    assert (docker / "settled.lock").exists() == made
    if made:
        assert (docker / "settled.lock").read_text() == HEAD


def test_the_bytes_of_a_step(double: Double) -> None:
    double.expect("docker", "history", stdout="7 RUN a\n5 RUN b\n11 RUN a\n")
    assert layer_bytes("x/jupyter", "RUN a") == 18
    double.expect("docker", "history", returncode=1, stderr="No such image")
    assert layer_bytes("x/jupyter", "RUN a") == 0
