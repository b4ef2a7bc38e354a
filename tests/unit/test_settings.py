"""What counts as a valid .env, and that all its problems are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from labcrate import settings
from labcrate.errors import Code, LabError

GOOD = {
    "COMPOSE_PROJECT_NAME": "lab-test-1",
    "JUPYTER_PORT": "8888",
    "JUPYTER_TOKEN": "0123456789abcdef" * 3,
    "TENSORBOARD_PORT": "6006",
    "LAB_UID": "1000",
    "LAB_GID": "1000",
}


def problems(**changes: str) -> list[settings.Problem]:
    return settings.check({**GOOD, **changes})


def test_a_good_set_has_no_problem() -> None:
    assert problems() == []
    assert settings.build(GOOD).jupyter_dir == "/lab/notebooks"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("JUPYTER_PORT", "0", "JUPYTER_PORT=0 is not a port"),
        ("JUPYTER_PORT", "99999", "JUPYTER_PORT=99999 is not a port"),
        ("JUPYTER_PORT", "abc", "JUPYTER_PORT=abc is not a port"),
        ("JUPYTER_PORT", "-1", "JUPYTER_PORT=-1 is not a port"),
        ("JUPYTER_PORT", "88 88", "JUPYTER_PORT=88 88 is not a port"),
        ("JUPYTER_PORT", "٨٨٨٨", "is not a port"),
        ("TENSORBOARD_PORT", "8888", "JUPYTER_PORT and TENSORBOARD_PORT are both 8888"),
        ("JUPYTER_TOKEN", "", "JUPYTER_TOKEN is empty"),
        ("JUPYTER_TOKEN", "   ", "JUPYTER_TOKEN is empty"),
        ("JUPYTER_TOKEN", "a&b=c", "characters that a link cannot carry"),
        ("ROOT_DIR", "relative/path", "is not an absolute path"),
        ("ROOT_DIR", "/no/such/folder", "ROOT_DIR=/no/such/folder does not exist"),
        ("ROOT_DIR", "/etc/hostname", "ROOT_DIR=/etc/hostname is a file"),
        ("ROOT_DIR", "/proc", "is not writable"),
        ("JUPYTER_DIR", "/etc", "JUPYTER_DIR=/etc is not inside a folder that the lab keeps"),
        ("JUPYTER_DIR", "/lab/notebooks/../../etc", "is not inside"),
        ("TENSORBOARD_DIR", "runs", "TENSORBOARD_DIR=runs is not inside"),
        ("GPU", "maybe", "GPU=maybe is not a choice"),
        ("GPU_DEVICES", "first", "GPU_DEVICES=first is not a list of GPUs"),
        ("GPU_DEVICES", "0, 1", "GPU_DEVICES=0, 1 is not a list of GPUs"),
        ("GPU_DEVICES", "0,,1", "is not a list of GPUs"),
        ("GPU_DEVICES", "all,0", "is not a list of GPUs"),
        ("GPU_DEVICES", "-1", "is not a list of GPUs"),
        ("GPU_DEVICES", "GPU-", "is not a list of GPUs"),
        ("GPU_DEVICES", "nvidia.com/gpu=0", "is not a list of GPUs"),
        ("GPU_DEVICES", "0,1,0", "GPU_DEVICES=0,1,0 names one twice"),
        ("TORCH_BACKEND", "cuda12", "TORCH_BACKEND=cuda12 is not a choice"),
        ("SHM_SIZE", "lots", "SHM_SIZE=lots is not a size"),
        ("MEMORY_LIMIT", "8 GB", "MEMORY_LIMIT=8 GB is not a size"),
        ("MEMORY_LIMIT", "40m", "MEMORY_LIMIT=40m is less than JupyterLab itself needs"),
        ("MEMORY_LIMIT", "1", "is less than JupyterLab itself needs"),
        ("BIND_ADDRESS", "localhost", "BIND_ADDRESS=localhost is not an IPv4 address"),
        ("LAB_UID", "me", "LAB_UID=me is not a numeric id"),
        ("LAB_GID", "", "LAB_GID is not set"),
        ("COMPOSE_PROJECT_NAME", "Lab One", "is not a name that Compose takes"),
        ("JUPYTER_PROT", "8888", "JUPYTER_PROT is not a variable of the lab"),
    ],
)
def test_each_wrong_value_is_named(name: str, value: str, told: str) -> None:
    found = problems(**{name: value})
    assert [p for p in found if told in p.text], found
    assert all(p.fix for p in found)


@pytest.mark.parametrize(
    "value",
    [
        "all",
        "",
        "0",
        "0,1,15",
        "GPU-5d1f1a9e-7a3c-1b2c-3d4e-5f6a7b8c9d0e",
        "MIG-5d1f1a9e-7a3c-1b2c-3d4e-5f6a7b8c9d0e,1",
        "0:0,0:1",
    ],
)
def test_lists_of_gpus(value: str) -> None:
    assert problems(GPU_DEVICES=value) == []


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("JUPYTER_PROT", "JUPYTER_PORT"),
        ("JUPITER_TOKEN", "JUPYTER_TOKEN"),
        ("TENSORBOARD_DIRECTORY", "TENSORBOARD_DIR"),
        ("rootdir", "ROOT_DIR"),
    ],
)
def test_a_typo_gets_the_nearest_name(typo: str, meant: str) -> None:
    (found,) = problems(**{typo: "x"})
    assert f"did you mean {meant}?" in found.fix


def test_a_stranger_is_sent_to_lab_env() -> None:
    (found,) = problems(HF_TOKEN="x")
    assert "lab.env" in found.fix


def test_other_machines_need_a_strong_token() -> None:
    (found,) = problems(BIND_ADDRESS="0.0.0.0", JUPYTER_TOKEN="short")
    assert "lets other machines in" in found.text
    for weak in ("0123456789abcdef", "a" * 48, "abab" * 12):
        assert len(problems(BIND_ADDRESS="0.0.0.0", JUPYTER_TOKEN=weak)) == 1
    assert problems(BIND_ADDRESS="0.0.0.0") == []
    assert problems(JUPYTER_TOKEN="short") == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("7b", 7), ("2k", 2048), ("256m", 2**28), ("8G", 2**33)],
)
def test_sizes_as_compose_takes_them(text: str, size: int) -> None:
    assert settings.size(text) == size


def test_all_problems_come_together(tmp_path: Path) -> None:
    env = write(tmp_path, {**GOOD, "JUPYTER_PORT": "abc", "GPU": "yes", "JUPYTER_TOKEN": ""})
    with pytest.raises(LabError) as caught:
        settings.load(env, {})
    text = str(caught.value)
    assert all(word in text for word in ("3 problems", "JUPYTER_PORT=abc", "GPU=yes", "empty"))
    assert caught.value.code is Code.SETTINGS


def test_the_environment_wins_as_with_compose(tmp_path: Path) -> None:
    env = write(tmp_path, GOOD)
    assert settings.load(env, {"JUPYTER_PORT": "9999"}).jupyter_port == 9999
    assert settings.load(env, {"JUPYTER_PROT": "9999"}).jupyter_port == 8888


def test_no_env_has_a_code_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        settings.load(tmp_path / ".env", {})
    assert caught.value.code is Code.NO_ENV
    assert "invoke setup" in caught.value.fix


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_env_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    env = write(tmp_path, GOOD)
    env.chmod(mode)
    with pytest.raises(LabError) as caught:
        settings.load(env, {})
    assert caught.value.code is Code.ENV_READABLE
    assert caught.value.fix == "chmod 600 .env"


def test_a_dollar_needs_single_quotes() -> None:
    assert len(list(settings.check_quoting("ROOT_DIR=/data/$USER\n# a $ in a comment\n"))) == 1
    assert list(settings.check_quoting("ROOT_DIR='/data/$USER'\n")) == []


def test_the_token_stays_out_of_the_repr() -> None:
    assert GOOD["JUPYTER_TOKEN"] not in repr(settings.build(GOOD))


def write(folder: Path, values: dict[str, str]) -> Path:
    path = folder / ".env"
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    path.chmod(0o600)
    return path
