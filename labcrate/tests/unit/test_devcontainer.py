"""What .devcontainer/devcontainer.json promises: an editor joins the lab, and builds nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from clone import ROOT
from test_owner_lines import owners_files

NAME = ".devcontainer/devcontainer.json"
TEXT = (ROOT / NAME).read_text(encoding="utf-8")
SETTINGS: dict[str, Any] = json.loads(re.sub(r"(^|\s)//.*", "", TEXT))
JUPYTER = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())["services"]["jupyter"]

OWN_IMAGE = ("image", "build", "dockerFile", "features", "runServices", "mounts", "remoteUser")
"""With any of these an editor builds an image of its own, or starts a container that is not ours.
`hostRequirements` is left out, too: it would make the editor ask the engine for a GPU again."""


def test_an_editor_runs_the_first_command_of_the_readme() -> None:
    command = SETTINGS["initializeCommand"]
    assert command == "python3 bootstrap.py invoke setup --yes up"
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_joins_the_service_of_this_clones_lab() -> None:
    """An empty list: COMPOSE_FILE and the project's name come from .env, as for the tasks."""
    assert SETTINGS["dockerComposeFile"] == []
    assert SETTINGS["service"] == "jupyter"
    assert SETTINGS["workspaceFolder"] == JUPYTER["environment"]["ROOT_DIR"] == "/lab"


def test_it_changes_nothing_about_the_container() -> None:
    assert SETTINGS["overrideCommand"] is False
    assert SETTINGS["updateRemoteUserUID"] is False
    assert SETTINGS["shutdownAction"] == "none"
    assert not {*OWN_IMAGE, "hostRequirements"} & set(SETTINGS)


def test_a_copy_of_the_template_has_it() -> None:
    assert NAME in owners_files()
