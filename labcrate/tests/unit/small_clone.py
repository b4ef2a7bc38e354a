"""A clone in a folder of its own, and the double in place of real processes: the fixtures that most
unit tests use. conftest.py hands them to pytest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from double import Double

from labcrate import process
from labcrate.clone.place import Clone
from labcrate.clone.rules import KNOWN
from labcrate.clone.settings import Settings, make_settings
from labcrate.engine import client, plan

VALUES = {
    "COMPOSE_PROJECT_NAME": "lab-test-1",
    "JUPYTER_PORT": "8888",
    "JUPYTER_TOKEN": "t" * 48,
    "TENSORBOARD_PORT": "6006",
    "LAB_UID": "1000",
    "LAB_GID": "1000",
    "COMPOSE_FILE": "compose/compose.yaml",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, engine or login of the caller's; no plugin and no pin of his machine's."""
    monkeypatch.setattr(client, "PLUGIN_FOLDERS", ())
    monkeypatch.setattr(plan, "PIN", Path("/no/such/pin"))
    monkeypatch.setenv("NETRC", "/no/such/netrc")
    monkeypatch.setenv("DOCKER_CONFIG", "/no/such/folder")
    for name in (*KNOWN, "DOCKER_HOST", "DOCKER_CONTEXT", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """An empty clone: its folders, and an empty requirement file where one is read."""
    root = tmp_path / "clone"
    for name in ("compose", "docker", ".labcrate", "notebooks", "src", "runs", "data", "models"):
        (root / name).mkdir(parents=True)
    (root / "compose" / "compose.yaml").write_text("services: {}\n")
    return Clone(root=root, here=root)


@pytest.fixture
def settings(clone: Clone) -> Settings:
    return make_settings(VALUES, clone)


@pytest.fixture
def double() -> Iterator[Double]:
    """Every process of the test is answered by this one; an unexpected one fails it."""
    made = Double()
    with process.using(made):
        yield made
