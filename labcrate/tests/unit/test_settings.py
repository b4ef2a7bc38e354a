"""Reading .env into Settings: who may read it, what wins, and that all problems come together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from test_rules import GOOD

from labcrate.clone.place import Clone
from labcrate.clone.rules import Problem
from labcrate.clone.settings import Settings, load, make_settings, raise_problems
from labcrate.errors import Code, LabError


def write(clone: Clone, values: Mapping[str, str]) -> Path:
    clone.env_file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    clone.env_file.chmod(0o600)
    return clone.env_file


def refused(clone: Clone) -> LabError:
    with pytest.raises(LabError) as caught:
        load(clone)
    return caught.value


def test_values_and_defaults_become_settings(clone: Clone) -> None:
    made = make_settings(GOOD, clone)
    assert (made.project, made.jupyter_port, made.uid) == ("lab-test-1", 8888, 1000)
    assert (made.jupyter_dir, made.root_dir) == ("/lab/notebooks", clone.root)
    assert made.folders[0] == clone.root / "notebooks"
    assert (made.compose_files, made.compose_file_set) == (("compose/compose.yaml",), False)


def test_a_root_of_its_own_and_a_list_of_files_are_kept(clone: Clone) -> None:
    files = "compose/compose.yaml:compose/mine.yaml"
    made = make_settings({**GOOD, "ROOT_DIR": "/big/disk", "COMPOSE_FILE": files}, clone)
    assert made.folders[-1] == Path("/big/disk/models")
    assert made.compose_files == ("compose/compose.yaml", "compose/mine.yaml")
    assert made.compose_file_set


def test_all_problems_come_together(clone: Clone) -> None:
    write(clone, {**GOOD, "JUPYTER_PORT": "abc", "GPU": "yes", "JUPYTER_TOKEN": ""})
    error = refused(clone)
    words = ("3 problems with .env", "JUPYTER_PORT=abc", "GPU=yes", "empty")
    assert [word for word in words if word not in str(error)] == []
    assert error.code is Code.SETTINGS


@pytest.mark.parametrize(
    ("codes", "one"),
    [
        ([], None),
        ([Code.FOLDER], Code.FOLDER),
        ([Code.FOLDER, Code.FOLDER], Code.FOLDER),
        ([Code.FOLDER, Code.PORT_TAKEN], Code.SETTINGS),
    ],
)
def test_problems_share_their_code_where_they_agree(codes: list[Code], one: Code | None) -> None:
    found = [Problem(text="a", fix="b", code=code) for code in codes]
    if one is None:
        raise_problems(found)
        return
    with pytest.raises(LabError) as caught:
        raise_problems(found)
    assert caught.value.code is one


def test_the_environment_wins_as_with_compose(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(clone, GOOD)
    monkeypatch.setenv("JUPYTER_PROT", "9999")
    assert load(clone).jupyter_port == 8888
    monkeypatch.setenv("JUPYTER_PORT", "9999")
    assert load(clone).jupyter_port == 9999


def test_an_owners_variable_is_no_problem(clone: Clone) -> None:
    write(clone, {**GOOD, "MLFLOW_PORT": "5000"})
    assert load(clone).project == "lab-test-1"


def test_no_env_has_a_code_of_its_own(clone: Clone) -> None:
    error = refused(clone)
    assert error.code is Code.NO_ENV
    assert "invoke setup" in error.fix


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_env_that_others_can_read_is_refused(clone: Clone, mode: int) -> None:
    write(clone, GOOD).chmod(mode)
    error = refused(clone)
    assert error.code is Code.ENV_READABLE
    assert error.fix == "chmod 600 .env"


def test_a_dollar_without_quotes_is_refused(clone: Clone) -> None:
    write(clone, {**GOOD, "TZ": "$HOME"})
    assert "single quotes" in refused(clone).fix


def test_the_token_stays_out_of_the_repr(settings: Settings) -> None:
    assert settings.jupyter_token not in repr(settings)
