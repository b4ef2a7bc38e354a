"""The doctor's check of the build of PyTorch: does it suit the driver and the cards? torch_build.py
decides, as it does for `up`."""

from __future__ import annotations

from collections.abc import Iterator

from labcrate.doctor.check_gpu import (
    driver_works,
    engine_host,
    gpu_finding,
    gpu_severity,
    lab_cards,
)
from labcrate.doctor.facts import Facts
from labcrate.doctor.findings import Finding
from labcrate.errors import LabError
from labcrate.gpu.torch_build import CUDA_13, NEEDS, Hardware, choose_build, is_arm
from labcrate.lab.compose import JUPYTER


def check_build(facts: Facts) -> Iterator[Finding]:
    """Some build of PyTorch suits driver and cards, and the one in the image is such a build."""
    host, severity = engine_host(facts), gpu_severity(facts)
    hardware = Hardware(
        gpu=True,
        cards=lab_cards(facts),
        driver=host.driver,
        arm=facts.engine is not None and is_arm(facts.engine),
    )
    if not (hardware.cards and host.driver and driver_works(host)):
        return
    try:
        best = choose_build("auto", hardware, image="", index_answers=lambda: True).backend
    except LabError as error:
        yield gpu_finding("build", severity, error.problem, error.fix)
        return
    fix = f"set TORCH_BACKEND=auto in .env (it chooses {best}), then: invoke up"
    if problem := build_problem(present_build(facts), hardware):
        is_cpu = present_build(facts) == "cpu" and severity == "error"
        yield gpu_finding("build", "warning" if is_cpu else severity, problem, fix)
    if not CUDA_13.accepts_driver(host.driver):
        problem = f"the driver {host.driver} runs CUDA 12 but not CUDA 13: the lab uses {best}"
        yield gpu_finding(
            "build", "info", problem, "nothing to do; driver 580 or newer runs CUDA 13"
        )


def present_build(facts: Facts) -> str:
    """The build of PyTorch that .env names, else the one in the image; "" where neither does."""
    setting = facts.settings.torch_backend if facts.settings else "auto"
    image = (facts.lab.images or {}).get(JUPYTER)
    return setting if setting != "auto" else image.backend if image else ""


def build_problem(name: str, hardware: Hardware) -> str:
    """Why a build cannot use these cards; "" where it can, or there is none yet."""
    if name == "cpu":
        return "the image's PyTorch is the build for CPUs: the GPU is not used"
    needs = NEEDS.get(name)
    if needs is None:
        return ""
    build = f"PyTorch's build {name} ({needs.cuda})"
    if not needs.accepts_driver(hardware.driver):
        return f"{build} needs a newer driver than {hardware.driver}"
    unfit = [c.name for c in hardware.cards if not needs.accepts_card(c, arm=hardware.arm)]
    return f"{build} has no kernels for {', '.join(unfit)}" if unfit else ""
