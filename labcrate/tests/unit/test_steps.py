"""The steps that a clone's builds had, for the clean-up of what they left."""

from __future__ import annotations

from labcrate import process
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.lab.built import recorded
from labcrate.lab.compose import Lab
from labcrate.lab.steps import known_steps, remember_steps


def write(clone: Clone, command: str) -> None:
    (clone.docker / "Dockerfile").write_text(f"FROM x\nRUN {command}\n")


def test_a_step_that_was_built_once_stays_known(settings: Settings) -> None:
    clone, lab = settings.clone, Lab(settings=settings)
    for command in ("make one", "make two"):
        write(clone, command)
        with recorded(lab, []):
            pass
    write(clone, "make three")
    assert known_steps(clone) == {f"/bin/sh -c make {name}" for name in ("one", "two", "three")}


def test_a_dry_run_and_a_clone_without_a_dockerfile_note_nothing(clone: Clone) -> None:
    remember_steps(clone)
    write(clone, "make one")
    with process.in_mode(process.Mode(dry=True)):
        remember_steps(clone)
    assert not (clone.state / "steps").exists()


def test_a_damaged_note_is_written_anew(clone: Clone) -> None:
    write(clone, "make one")
    (clone.state / "steps").write_bytes(b"\xff")
    remember_steps(clone)
    assert (clone.state / "steps").read_text() == "/bin/sh -c make one\n"
