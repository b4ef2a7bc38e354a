"""Known failures by their own text: what each means, and the command that mends it.

One table for every place where such a text turns up: a failed build, a refused start, the services'
logs. The first entry that fits decides, so the special stand before the general (a full /dev/shm
also says "No space left on device").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from labcrate.errors import Code, LabError

Where = Literal["build", "start", "lab", "host"]
"""build: an image is built or pulled. start: engine, Compose and GPU hooks as a container starts.
lab: what runs inside says it. host: the client and the tools of this machine say it."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One failure. problem and fix may name groups of the pattern: `{port}`.

    source: the thread or page where users meet it; "reproduced" where this project made it happen.
    """

    name: str
    where: tuple[Where, ...]
    code: Code
    pattern: re.Pattern[str]
    problem: str
    fix: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """A failure that was recognised. line: the line of the text that tells it."""

    name: str
    code: Code
    problem: str
    fix: str
    line: str


def cuda_version(number: str) -> str:
    """`12.8` of the driver's own number, 12080: 1000 times the major plus 10 times the minor."""
    value = int(number)
    return f"{value // 1000}.{value % 1000 // 10}"


def first(text: str, where: Where | None = None) -> Known | None:
    """The entry that says what a failure's text means, or None.

    where: the place the text comes from; entries that don't occur there don't count.
    """
    for signature in TABLE:
        if where is None or where in signature.where:
            found = signature.pattern.search(text)
            if found:
                return _known(signature, found)
    return None


def every(text: str, where: Where | None = None) -> list[Known]:
    """All failures that a log tells, each once, in the table's order of each line."""
    found = {}
    for line in text.splitlines():
        known = first(line, where)
        if known and known.name not in found:
            found[known.name] = known
    return list(found.values())


def _known(signature: Signature, found: re.Match[str]) -> Known:
    values = found.groupdict(default="")
    if number := values.get("number"):
        values["cuda"] = cuda_version(number)
    start = found.string.rfind("\n", 0, found.start()) + 1
    line = found.string[start:].partition("\n")[0]
    return Known(
        name=signature.name,
        code=signature.code,
        problem=signature.problem.format(**values),
        fix=signature.fix.format(**values),
        line=line.strip(),
    )


def failure(text: str, where: Where, *, otherwise: LabError) -> LabError:
    """The error for a text: the table's problem and fix with the text under it, or `otherwise`."""
    known = first(text, where)
    if known is None:
        return otherwise
    return LabError(f"{known.problem}:\n{text}", fix=known.fix, code=known.code)


def _entry(
    name: str, where: str, code: Code, pattern: str, problem: str, fix: str, source: str
) -> Signature:
    places: dict[str, Where] = {w: w for w in ("build", "start", "lab", "host")}
    return Signature(
        name=name,
        where=tuple(places[word] for word in where.split()),
        code=code,
        pattern=re.compile(pattern, re.IGNORECASE),
        problem=problem,
        fix=fix,
        source=source,
    )


TOOLKIT = (
    "install the NVIDIA Container Toolkit (package nvidia-container-toolkit), then: "
    "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker; "
    "without a GPU: set GPU=off in .env"
)
REFRESH_CDI = (
    "sudo systemctl restart nvidia-cdi-refresh.service (toolkit 1.18 or newer), or: "
    "sudo nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml"
)
UPDATE_DRIVER = "update the NVIDIA driver on the host to 580 or newer (525.60.13 for CUDA 12)"
MORE_SHM = "set SHM_SIZE in .env to more (e.g. SHM_SIZE=16g), then: invoke down up"

