"""Mode x what the engine offers x this machine's cards: every way to a GPU, and to none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from machines import (
    BARE,
    DESKTOP,
    DRIVEN,
    HOOKED,
    MIG,
    MISMATCH,
    PAIR,
    SLICED,
    SMI_FAILS,
    SMI_WARNS,
    TWO,
    WSL,
    WSL_HOST,
    make_engine,
)

from labcrate import labels
from labcrate.engine.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.gpu.cards import Host
from labcrate.gpu.devices import ALL, Overlay, device_names, parse_overlay, selected_cards
from labcrate.gpu.offer import (
    Choice,
    Missing,
    choose_gpu,
    device_overlay,
    offer,
    parse_choice,
)


@pytest.mark.parametrize(
    ("offers", "host", "overlay"),
    [
        # CDI comes first, whatever else there is.
        (make_engine("all", "0"), BARE, "gpu-cdi"),
        (make_engine("all", "0", runtime=True), HOOKED, "gpu-cdi"),
        (make_engine("all", ServerVersion="29.7.2"), DRIVEN, "gpu-cdi"),
        (make_engine("all", SecurityOptions=["name=rootless"]), DRIVEN, "gpu-cdi"),
        (make_engine("all", host="ssh://server"), BARE, "gpu-cdi"),
        (make_engine("all", **WSL), WSL_HOST, "gpu-cdi"),
        # Before 25.0 no engine had it.
        (make_engine("all", runtime=True, ServerVersion="24.0.9"), DRIVEN, "gpu-runtime"),
        # Devices of another vendor do not count.
        (
            make_engine(
                runtime=True,
                DiscoveredDevices=[{"Source": "cdi", "ID": "docker.com/gpu=webgpu"}],
            ),
            DRIVEN,
            "gpu-runtime",
        ),
        (make_engine(runtime=True), DRIVEN, "gpu-runtime"),
        (make_engine("all"), SMI_WARNS, "gpu-cdi"),
        (make_engine(runtime=True), HOOKED, "gpu-runtime"),
        (make_engine(runtime=True, SecurityOptions=["name=rootless"]), DRIVEN, "gpu-runtime"),
        (make_engine(runtime=True, host="tcp://10.0.0.5:2376"), BARE, "gpu-runtime"),
        (make_engine(runtime=True), Host(tegra=True), "gpu-runtime"),
        (make_engine(runtime=True, **WSL), WSL_HOST, "gpu-runtime"),
        (make_engine(), HOOKED, "gpu-nvidia"),
        (make_engine(ServerVersion="29.2.0"), HOOKED, "gpu-nvidia"),
        (make_engine(ServerVersion="23.0.6"), HOOKED, "gpu-nvidia"),
        # Docker Desktop lists the runtime on every Windows, and has a hook of its own.
        (make_engine(runtime=True, **{**DESKTOP, **WSL}), WSL_HOST, "gpu-nvidia"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_the_best_way_to_a_gpu_is_chosen(
    mode: str, offers: Engine, host: Host, overlay: str
) -> None:
    choice = choose_gpu(mode, ALL, offers, host)
    assert choice.overlay == overlay
    assert choice.devices == (("nvidia.com/gpu=all",) if overlay == "gpu-cdi" else ("all",))


@pytest.mark.parametrize(
    ("offers", "host", "why", "fix"),
    [
        (make_engine(), BARE, "no NVIDIA driver is loaded", "install NVIDIA's driver"),
        (make_engine(runtime=True), BARE, "although the engine has the runtime", "GPU=off"),
        (
            make_engine(),
            DRIVEN,
            "offers no GPU, although this machine has NVIDIA H100 80GB HBM3",
            "cdi generate",
        ),
        (
            make_engine(),
            replace(DRIVEN, tools=("nvidia-ctk",)),
            "offers no GPU",
            "sudo nvidia-ctk cdi",
        ),
        (make_engine(ServerVersion="27.5.1"), DRIVEN, "offers no GPU", "runtime configure"),
        (
            make_engine(SecurityOptions=["name=rootless"]),
            DRIVEN,
            "offers no GPU",
            "systemctl --user",
        ),
        (
            make_engine(),
            Host(loaded="580.95.05"),
            "although the driver 580.95.05 is loaded",
            "toolkit",
        ),
        # This machine's card says nothing about an engine elsewhere.
        (make_engine(host="ssh://server"), HOOKED, "ssh://server offers no GPU", "on that machine"),
        (replace(make_engine(), client_path="/snap/docker/1/bin/docker"), HOOKED, "a snap", "snap"),
        (make_engine(**DESKTOP), DRIVEN, "virtual machine", "context use default"),
        (
            make_engine(runtime=True, **{**DESKTOP, **WSL}),
            BARE,
            "Windows gives no",
            "wsl --shutdown",
        ),
        (make_engine("all"), MISMATCH, "550.54.14 runs, 580.95.05 is installed", "reboot"),
        (make_engine(runtime=True), MISMATCH, "upgraded", "reboot"),
        (make_engine("all"), SMI_FAILS, "nvidia-smi fails: No devices were found", "dmesg"),
    ],
)
def test_without_a_way_the_line_says_why_and_on_refuses(
    offers: Engine, host: Host, why: str, fix: str
) -> None:
    choice = choose_gpu("auto", ALL, offers, host)
    assert choice.overlay == ""
    assert choice.line.startswith("on the CPU: ")
    assert why in choice.line
    assert "\n" not in choice.line
    with pytest.raises(LabError, match="no GPU: ") as caught:
        choose_gpu("on", ALL, offers, host)
    assert caught.value.code is Code.GPU_NOT_OFFERED
    assert why in caught.value.problem
    assert fix in caught.value.fix


def test_off_is_off_whatever_is_there() -> None:
    assert choose_gpu("off", ALL, make_engine("all"), DRIVEN) == Choice(reason="GPU is off")


MANY = ("all", "0", "1", "GPU-0a", "GPU-1a")
SLICES = ("all", "0:0", "0:1", "MIG-ab", "MIG-cd", "1", "GPU-1a")


@pytest.mark.parametrize(
    ("offers", "host", "devices", "named"),
    [
        (make_engine(*MANY), PAIR, "1", ["nvidia.com/gpu=1"]),
        (make_engine(*MANY), PAIR, "0,1", ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (make_engine(*MANY), PAIR, "GPU-1a", ["nvidia.com/gpu=GPU-1a"]),
        # A specification that knows one kind of name: the card has the other, too.
        (make_engine("all", "0", "1"), PAIR, "GPU-1a", ["nvidia.com/gpu=1"]),
        (make_engine("all", "GPU-0a", "GPU-1a"), PAIR, "1", ["nvidia.com/gpu=GPU-1a"]),
        # One without `all`: every device once, not under both of its names.
        (make_engine("0", "1", "GPU-0a", "GPU-1a"), PAIR, "all",
         ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (make_engine("GPU-0a"), BARE, "all", ["nvidia.com/gpu=GPU-0a"]),
        (make_engine(*SLICES), SLICED, "0:1", ["nvidia.com/gpu=0:1"]),
        (make_engine(*SLICES), SLICED, "MIG-cd,1",
         ["nvidia.com/gpu=MIG-cd", "nvidia.com/gpu=1"]),
        (make_engine(runtime=True), PAIR, "1", ["1"]),
        (make_engine(runtime=True), SLICED, "MIG-cd", ["MIG-cd"]),
        (make_engine(runtime=True), SLICED, "0:1", ["0:1"]),
        (make_engine(runtime=True, host="ssh://server"), PAIR, "7", ["7"]),
        (make_engine(), replace(HOOKED, cards=TWO), "GPU-0a,1", ["GPU-0a", "1"]),
    ],
)  # fmt: skip
def test_devices_are_named_as_the_engine_names_them(
    offers: Engine, host: Host, devices: str, named: list[str]
) -> None:
    assert list(choose_gpu("on", device_names(devices), offers, host).devices) == named


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("offers", "host", "devices", "shown"),
    [
        (make_engine(*MANY), PAIR, "2", "0, 1, GPU-0a, GPU-1a, all"),
        (make_engine(*MANY), PAIR, "0,GPU-ff", "GPU-1a"),
        # A card that is split into instances is not offered as a whole.
        (make_engine(*SLICES), SLICED, "0", "0:0, 0:1"),
        (make_engine(*SLICES), SLICED, "MIG-ee", "MIG-ab"),
        (make_engine("all", "0", host="ssh://server"), PAIR, "1", "0, all"),
        (make_engine(runtime=True), PAIR, "2", "0, 1, GPU-0a, GPU-1a"),
        (make_engine("all", **WSL), WSL_HOST, "0", "GPU_DEVICES=all"),
        (make_engine(runtime=True, **WSL), WSL_HOST, "0", "GPU_DEVICES=all"),
    ],
)
def test_a_device_that_is_not_there_is_an_error(
    mode: str, offers: Engine, host: Host, devices: str, shown: str
) -> None:
    """Also with `auto`: the user named it."""
    with pytest.raises(LabError) as caught:
        choose_gpu(mode, device_names(devices), offers, host)
    assert caught.value.code is Code.GPU_NOT_OFFERED
    assert shown in caught.value.fix


def test_with_no_gpu_at_all_a_list_does_not_matter() -> None:
    assert choose_gpu("auto", ("3",), make_engine(), BARE).overlay == ""


@pytest.mark.parametrize(
    ("host", "devices", "said"),
    [
        (DRIVEN, "all", "NVIDIA H100 80GB HBM3, driver 580.95.05"),
        (PAIR, "all", "2 x NVIDIA GeForce RTX 4090, driver 580.95.05"),
        (PAIR, "1", "NVIDIA GeForce RTX 4090, driver 580.95.05"),
        (BARE, "all", "its driver is unknown"),
    ],
)
def test_the_line_says_what_and_why(host: Host, devices: str, said: str) -> None:
    line = choose_gpu("auto", device_names(devices), make_engine(*MANY), host).line
    assert line.startswith(f"nvidia.com/gpu={devices} through CDI: ")
    assert said in line


@pytest.mark.parametrize(
    ("devices", "picked"),
    [
        (("all",), [0, 1]),
        (("1",), [1]),
        (("GPU-0a",), [0]),
        (("0:1",), [0]),
        (("MIG-ab",), [0]),
        (("MIG-ab", "1"), [0, 1]),
    ],
)
def test_the_cards_behind_a_list_are_found(devices: tuple[str, ...], picked: list[int]) -> None:
    assert [card.index for card in selected_cards(MIG, devices)] == picked


@pytest.mark.parametrize(
    ("overlay", "devices", "driver"),
    [
        ("gpu-cdi", ("nvidia.com/gpu=0", "nvidia.com/gpu=1"), "cdi"),
        ("gpu-nvidia", ("GPU-0a",), "nvidia"),
    ],
)
def test_a_list_becomes_a_file(overlay: Overlay, devices: tuple[str, ...], driver: str) -> None:
    text = device_overlay(Choice(overlay=overlay, devices=devices, reason=""), ",".join(devices))
    jupyter = json.loads(text)["services"]["jupyter"]
    (request,) = jupyter["deploy"]["resources"]["reservations"]["devices"]
    assert request == {"driver": driver, "device_ids": list(devices), "capabilities": ["gpu"]}
    assert jupyter["labels"][labels.GPU] == f"{overlay} {','.join(devices)}"
    assert ("environment" in jupyter) is (driver == "nvidia")


@pytest.mark.parametrize(
    ("overlay", "devices"),
    [
        ("", ()),
        ("gpu-cdi", ("nvidia.com/gpu=all",)),
        ("gpu-nvidia", ("all",)),
        ("gpu-runtime", ("0", "1")),
    ],
)
def test_where_a_file_of_the_repository_is_enough_none_is_written(
    overlay: Overlay, devices: tuple[str, ...]
) -> None:
    choice = Choice(overlay=overlay, devices=devices, reason="")
    assert device_overlay(choice, ",".join(devices)) == ""


@pytest.mark.parametrize("setting", ["free", "0", "all"])
def test_the_runtime_gets_devices_that_env_does_not_name(setting: str) -> None:
    """With what the file of the repository says of those in .env."""
    choice = Choice(overlay="gpu-runtime", devices=("1", "2"), reason="")
    (jupyter,) = json.loads(device_overlay(choice, setting))["services"].values()
    assert jupyter == {
        "labels": {labels.GPU: "gpu-runtime 1,2"},
        "runtime": "nvidia",
        "environment": {
            "NVIDIA_VISIBLE_DEVICES": "1,2",
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        },
    }


def test_a_hook_on_this_machine_says_nothing_about_an_engine_elsewhere() -> None:
    assert isinstance(offer(make_engine(host="ssh://server"), HOOKED), Missing)


@pytest.mark.parametrize(
    "choice",
    [
        Choice(overlay="gpu-cdi", devices=("nvidia.com/gpu=0", "nvidia.com/gpu=1"), reason="x"),
        Choice(overlay="gpu-runtime", devices=("all",), reason="x"),
    ],
)
def test_a_choice_is_read_back_from_its_label(choice: Choice) -> None:
    assert parse_choice(choice.label) == replace(choice, reason="as it was started")


def test_a_container_without_the_label_has_no_gpu() -> None:
    assert parse_choice("") is None


def test_an_overlay_of_another_version_keeps_its_devices_and_has_no_file() -> None:
    assert parse_overlay("gpu-magic") == ""
    found = parse_choice("gpu-magic 0,1")
    assert found
    assert (found.overlay, found.devices) == ("", ("0", "1"))
