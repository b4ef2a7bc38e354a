"""What Compose is asked, and what its resolved model says; without asking any engine."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from double import Double

from labcrate import process
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.lab.compose import Lab, parse_model, resolve_model

RAW: dict[str, Any] = {
    "name": "lab-x",
    "volumes": {"home": {"name": "lab-x_home"}},
    "services": {
        "mlflow": {
            "ports": [{"target": 5000}, {"host_ip": "0.0.0.0", "published": "5000-5001"}],
            "healthcheck": {"disable": True},
        },
        "tensorboard": {
            "image": "lab-x/tensorboard",
            "build": {"target": "tensorboard"},
            "ports": [{"host_ip": "127.0.0.1", "published": "6006"}],
            "healthcheck": {"test": ["CMD", "true"]},
        },
        "jupyter": {
            "image": "lab-x/jupyter",
            "build": {"target": "final"},
            "ports": [{"host_ip": "10.0.0.1", "published": 8888}],
        },
        "worker": {"image": "redis:8"},
    },
}


def test_the_cpu_lab_needs_no_option(settings: Settings) -> None:
    assert Lab(settings=settings).compose("ps") == ("docker", "compose", "ps")


def test_what_env_names_already_needs_no_option(settings: Settings) -> None:
    both = ("compose/compose.yaml", "compose/shared-models.yaml")
    lab = Lab(settings=replace(settings, compose_files=both, shared_models="/srv/models"))
    assert lab.compose("ps") == ("docker", "compose", "ps")


@pytest.mark.parametrize(
    ("changes", "overlays", "files"),
    [
        ({}, ("compose/gpu-cdi.yaml",), ["compose/compose.yaml", "compose/gpu-cdi.yaml"]),
        ({"compose_file_set": False}, (), ["compose/compose.yaml"]),
        (
            {"compose_files": ("compose/compose.yaml", "./compose/gpu-runtime.yaml")},
            (),
            ["compose/compose.yaml"],
        ),
        (
            {
                "compose_files": (
                    "compose/compose.yaml",
                    "compose/mine.yaml",
                    "compose/gpu-cdi.yaml",
                )
            },
            (".labcrate/gpu.yaml",),
            ["compose/compose.yaml", "compose/mine.yaml", ".labcrate/gpu.yaml"],
        ),
        (
            {"shared_models": "/srv/models"},
            (".labcrate/gpu.yaml",),
            ["compose/compose.yaml", "compose/shared-models.yaml", ".labcrate/gpu.yaml"],
        ),
        (
            {"compose_files": ("compose/compose.yaml", "compose/shared-models.yaml")},
            (),
            ["compose/compose.yaml"],
        ),
    ],
)
def test_files_are_named_where_env_alone_would_not_do(
    settings: Settings, changes: dict[str, Any], overlays: tuple[str, ...], files: list[str]
) -> None:
    """A GPU's overlay in COMPOSE_FILE is for Compose by hand; the tasks decide that."""
    lab = Lab(settings=replace(settings, **changes), overlays=overlays)
    named = [part for name in files for part in ("-f", name)]
    assert lab.compose("ps") == ("docker", "compose", "--env-file", ".env", *named, "ps")


def test_the_owners_own_files_stay_with_compose(settings: Settings) -> None:
    own = replace(settings, compose_files=("compose/compose.yaml", "compose/mine.yaml"))
    assert Lab(settings=own).compose("ps") == ("docker", "compose", "ps")
    assert Lab(settings=own).compose("ps", extra_files=("x.json",))[-3:] == ("-f", "x.json", "ps")


@pytest.mark.parametrize(
    ("setting", "chosen", "argument"),
    [
        ("auto", "pypi", "auto"),
        ("pypi", "pypi", "pypi"),
        ("auto", "cpu", "cpu"),
        ("cpu", "cpu", "cpu"),
    ],
)
def test_pypis_build_goes_by_the_name_of_env(
    settings: Settings, setting: str, chosen: str, argument: str
) -> None:
    lab = Lab(settings=replace(settings, torch_backend=setting), torch_backend=chosen)
    assert lab.build_env == {"TORCH_BACKEND": argument}


def test_services_come_with_jupyter_first() -> None:
    model = parse_model(RAW)
    assert list(model.services) == ["jupyter", "tensorboard", "mlflow", "worker"]
    assert [one.name for one in model.built] == ["jupyter", "tensorboard"]
    assert model.volumes == ("lab-x_home",)
    assert (model.services["mlflow"].image, model.services["worker"].image) == (
        "lab-x-mlflow",
        "redis:8",
    )
    assert [one.has_health for one in model.services.values()] == [False, True, False, False]


def test_an_unknown_service_is_named_with_the_known() -> None:
    model = parse_model(RAW)
    assert model.require_service("mlflow") == "mlflow"
    with pytest.raises(LabError) as caught:
        model.require_service("jupiter")
    assert caught.value.code is Code.SETTINGS
    assert caught.value.fix == "use one of: jupyter, tensorboard, mlflow, worker"


def test_the_model_is_composes_own(settings: Settings, double: Double) -> None:
    double.expect("docker", "compose", "config", "--format", "json", stdout=json.dumps(RAW))
    assert resolve_model(Lab(settings=settings)).project == "lab-x"


@pytest.mark.parametrize(
    ("returncode", "code"), [(15, Code.SETTINGS), (process.NOT_FOUND, Code.COMPOSE)]
)
def test_a_refusal_is_shown(
    settings: Settings, double: Double, returncode: int, code: Code
) -> None:
    double.expect("docker", "compose", "config", stderr="bad indentation", returncode=returncode)
    with pytest.raises(LabError, match="bad indentation") as caught:
        resolve_model(Lab(settings=settings))
    assert caught.value.code is code


def test_a_lab_asks_changes_streams_and_attaches(
    settings: Settings, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double.expect("docker", "compose", stdout="said", returncode=3)
    lab = Lab(settings=settings)
    assert (lab.ask("ps").stdout, lab.change("cp").returncode) == ("said", 3)
    assert capsys.readouterr().out == ""
    assert (lab.stream("logs").returncode, lab.attach("exec")) == (3, 3)
    assert capsys.readouterr().out.splitlines() == [
        "$ docker compose logs",
        "said",
        "$ docker compose exec",
    ]
    assert (lab.image(), lab.image("x")) == ("lab-test-1/jupyter", "lab-test-1/x")
