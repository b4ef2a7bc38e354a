"""The names of the labels: the module, compose/ and docker/ spell the same ones."""

from __future__ import annotations

import re

import pytest
from clone import ROOT

from labcrate import labels

FILES = sorted([*(ROOT / "compose").glob("*.yaml"), *(ROOT / "docker").glob("*ockerfile*")])
KNOWN = {value for name, value in vars(labels).items() if name.isupper()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_owners_uses_known_labels(path: object) -> None:
    found = set(re.findall(r"(?:dev\.labcrate|com\.docker\.compose)\.[\w.-]+", path.read_text()))  # type: ignore[attr-defined]
    assert found <= KNOWN


def test_each_label_of_a_service_is_spelled_in_compose() -> None:
    text = "\n".join(path.read_text() for path in FILES)
    for label in (labels.PROJECT, labels.BACKEND, labels.GPU):
        assert label in text


def test_a_column_of_a_listing() -> None:
    assert labels.column("a.b") == '{{.Label "a.b"}}'
