"""What a proof left: known again for the same container and decision, and for no other."""

from __future__ import annotations

import json

import pytest

from labcrate import process
from labcrate.clone.place import Clone
from labcrate.gpu.record import RECORD, failed_proof, is_proven, read_proof, remember_proof

ONE, OTHER = "1" * 64, "2" * 64


def test_a_failed_proof_is_known_again(clone: Clone) -> None:
    assert not failed_proof(clone, ONE, "a")
    remember_proof(clone, ONE, "a", "no kernel image\n")
    assert failed_proof(clone, ONE, "a") == "no kernel image"
    assert not is_proven(clone, ONE)
    assert not failed_proof(clone, ONE, "another driver")


def test_a_passed_proof_is_not_repeated(clone: Clone) -> None:
    assert not is_proven(clone, ONE)
    remember_proof(clone, ONE, "a", "")
    assert is_proven(clone, ONE)
    assert not failed_proof(clone, ONE, "a")


@pytest.mark.parametrize("container", [OTHER, ""])
@pytest.mark.parametrize("cause", ["", "no kernel image"])
def test_a_record_is_void_for_another_container(clone: Clone, container: str, cause: str) -> None:
    remember_proof(clone, ONE, "a", cause)
    assert read_proof(clone, ONE)
    assert not failed_proof(clone, container, "a")
    assert not is_proven(clone, container)


def test_no_container_is_never_proven(clone: Clone) -> None:
    remember_proof(clone, "", "a", "")
    assert not is_proven(clone, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        json.dumps({"container": ONE, "stamp": "a", "cause": None}),
        json.dumps({"container": ONE, "stamp": "a", "cause": "", "more": ""}),
    ],
)
def test_a_damaged_record_is_no_record(clone: Clone, text: str) -> None:
    (clone.state / RECORD).write_text(text)
    assert read_proof(clone, ONE) is None
    assert not failed_proof(clone, ONE, "a")
    assert not is_proven(clone, ONE)


def test_a_dry_run_remembers_nothing(clone: Clone) -> None:
    with process.in_mode(process.Mode(dry=True)):
        remember_proof(clone, ONE, "a", "")
    assert not (clone.state / RECORD).exists()