TABLE: tuple[Signature, ...] = (
    # The engine hands out no GPU.
    _entry(
        "gpu-driver-unregistered",
        "start",
        Code.GPU_NOT_OFFERED,
        r'could not select device driver "(nvidia)?" with capabilities',
        "the engine knows no NVIDIA GPUs: the NVIDIA Container Toolkit is missing, or the engine "
        "was not restarted after it was installed",
        TOOLKIT,
        "reproduced; NVIDIA/nvidia-docker#1034, NVIDIA/nvidia-container-toolkit#854",
    ),
    _entry(
        "gpu-cdi-off",
        "start",
        Code.GPU_NOT_OFFERED,
        r'could not select device driver "cdi"',
        "the engine was asked for a CDI device, and CDI is off (or the engine is older than 28.2)",
        "update Docker Engine to 28.2 or newer, or set "
        '{{"features": {{"cdi": true}}}} in /etc/docker/daemon.json and restart it',
        "NVIDIA/nvidia-container-toolkit#434",
    ),
    _entry(
        "gpu-vendor-unknown",
        "start",
        Code.GPU_NOT_OFFERED,
        r"failed to discover GPU vendor|no known GPU vendor found",
        "the engine finds no GPU of any vendor on its machine",
        TOOLKIT,
        "ShaneIsrael/fireshare#689",
    ),
    _entry(
        "gpu-amd-asked",
        "start",
        Code.GPU_NOT_OFFERED,
        r"AMD CDI spec not found",
        "the engine took the machine for one with an AMD GPU: there is an NVIDIA CDI spec, and no "
        "NVIDIA hook on the engine's PATH",
        TOOLKIT,
        "moby/moby: daemon/devices_amd_linux.go",
    ),
    _entry(
        "gpu-runtime-unknown",
        "start",
        Code.GPU_NOT_OFFERED,
        r"unknown (or invalid )?runtime (name|specified):? ?\"?nvidia",
        "the engine has no runtime called nvidia",
        TOOLKIT,
        "reproduced",
    ),
    _entry(
        "cdi-count",
        "start",
        Code.GPU_NOT_OFFERED,
        r"unexpected count in CDI device request",
        "a compose file asks the driver cdi for a number of GPUs; it takes names alone",
        "in that file write device_ids: [nvidia.com/gpu=all] in place of count",
        "reproduced",
    ),
    _entry(
        "cdi-unresolvable",
        "start",
        Code.GPU_NOT_OFFERED,
        r"unresolvable CDI devices? (?P<device>\S+)",
        "no CDI spec on the engine's machine has the device {device}",
        f"{REFRESH_CDI}; then choose one of `nvidia-ctk cdi list` in GPU_DEVICES",
        "reproduced; NVIDIA/nvidia-container-toolkit: docs",
    ),
    _entry(
        "cdi-empty",
        "start",
        Code.GPU_NOT_OFFERED,
        r"invalid device, empty device edits",
        "the CDI spec was made while no card was there: it holds libraries and no device",
        f"check that /dev/nvidia0 is there (nvidia-smi -L), then: {REFRESH_CDI}",
        "kaito-project/kaito#2326",
    ),
    _entry(
        "cdi-stale",
        "start",
        Code.GPU_NOT_OFFERED,
        r"failed to stat CDI host device|error stat'?ing file .*\.so\.\d|"
        r"failed to fulfil mount request: open \S*(nvidia|cuda)\S*: no such file",
        "the CDI spec names files that are gone: it is older than the driver",
        f"{REFRESH_CDI}; remove an older /etc/cdi/nvidia.yaml",
        "Igalia/webkit-container-sdk#23, NVIDIA/nvidia-container-toolkit#885",
    ),
    _entry(
        "gpu-hook-direct",
        "start",
        Code.GPU_NOT_OFFERED,
        r"invoking the NVIDIA Container Runtime Hook directly",
        "the toolkit is set to the mode cdi, and the container was started with its hook",
        "sudo nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto",
        "NVIDIA/nvidia-container-toolkit#1246",
    ),
    _entry(
        "gpu-cuda-required",
        "start",
        Code.GPU_NOT_OFFERED,
        r"unsatisfied condition: (?P<what>\w+) ?>= ?(?P<wanted>[\d.]+)",
        "the base image demands {what} {wanted} or newer, and this driver is older",
        "update the NVIDIA driver, or set BASE_IMAGE in .env to debian:trixie-slim (PyTorch brings "
        "its own CUDA)",
        "SyneRBI/PETRIC2#27, theroyallab/tabbyAPI#324",
    ),
    _entry(
        "gpu-unknown-device",
        "start",
        Code.GPU_NOT_OFFERED,
        r"nvidia-container-cli: device error: (?P<device>\S+): unknown device",
        "there is no GPU {device} on the engine's machine",
        "set GPU_DEVICES in .env to all, or to one that `nvidia-smi -L` lists",
        "NVIDIA/k8s-device-plugin#446",
    ),
    # The driver and its libraries.
    _entry(
        "nvml-mismatch",
        "start lab host",
        Code.GPU_PROOF,
        r"driver/library version mismatch",
        "the NVIDIA driver was updated, and the kernel still runs the old module",
        "sudo reboot (or unload and load the nvidia modules), then: invoke down up",
        "NVIDIA/nvidia-container-toolkit#394, NVIDIA/nvidia-docker#1451",
    ),
    _entry(
        "nvml-lost",
        "start lab host",
        Code.GPU_PROOF,
        r"Failed to initialize NVML: Unknown Error",
        "the running container lost its GPU: systemd reloaded its units, which takes away devices "
        "that the toolkit's hook had given",
        "invoke down up; for good: give the engine a CDI spec (sudo nvidia-ctk cdi generate "
        "--output=/var/run/cdi/nvidia.yaml) or the cgroup driver cgroupfs",
        "NVIDIA/nvidia-container-toolkit#48, #1227",
    ),
    _entry(
        "nvml-permissions",
        "start lab host",
        Code.GPU_PROOF,
        r"Failed to initialize NVML: Insufficient Permissions",
        "SELinux keeps the container from the GPU's device files",
        "sudo setsebool -P container_use_devices on",
        "NVIDIA/nvidia-container-toolkit: docs, troubleshooting",
    ),
    _entry(
        "driver-not-loaded",
        "start lab host",
        Code.GPU_PROOF,
        r"couldn't communicate with the NVIDIA driver|nvml error: driver not loaded|"
        r"initialization error: driver error: failed to process request",
        "the NVIDIA driver is installed and its kernel module is not loaded",
        "sudo modprobe nvidia (if that fails: the module was not built for this kernel; reinstall "
        "the driver with the headers of `uname -r`)",
        "NVIDIA/nvidia-docker#1470",
    ),
    _entry(
        "gpu-none-found",
        "start lab host",
        Code.GPU_PROOF,
        r"No devices were found",
        "the NVIDIA driver runs and finds no card that works",
        "sudo dmesg | grep -i nvrm (says why: power, seating, a pass-through, a driver without it)",
        "NVIDIA/nvidia-docker#1470",
    ),
    _entry(
        "gpu-desktop",
        "start lab host",
        Code.GPU_NOT_OFFERED,
        r"load library failed: libnvidia-ml\.so\.1",
        "the engine cannot see the driver's libraries: Docker Desktop on Linux and the snap run "
        "apart from the host, or no driver is installed",
        "docker context use default (with Docker Engine from packages, not Desktop or the snap), "
        "and see that nvidia-smi works on the host",
        "docker/roadmap#497, NVIDIA/nvidia-container-toolkit#814, NVIDIA/nvidia-docker#1717",
    ),
    _entry(
        "wsl-no-adapter",
        "start lab host",
        Code.GPU_NOT_OFFERED,
        r"WSL environment detected but no adapters were found",
        "WSL shows no NVIDIA GPU: WSL 1, an old Windows driver, or no card",
        "in Windows: update the NVIDIA driver, then `wsl --update` and `wsl --shutdown`",
        "NVIDIA/nvidia-container-toolkit#155, AbdBarho/stable-diffusion-webui-docker#117",
    ),
    _entry(
        "wsl-linux-driver",
        "start",
        Code.GPU_NOT_OFFERED,
        r"libnvidia-ml\.so\.1: file exists",
        "driver libraries are inside the image or the WSL distribution, where Windows puts its own",
        "remove the Linux driver from the distribution (sudo apt-get purge 'libnvidia-*' "
        "'nvidia-driver-*'); with another BASE_IMAGE: one without driver libraries",
        "NVIDIA/nvidia-container-toolkit#289",
    ),
    _entry(
        "rootless-cgroups",
        "start",
        Code.GPU_NOT_OFFERED,
        r"bpf_prog_query\(BPF_CGROUP_DEVICE\) failed|"
        r"unable to find any existing device filters attached to the cgroup",
        "the engine is rootless, and the toolkit's hook tries to change cgroups as root",
        "sudo nvidia-ctk config --in-place --set nvidia-container-cli.no-cgroups (rootless "
        "engines only), or use a CDI spec",
        "NVIDIA/nvidia-container-toolkit#139, #434",
    ),
    _entry(
        "podman-device-path",
        "start",
        Code.GPU_NOT_OFFERED,
        r"stat nvidia\.com/gpu=\S+: no such file or directory",
        "this `docker` is Podman with an old Compose, which takes a CDI name for a path",
        "use Docker Engine, or update Podman to 5.1 and Compose to 2.30 or newer",
        "containers/podman#28309, #28436",
    ),
    _entry(
        "mig-none",
        "lab host",
        Code.GPU_PROOF,
        r"No MIG[- ]devices found",
        "the card is in MIG mode and cut into no instance, so nothing can compute on it",
        "sudo nvidia-smi mig -cgi 0 -C (one instance of the whole card), or switch the mode off: "
        "sudo nvidia-smi -mig 0",
        "NVIDIA: MIG user guide",
    ),
    _entry(
        "mig-number",
        "lab",
        Code.GPU_PROOF,
        r"invalid literal for int\(\) with base 10: 'MIG-",
        "a program takes the name of a MIG instance for a number; one process can use one instance",
        "set GPU_DEVICES in .env to one MIG instance, and take CUDA_VISIBLE_DEVICES out of lab.env",
        "vllm-project/vllm#6582",
    ),
    # PyTorch on a GPU.
    _entry(
        "driver-too-old",
        "lab",
        Code.GPU_PROOF,
        r"driver on your system is too old \(found version (?P<number>\d+)\)",
        "the NVIDIA driver is too old for this PyTorch: it knows CUDA up to {cuda}",
        f"{UPDATE_DRIVER}, or set TORCH_BACKEND=cu126 in .env and run: invoke up",
        "huggingface/lerobot#3435, NVIDIA-BioNeMo/nvMolKit#209",
    ),
    _entry(
        "driver-insufficient",
        "lab",
        Code.GPU_PROOF,
        r"CUDA driver version is insufficient for CUDA runtime version",
        "the NVIDIA driver is too old for the CUDA in the image",
        f"{UPDATE_DRIVER}, or set TORCH_BACKEND=cu126 in .env and run: invoke up",
        "pytorch/pytorch#162531",
    ),
    _entry(
        "driver-missing",
        "lab",
        Code.GPU_PROOF,
        r"Found no NVIDIA driver on your system",
        "PyTorch finds no NVIDIA driver in the container: it was started without a GPU",
        "invoke up --gpu on (says what keeps the GPU out); on a machine without one use the CPU",
        "reproduced; pytorch/pytorch: c10/cuda/CUDAFunctions.cpp",
    ),
    _entry(
        "torch-cpu-build",
        "lab",
        Code.GPU_PROOF,
        r"Torch not compiled with CUDA enabled",
        "this PyTorch is the CPU build",
        "set TORCH_BACKEND=auto in .env (or the build you want), then: invoke up",
        "flashinfer-ai/flashinfer#4284, talmolab/sleap-nn#662",
    ),
    _entry(
        "card-not-in-build",
        "lab",
        Code.GPU_PROOF,
        r"CUDA capability sm_(?P<sm>\d+) is not compatible with the current PyTorch|"
        r"is of compute capability \(CC\) (?P<cc>\d+\.\d+)|does not include kernels for this GPU|"
        r"no kernel image is available for execution",
        "this build of PyTorch has no kernels for the card (too old or too new for it)",
        "set TORCH_BACKEND in .env: cu126 for cards before Turing (sm_50 to sm_70), cu130 for "
        "Blackwell (sm_100 and up); then: invoke up",
        "pytorch/pytorch#150733, #167244, NVIDIA/personaplex#23",
    ),
    _entry(
        "cuda-804",
        "lab",
        Code.GPU_PROOF,
        r"forward compatibility was attempted on non supported HW",
        "CUDA's compat libraries are on the library path, and this card cannot use them (804)",
        "take /usr/local/cuda/compat out of LD_LIBRARY_PATH (lab.env, BASE_IMAGE), or update the "
        "driver",
        "mistralai/mistral-inference#144, NVIDIA/nvidia-docker#1515",
    ),
    _entry(
        "cuda-803",
        "lab",
        Code.GPU_PROOF,
        r"unsupported display driver / cuda driver combination",
        "the driver library in the container is not the host driver's (803)",
        "set BASE_IMAGE in .env to an image without driver libraries; after a driver update: "
        "invoke down up",
        "NVIDIA/nvidia-docker#1256, llm-d/llm-d#706",
    ),
    _entry(
        "cuda-802",
        "lab",
        Code.GPU_PROOF,
        r"Error 802: |system not yet initialized",
        "the machine's NVSwitch is not managed: the fabric manager does not run (802)",
        "sudo systemctl enable --now nvidia-fabricmanager (of the driver's own version)",
        "pytorch/pytorch#35710, hiyouga/LlamaFactory#8968",
    ),
    _entry(
        "cuda-999",
        "lab",
        Code.GPU_PROOF,
        r"CUDA unknown error - this may be due to|CUDA_ERROR_UNKNOWN|Error 999: ",
        "the driver's memory module does not answer (999), often after suspend",
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm, then: invoke down up",
        "pytorch/pytorch#49081, ollama/ollama#11593",
    ),
    # Memory, files and processes in the container.
    _entry(
        "nccl-shm",
        "lab",
        Code.UNHEALTHY,
        r"\bshm/nccl-|posix_fallocate failed ?: No space left",
        "NCCL found too little shared memory in /dev/shm",
        MORE_SHM,
        "NVIDIA/nccl#342, #290",
    ),
    _entry(
        "shm",
        "lab",
        Code.UNHEALTHY,
        r"\bBus error\b|exited \(135\)|out of shared memory|"
        r"unable to allocate shared memory|unable to write to file </torch_",
        "a DataLoader's workers found too little shared memory in /dev/shm",
        MORE_SHM,
        "reproduced; pytorch/pytorch#5040, #108861",
    ),
    _entry(
        "oom",
        "build start lab",
        Code.UNHEALTHY,
        r"exited \(137\)|exit code:? 137\b|killed by signal: Killed|OOMKilled|"
        r"out of memory: killed process",
        "a process was killed (status 137): mostly because memory ran out",
        "shut down kernels that idle, and raise MEMORY_LIMIT in .env or free memory on the host",
        "reproduced",
    ),
    _entry(
        "kernel-died",
        "lab",
        Code.UNHEALTHY,
        r"KernelRestarter: restarting kernel",
        "a kernel died and was started anew: mostly because memory ran out",
        "use smaller batches, shut down other kernels, or raise MEMORY_LIMIT in .env",
        "jupyter/jupyter_client: restarter.py",
    ),
    _entry(
        "nofile",
        "build start lab",
        Code.UNHEALTHY,
        r"Too many open files",
        "a process had as many files open as it may",
        "raise the engine's limit (default-ulimits nofile in /etc/docker/daemon.json), or call "
        "torch.multiprocessing.set_sharing_strategy('file_system')",
        "reproduced; moby/moby#51485",
    ),
    _entry(
        "ulimit-refused",
        "start",
        Code.UNHEALTHY,
        r"error setting rlimit",
        "a limit asked for the container is higher than the engine's own",
        "lower the ulimits in your compose file, or raise LimitNOFILE of the engine's service",
        "reproduced",
    ),
    _entry(
        "no-compiler",
        "lab",
        Code.PACKAGE_BROKEN,
        r"Failed to find C compiler|No working C\+\+ compiler found",
        "torch.compile needs a C compiler, and the image has none",
        "invoke build (the lab's own image has gcc and g++; another one needs those packages)",
        "reproduced; pytorch/pytorch#116696, sgl-project/sglang#1067",
    ),
    _entry(
        "no-nvcc",
        "build lab",
        Code.PACKAGE_REFUSED,
        r"CUDA_HOME environment variable is not set|nvcc was not found|"
        r"No such file or directory: '[^']*/nvcc'",
        "the package compiles CUDA code, and there is no CUDA compiler here",
        "add a release of it that has a ready wheel, or set BASE_IMAGE in .env to an nvidia/cuda "
        "image with `devel` in its tag",
        "reproduced; Dao-AILab/flash-attention#1229, #246",
    ),
    _entry(
        "build-isolation",
        "build",
        Code.PACKAGE_REFUSED,
        r"ModuleNotFoundError: No module named 'torch'",
        "the package is built from source, and its build cannot see PyTorch",
        "add a release of it that has a ready wheel for this Python",
        "Dao-AILab/flash-attention#246",
    ),
    _entry(
        "no-libgl",
        "build lab",
        Code.PACKAGE_BROKEN,
        r"libGL\.so\.1: cannot open shared object file",
        "OpenCV's build for desktops needs libGL, which the image has not",
        "invoke remove-package opencv-python, then invoke add-package opencv-python-headless; or: "
        "invoke add-package --system libgl1",
        "reproduced; opencv/opencv-python#370",
    ),
    _entry(
        "debian-unknown",
        "build",
        Code.PACKAGE_UNKNOWN,
        r"Unable to locate package (?P<name>\S+)|"
        r"Package '?(?P<other>[\w.+-]+)'? has no installation candidate",
        "Debian has no system package {name}{other}",
        "look the name up on a Debian machine: apt-cache search WORD (what is asked for stands in "
        "docker/apt.txt)",
        "reproduced",
    ),
    _entry(
        "no-libcuda",
        "lab",
        Code.GPU_PROOF,
        r"libcuda\.so\.1: cannot open shared object file",
        "the driver's library is not in the container: it was started without a GPU, or "
        "NVIDIA_DRIVER_CAPABILITIES lacks `compute`",
        "invoke up --gpu on (says what keeps the GPU out)",
        "reproduced",
    ),
    _entry(
        "no-library",
        "build lab",
        Code.PACKAGE_BROKEN,
        r"(?P<library>lib[\w+.-]+\.so[.\d]*): cannot open shared object file",
        "a package needs the system library {library}, which the image has not",
        "find its Debian package (apt-file search {library}), then: "
        "invoke add-package --system THAT",
        "opencv/opencv-python#370",
    ),
    _entry(
        "torchvision-other-build",
        "build lab",
        Code.PACKAGE_BROKEN,
        r"operator torchvision::nms does not exist",
        "torchvision is of another build than torch: one was replaced by a later install",
        "invoke remove-package the one that brought it (invoke packages shows them), then: "
        "invoke up",
        "pytorch/pytorch#21980",
    ),
    _entry(
        "no-solution",
        "build",
        Code.PACKAGE_CONFLICT,
        r"No solution found when resolving|ResolutionImpossible",
        "the packages asked for contradict each other, or what the image holds",
        "ask for another version of what is named above: invoke add-package 'NAME<VERSION'",
        "sgl-project/sglang#35696",
    ),
    _entry(
        "no-user-name",
        "start lab",
        Code.UNHEALTHY,
        r"getpwuid\(\): uid not found|No username set in the environment|I have no name!",
        "the container's user has no name in the image: it was built for another uid",
        "set LAB_UID and LAB_GID in .env to `id -u` and `id -g`, then: invoke up",
        "reproduced; pytorch/pytorch#140765, jupyter/docker-stacks#465",
    ),
    # Jupyter and TensorBoard.
    _entry(
        "jupyter-no-token",
        "start lab",
        Code.SETTINGS,
        r"JUPYTER_TOKEN is empty: run",
        "JupyterLab got no token, and does not start without one",
        "invoke setup (writes one into .env), then: invoke up",
        "reproduced",
    ),
    _entry(
        "jupyter-other-port",
        "lab",
        Code.UNHEALTHY,
        r"The port \d+ is already in use, trying another port",
        "a second Jupyter runs in the container; its port is not published",
        "use the kernels of the lab's own JupyterLab (invoke url), and end the second one",
        "jupyter_server: serverapp.py",
    ),
    _entry(
        "jupyter-root",
        "lab",
        Code.UNHEALTHY,
        r"Running as root is not recommended",
        "Jupyter refuses to run as root",
        "set LAB_UID and LAB_GID in .env to an ordinary user's, then: invoke up",
        "anaconda/docker-images#94",
    ),
    _entry(
        "jupyter-address",
        "lab",
        Code.UNHEALTHY,
        r"\[Errno 99\] Cannot assign requested address",
        "a server binds to an address that the container has not",
        "bind to 0.0.0.0 inside the container; BIND_ADDRESS in .env decides on the host",
        "anaconda/docker-images#85",
    ),
    _entry(
        "jupyter-open",
        "lab",
        Code.SETTINGS,
        r"All authentication is disabled",
        "Jupyter runs without a token: anyone who reaches the port may run code",
        "take the setting that empties the token out of docker/jupyter_server_config.py or lab.env",
        "jupyter_server: auth/identity.py",
    ),
    _entry(
        "tensorboard-port",
        "lab",
        Code.UNHEALTHY,
        r"TensorBoard could not bind to port (?P<port>\d+)",
        "a second TensorBoard in the container found port {port} taken",
        "use the lab's own TensorBoard (invoke url), or give the second one another --port",
        "reproduced",
    ),
    _entry(
        "tensorboard-host",
        "start lab",
        Code.UNHEALTHY,
        r"Must not specify both --host and --bind_all",
        "TensorBoard was given two ways to bind",
        "restore the command of the service tensorboard: git checkout compose/compose.yaml",
        "reproduced",
    ),
    _entry(
        "tensorboard-writers",
        "lab",
        Code.UNHEALTHY,
        r"directory_watcher\.py.* updated even though the current file is",
        "two writers append to one run, and TensorBoard reads only the newest file",
        "give each writer a folder of its own below runs/",
        "GPflow/GPflow#1385, openvpi/DiffSinger#157",
    ),
    # Reaching the engine.
    _entry(
        "engine-denied",
        "build start host",
        Code.ENGINE_DENIED,
        r"permission denied while trying to connect to the docker (daemon socket|api)",
        "the engine runs, but this user may not use its socket",
        "sudo usermod -aG docker $USER, then log out and in (or run: newgrp docker)",
        "reproduced",
    ),
    _entry(
        "context-missing",
        "build start host",
        Code.ENGINE_DOWN,
        r'context "?(?P<context>[^":\s]+)"?: context not found',
        "there is no docker context {context}",
        "docker context use default (and unset DOCKER_CONTEXT)",
        "reproduced",
    ),
    _entry(
        "api-too-old",
        "build start host",
        Code.COMPOSE,
        r"client version (?P<client>1\.\d+) is too old. Minimum supported API version is "
        r"(?P<wanted>1\.\d+)",
        "the docker client or its Compose speaks API {client}; the engine wants {wanted} or newer",
        "update the packages docker-cli and docker-compose (unset DOCKER_API_VERSION)",
        "reproduced; docker/compose#13389, bitwarden/server#6732",
    ),
    _entry(
        "api-too-new",
        "build start host",
        Code.COMPOSE,
        r"client version (?P<client>1\.\d+) is too new. Maximum supported API version is "
        r"(?P<wanted>1\.\d+)",
        "the docker client speaks API {client}; the engine knows no more than {wanted}",
        "update Docker Engine (or unset DOCKER_API_VERSION)",
        "reproduced",
    ),
    _entry(
        "compose-missing",
        "build start host",
        Code.COMPOSE,
        r"'?compose'? is not a docker command|unknown command: docker compose|"
        r"unknown shorthand flag: '[fdp]' in -[fdp]",
        "Docker Compose is missing",
        "invoke setup (or install the package docker-compose-v2 / docker-compose-plugin)",
        "reproduced",
    ),
    _entry(
        "buildx-missing",
        "build host",
        Code.COMPOSE,
        r"buildx component is missing or broken|compose build requires buildx|"
        r"Docker Compose requires buildx|'?buildx'? is not a docker command|"
        r"unknown command: docker buildx|Install the buildx component",
        "Docker Buildx is missing or too old for this Compose",
        "invoke setup (or install the package docker-buildx / docker-buildx-plugin)",
        "reproduced; docker/compose#13295, docker/for-win#15045",
    ),
    _entry(
        "compose-v1",
        "build start host",
        Code.COMPOSE,
        r"Additional properties are not allowed \(|Unsupported config option",
        "this is Compose 1, which does not know the lab's files",
        "use `docker compose` 2.24 or newer (two words); invoke setup installs it",
        "docker/compose#8142, iot-salzburg/gpu-jupyter#46",
    ),
    _entry(
        "compose-key",
        "build start host",
        Code.SETTINGS,
        r"additional propert(y|ies) '(?P<key>[\w-]+)' not allowed",
        "a compose file has the key {key}, which this Compose does not know",
        "mend that line (git diff compose/), or update Compose: gpus: needs 2.30 or newer",
        "reproduced",
    ),
    _entry(
        "compose-capabilities",
        "build start host",
        Code.SETTINGS,
        r"missing property 'capabilities'",
        "a compose file reserves a device without saying what for",
        "write capabilities: [gpu] in that reservation",
        "reproduced",
    ),
    _entry(
        "compose-count-and-ids",
        "build start host",
        Code.SETTINGS,
        r'"count" and "device_ids" attributes are exclusive',
        "a compose file asks for a number of GPUs and for named ones at once",
        "keep one of count and device_ids in that reservation",
        "reproduced",
    ),
    _entry(
        "compose-no-file",
        "build start host",
        Code.COMPOSE,
        r"no configuration file provided: not found",
        "Compose was started outside the clone",
        "run it in the clone's folder, where .env names the files (COMPOSE_FILE)",
        "reproduced",
    ),
    _entry(
        "compose-yaml",
        "build start host",
        Code.SETTINGS,
        r"\byaml: line (?P<row>\d+)",
        "a compose file is not valid YAML near line {row}",
        "mend that line (git diff compose/ shows what was changed)",
        "reproduced",
    ),
    # Starting containers.
    _entry(
        "port-of-a-container",
        "start",
        Code.PORT_TAKEN,
        r"Bind for (?P<address>\S*):(?P<port>\d+) failed: port is already allocated",
        "port {port} is taken by another container",
        "set the port in .env to another number, or stop it (docker ps --filter publish={port})",
        "reproduced",
    ),
    _entry(
        "port-of-a-process",
        "start",
        Code.PORT_TAKEN,
        r"failed to bind host port (for )?(?P<address>\[[^]]*\]|[\d.]*):(?P<port>\d+)[:/]"
        r".*address already in use",
        "port {port} is taken by a process of this machine",
        "set the port in .env to another number, or stop it (ss -ltnp 'sport = :{port}')",
        "reproduced; moby/moby",
    ),
    _entry(
        "name-conflict",
        "start",
        Code.UNHEALTHY,
        r'Conflict\. The container name "/?(?P<container>[^"]+)" is already in use',
        "another container is called {container}",
        "docker rm {container} (if you don't need it), then: invoke up",
        "reproduced",
    ),
    _entry(
        "folder-missing",
        "start",
        Code.FOLDER,
        r"bind source path does not exist: (?P<path>.+)",
        "a folder that the lab mounts is not there: {path}",
        "invoke setup (makes the lab's folders)",
        "reproduced",
    ),
    # Images, disk and network.
    _entry(
        "disk-full",
        "build start lab host",
        Code.DISK_FULL,
        r"no space left on device|Errno 28|os error 28|don't have enough free space",
        "the disk is full: the engine's, which holds the images, or that of your folders",
        "free some (docker system df; invoke clean --cache), then run the same command again",
        "reproduced; meta-pytorch/torchx#1343",
    ),
    _entry(
        "engine-lost",
        "build start host",
        Code.ENGINE_DOWN,
        r"error reading from server|cannot connect to the docker daemon|"
        r"failed to connect to the docker api|connection reset by peer.*docker|"
        r"transport is closing|closing transport|dial unix .*docker",
        "the engine does not answer, or stopped answering",
        "invoke setup (starts it), then run the same command again",
        "reproduced",
    ),
    _entry(
        "rate-limit",
        "build start host",
        Code.BASE_IMAGE,
        r"toomanyrequests|reached your (unauthenticated )?pull rate limit",
        "the image registry has given this address all it gives for now",
        "docker login (raises the limit), or wait some hours; an image that is here needs no pull",
        "NVIDIA/NVSentinel#791",
    ),
    _entry(
        "platform",
        "build start host",
        Code.BASE_IMAGE,
        r"no matching manifest for (?P<platform>\S+)",
        "the base image does not exist for {platform}",
        "set BASE_IMAGE in .env to an image that has this platform, e.g. debian:trixie-slim",
        "NVIDIA-NeMo/labs-molt#122",
    ),
    _entry(
        "exec-format",
        "build start lab",
        Code.BASE_IMAGE,
        r"exec format error",
        "a program in the image is for another kind of processor",
        "docker image rm the base image, check BASE_IMAGE in .env, then: invoke build",
        "reproduced",
    ),
    _entry(
        "image-gone",
        "build start host",
        Code.BASE_IMAGE,
        r"manifest unknown|manifest for \S+ not found|pull access denied|"
        r"failed to resolve source metadata for \S+: \S+: not found",
        "the registry does not have the base image, or not any more",
        "set BASE_IMAGE in .env to an image that it has, e.g. debian:trixie-slim",
        "NVIDIA/nvidia-docker#1735, prefix-dev/pixi-docker#80",
    ),
    _entry(
        "clock",
        "build host lab",
        Code.NETWORK,
        r"is not valid yet \(invalid for another|certificate has expired or is not yet valid|"
        r"certificate is not yet valid",
        "the clock of this machine is wrong: it lies before what was signed lately",
        "set it (sudo timedatectl set-ntp true, or sudo hwclock -s; in WSL: wsl --shutdown)",
        "microsoft/WSL#4114, docker/for-win#15035",
    ),
    _entry(
        "certificate",
        "build host lab",
        Code.NETWORK,
        r"CERTIFICATE_VERIFY_FAILED|self[- ]signed certificate|unable to get local issuer|"
        r"certificate signed by unknown authority|UnknownIssuer|failed to verify certificate",
        "a server's certificate is signed by an authority that is not trusted here, as behind a "
        "company's proxy",
        "set SSL_CERT_FILE to the bundle that has it (e.g. /etc/ssl/certs/ca-certificates.crt), "
        "then: invoke setup up",
        "reproduced; y-scope/clp#1991, MISP/misp-docker#157",
    ),
    _entry(
        "proxy",
        "build host lab",
        Code.NETWORK,
        r"proxyconnect tcp|407 Proxy Authentication|Tunnel connection failed|"
        r"Cannot connect to proxy|ProxyError",
        "the proxy that is set refuses, or does not answer",
        "check HTTP_PROXY and HTTPS_PROXY on this host (with user and password where it asks)",
        "docker/getting-started#158",
    ),
    _entry(
        "apt-signed-by",
        "build host",
        Code.INSTALL,
        r"Conflicting values set for option Signed-By regarding source (?P<address>\S+)",
        "two files of /etc/apt/sources.list.d name {address} with different keys",
        "grep -l nvidia.github.io /etc/apt/sources.list.d/*, and remove one of them",
        "NVIDIA/nvidia-container-toolkit: docs, troubleshooting",
    ),
    _entry(
        "build-secret",
        "build",
        Code.SETTINGS,
        r"failed to solve: secret \S+: not found|secret file .*: no such file",
        "a file with this host's package settings is missing below .labcrate",
        "invoke setup (writes it)",
        "reproduced",
    ),
    _entry(
        "build-stage",
        "build",
        Code.BUILD,
        r'target stage "(?P<stage>[^"]+)" could not be found',
        "docker/Dockerfile has no stage {stage}",
        "git checkout docker/Dockerfile",
        "reproduced",
    ),
    _entry(
        "registry-unreachable",
        "build start host",
        Code.BASE_IMAGE,
        r"failed to resolve source metadata for (?P<image>\S+): |"
        r'(Get|Head) "https?://[^/"]+/v2/',
        "the image registry cannot be reached, and the base image is not here",
        "invoke setup (builds a base image from this distribution's packages)",
        "reproduced",
    ),
    _entry(
        "network",
        "build host",
        Code.NETWORK,
        r"failed to fetch|error sending request|tcp connect error|operation timed out|"
        r"temporary failure (in name resolution|resolving)|network is unreachable|"
        r"connection (refused|broken)|unexpected eof|end of file before message|"
        r"error decoding response body|request failed after",
        "the package index cannot be reached, or broke off",
        "check the network and pip's index settings on this host, then run the same command again",
        "reproduced",
    ),
    # Last, because so many texts hold these words.
    _entry(
        "home-permission",
        "start lab",
        Code.FOLDER,
        r"Permission denied:? '?/(home/lab|\.local|\.cache|\.config)\b",
        "the container's user may not write to its home folder",
        "set LAB_UID and LAB_GID in .env back to the user that the home volume was made for; or "
        "give the caches up: invoke clean --volumes",
        "reproduced; vectorize-io/hindsight#3934, h2oai/h2o-llmstudio#974",
    ),
    _entry(
        "permission",
        "start lab",
        Code.FOLDER,
        r"PermissionError: \[Errno 13\]|Permission denied: '?(/lab/|[\w.-]+/)|"
        r"cannot touch .*Permission denied",
        "the lab's user may not write to a mounted folder: it belongs to someone else",
        "sudo chown -R $(id -u):$(id -g) notebooks runs data models",
        "reproduced; jupyter/docker-stacks#114, #542, #885",
    ),
)
