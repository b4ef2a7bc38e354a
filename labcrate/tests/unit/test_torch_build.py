"""Driver x cards x what is there already -> the build of PyTorch."""

from __future__ import annotations

import pytest
from machines import make_cards, make_engine

from labcrate.errors import Code, LabError
from labcrate.gpu.torch_build import Build, Hardware, choose_build, is_arm

P100 = "Tesla P100-PCIE-16GB, 6.0"
PASCAL = "NVIDIA GeForce GTX 1080, 6.1"
VOLTA = "Tesla V100-SXM2-16GB, 7.0"
T4 = "Tesla T4, 7.5"
A100 = "NVIDIA A100-SXM4-40GB, 8.0"
ADA = "NVIDIA GeForce RTX 4090, 8.9"
H100 = "NVIDIA H100 80GB HBM3, 9.0"
B200 = "NVIDIA B200, 10.0"
RTX50 = "NVIDIA GeForce RTX 5090, 12.0"
SPARK = "NVIDIA GB10, 12.1"
KEPLER = "Tesla K80, 3.7"
SECRETIVE = "NVIDIA Something, [N/A]"


def build(
    *texts: str,
    driver: str = "580.95.05",
    setting: str = "auto",
    image: str = "",
    arm: bool = False,
) -> Build:
    """On a GPU, where nobody may ask the index."""
    found = make_cards(*texts, driver=driver)
    hardware = Hardware(gpu=True, cards=found, driver=driver, arm=arm)
    return choose_build(setting, hardware, image=image, index_answers=never)


def never() -> bool:
    raise AssertionError("no traffic here")


@pytest.mark.parametrize(
    ("driver", "texts", "backend"),
    [
        ("580.95.05", [T4], "pypi"),
        ("580.95.05", [A100], "pypi"),
        ("580.95.05", [H100, H100], "pypi"),
        ("580.95.05", [B200], "pypi"),
        ("580.65.06", [RTX50], "pypi"),
        ("610.43.02", [ADA, RTX50], "pypi"),
        ("580.95.05", [SECRETIVE], "pypi"),
        # A card that CUDA 13 has dropped, on a driver that would do.
        ("580.95.05", [P100], "cu126"),
        ("580.95.05", [PASCAL, ADA], "cu126"),
        ("580.95.05", [VOLTA, T4], "cu126"),
        # A driver that CUDA 13 has dropped.
        ("575.64.03", [H100], "cu126"),
        ("570.86.15", [ADA], "cu126"),
        ("535.183.01", [P100], "cu126"),
        ("525.60.13", [T4], "cu126"),
        ("535.183.01", [SECRETIVE], "cu126"),
        # A loaded driver, and no nvidia-smi to tell of its cards.
        ("580.95.05", [], "pypi"),
        ("535.183.01", [], "cu126"),
    ],
)
def test_the_build_suits_driver_and_cards(driver: str, texts: list[str], backend: str) -> None:
    chosen = build(*texts, driver=driver)
    assert chosen.backend == backend
    assert driver in chosen.reason


@pytest.mark.parametrize(
    ("driver", "texts", "shown", "fix"),
    [
        ("470.256.02", [PASCAL], "470.256.02 is too old", "580 or newer"),
        ("525.53", [T4], "525.53 is too old", "580 or newer"),
        ("570.86.15", [RTX50], "RTX 5090 (sm_120) needs CUDA 13", "580 or newer"),
        ("570.86.15", [B200], "NVIDIA B200 (sm_100) needs CUDA 13", "580 or newer"),
        ("570.86.15", [ADA, RTX50], "RTX 5090 (sm_120) needs CUDA 13", "580 or newer"),
        ("580.95.05", [PASCAL, RTX50], "both NVIDIA GeForce GTX 1080 (sm_61) and", "GPU_DEVICES=1"),
        ("570.86.15", [PASCAL, RTX50], "both", "GPU_DEVICES=0"),
        ("580.95.05", [KEPLER], "has kernels for Tesla K80", "older PyTorch"),
        ("580.95.05", [KEPLER, T4], "Tesla K80 (sm_37)", "GPU_DEVICES"),
    ],
)
def test_hardware_that_no_build_serves_is_an_error(
    driver: str, texts: list[str], shown: str, fix: str
) -> None:
    with pytest.raises(LabError) as caught:
        build(*texts, driver=driver)
    assert shown in caught.value.problem
    assert fix in caught.value.fix
    assert caught.value.code is Code.GPU_PROOF


@pytest.mark.parametrize(
    ("texts", "backend"), [([SPARK], "pypi"), ([H100], "pypi"), ([A100], "pypi")]
)
def test_an_arm_processor_gets_the_build_on_pypi(texts: list[str], backend: str) -> None:
    assert build(*texts, arm=True).backend == backend


def test_wheels_for_arm_have_fewer_kernels() -> None:
    with pytest.raises(LabError, match="no build of this PyTorch has kernels for Tesla T4"):
        build(T4, arm=True)


@pytest.mark.parametrize(
    ("image", "driver", "texts", "backend"),
    [
        # What is there stays as long as it works, also where another build would be chosen now.
        ("cu126", "580.95.05", [H100], "cu126"),
        ("cu130", "580.95.05", [H100], "cu130"),
        ("cu132", "610.43.02", [RTX50], "cu132"),
        ("pypi", "580.95.05", [H100], "pypi"),
        # What is there does not work.
        ("cpu", "580.95.05", [H100], "pypi"),
        ("cu126", "580.95.05", [RTX50], "pypi"),
        ("pypi", "570.86.15", [H100], "cu126"),
        ("cu132", "580.95.05", [P100], "cu126"),
        ("rocm7.2", "580.95.05", [H100], "pypi"),
        # Nobody knows the driver: a stub, or a machine elsewhere.
        ("", "", [], "pypi"),
        ("cpu", "", [], "pypi"),
        ("cu126", "", [], "cu126"),
    ],
)
def test_an_image_that_works_stays(image: str, driver: str, texts: list[str], backend: str) -> None:
    assert build(*texts, driver=driver, image=image).backend == backend


@pytest.mark.parametrize("image", ["pypi", "cpu", "cu126", "cu130", "cu132"])
def test_without_a_gpu_every_image_stays_and_nobody_is_asked(image: str) -> None:
    chosen = choose_build("auto", Hardware(), image=image, index_answers=never)
    assert chosen.backend == image


@pytest.mark.parametrize(("answers", "backend"), [(True, "cpu"), (False, "pypi")])
def test_without_image_and_gpu_the_index_decides(answers: bool, backend: str) -> None:
    chosen = choose_build("auto", Hardware(), image="", index_answers=lambda: answers)
    assert (chosen.backend, "index" in chosen.reason) == (backend, True)


@pytest.mark.parametrize("setting", ["cpu", "cu126", "cu130", "pypi"])
def test_the_setting_wins(setting: str) -> None:
    assert build(RTX50, driver="470.1", setting=setting, image="pypi").backend == setting


@pytest.mark.parametrize(
    ("name", "arm"), [("aarch64", True), ("arm64", True), ("x86_64", False), ("", False)]
)
def test_the_engine_names_its_processor(name: str, arm: bool) -> None:
    assert is_arm(make_engine(Architecture=name)) is arm
