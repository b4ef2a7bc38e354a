"""What counts as a valid value in .env."""

from __future__ import annotations

import pytest

from labcrate.clone.place import Clone
from labcrate.clone.rules import KNOWN, Problem, check, check_quoting
from labcrate.errors import Code

GOOD = {
    "COMPOSE_PROJECT_NAME": "lab-test-1",
    "JUPYTER_PORT": "8888",
    "JUPYTER_TOKEN": "0123456789abcdef" * 3,
    "TENSORBOARD_PORT": "6006",
    "LAB_UID": "1000",
    "LAB_GID": "1000",
}


def problems(clone: Clone, **changes: str) -> list[Problem]:
    return check({**GOOD, **changes}, clone)


@pytest.mark.parametrize("value", ["1553201121", "2147483647"])
def test_ids_of_a_directory_are_ids(clone: Clone, value: str) -> None:
    assert problems(clone, LAB_UID=value, LAB_GID=value) == []


def test_a_good_set_has_no_problem(clone: Clone) -> None:
    assert problems(clone) == []


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
        ("SHARED_MODELS", "models", "SHARED_MODELS=models is not a folder that this user can read"),
        ("SHARED_MODELS", "/no/such/folder", "SHARED_MODELS=/no/such/folder is not a folder"),
        ("SHARED_MODELS", "/etc/hostname", "SHARED_MODELS=/etc/hostname is not a folder"),
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
        ("GPU_DEVICES", "free:0", "GPU_DEVICES=free:0 is not a list of GPUs"),
        ("GPU_DEVICES", "free:", "is not a list of GPUs"),
        ("GPU_DEVICES", "free,0", "is not a list of GPUs"),
        ("GPU_DEVICES", "Free", "is not a list of GPUs"),
        ("GPU_DEVICES", "0,1,0", "GPU_DEVICES=0,1,0 names one twice"),
        ("TORCH_BACKEND", "cuda12", "TORCH_BACKEND=cuda12 is not a choice"),
        ("SHM_SIZE", "lots", "SHM_SIZE=lots is not a size"),
        ("IDLE_HOURS", "12h", "IDLE_HOURS=12h is not a number of hours"),
        ("IDLE_HOURS", "-1", "is not a number of hours"),
        ("IDLE_HOURS", "nan", "is not a number of hours"),
        ("IDLE_HOURS", "0.05", "IDLE_HOURS=0.05 would end kernels between two cells"),
        ("MEMORY_LIMIT", "8 GB", "MEMORY_LIMIT=8 GB is not a size"),
        ("MEMORY_LIMIT", "40m", "MEMORY_LIMIT=40m is less than JupyterLab itself needs"),
        ("MEMORY_LIMIT", "1", "is less than JupyterLab itself needs"),
        ("PIDS_LIMIT", "-1", "PIDS_LIMIT=-1 is not a number"),
        ("PIDS_LIMIT", "16k", "PIDS_LIMIT=16k is not a number"),
        ("PIDS_LIMIT", "40", "PIDS_LIMIT=40 is less than JupyterLab itself needs"),
        ("BIND_ADDRESS", "localhost", "BIND_ADDRESS=localhost is not an IPv4 address"),
        ("LAB_UID", "me", "LAB_UID=me is not a numeric id"),
        ("LAB_UID", "2147483648", "is not a numeric id up to 2147483647, the engine's largest"),
        ("LAB_GID", "11111111111", "LAB_GID=11111111111 is not a numeric id"),
        ("LAB_GID", "", "LAB_GID is not set"),
        ("COMPOSE_PROJECT_NAME", "Lab One", "is not a name that Compose takes"),
        ("JUPYTER_PROT", "8888", "JUPYTER_PROT is not a variable of the lab"),
    ],
)
def test_each_wrong_value_is_named(clone: Clone, name: str, value: str, told: str) -> None:
    found = problems(clone, **{name: value})
    assert [p for p in found if told in p.text], found
    assert all(p.fix for p in found)


@pytest.mark.parametrize("value", ["", "0", "256", "16384"])
def test_limits_of_processes(clone: Clone, value: str) -> None:
    assert problems(clone, PIDS_LIMIT=value) == []


@pytest.mark.parametrize("value", ["relative", "/no/such/folder", "/etc/hostname", "/proc"])
def test_a_folder_has_a_code_of_its_own(clone: Clone, value: str) -> None:
    assert [p.code for p in problems(clone, ROOT_DIR=value)] == [Code.FOLDER]


def test_an_empty_root_is_the_clone(clone: Clone) -> None:
    assert problems(clone, ROOT_DIR="") == []
    assert problems(clone, ROOT_DIR=str(clone.root)) == []


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
        "free",
        "free:2",
    ],
)
def test_lists_of_gpus(clone: Clone, value: str) -> None:
    assert problems(clone, GPU_DEVICES=value) == []


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("JUPYTER_PROT", "JUPYTER_PORT"),
        ("JUPITER_TOKEN", "JUPYTER_TOKEN"),
        ("TENSORBOARD_DIRS", "TENSORBOARD_DIR"),
        ("rootdir", "ROOT_DIR"),
    ],
)
def test_a_typo_gets_the_nearest_name(clone: Clone, typo: str, meant: str) -> None:
    (found,) = problems(clone, **{typo: "x"})
    assert f"did you mean {meant}?" in found.fix


@pytest.mark.parametrize("name", ["MLFLOW_PORT", "HF_TOKEN", "POSTGRES_PASSWORD", "MY_DIR"])
def test_a_variable_of_the_owners_is_welcome(clone: Clone, name: str) -> None:
    assert name not in KNOWN
    assert problems(clone, **{name: "x"}) == []


def test_other_machines_need_a_strong_token(clone: Clone) -> None:
    (found,) = problems(clone, BIND_ADDRESS="0.0.0.0", JUPYTER_TOKEN="short")
    assert "lets other machines in" in found.text
    for weak in ("0123456789abcdef", "a" * 48, "abab" * 12):
        assert len(problems(clone, BIND_ADDRESS="0.0.0.0", JUPYTER_TOKEN=weak)) == 1
    assert problems(clone, BIND_ADDRESS="0.0.0.0") == []
    assert problems(clone, JUPYTER_TOKEN="short") == []


def test_a_dollar_needs_single_quotes() -> None:
    assert len(list(check_quoting("ROOT_DIR=/data/$USER\n# a $ in a comment\n"))) == 1
    assert list(check_quoting("ROOT_DIR='/data/$USER'\n")) == []


@pytest.mark.parametrize("value", ["", "0", "0.0", "0.1", "12", "0.5", "168"])
def test_hours_after_which_an_idle_kernel_goes(clone: Clone, value: str) -> None:
    assert problems(clone, IDLE_HOURS=value) == []


@pytest.mark.parametrize("value", ["", "/usr/share"])
def test_a_folder_of_models_may_be_one_that_cannot_be_written_to(clone: Clone, value: str) -> None:
    assert problems(clone, SHARED_MODELS=value) == []
