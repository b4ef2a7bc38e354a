"""Each known failure is told by a recorded text: its own entry fits first, and no log that is fine
fits any."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import tasks
from labcrate import signatures, stack
from labcrate.errors import Code
from labcrate.signatures import TABLE, Where

LOGS = Path(__file__).with_name("logs")
DAEMON = "Error response from daemon: "
CREATE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
)
HOOK = (
    CREATE + "runc create failed: unable to start container process: error during container init: "
    "error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as "
    "'legacy'\nnvidia-container-cli: "
)
NETWORKING = (
    "failed to set up container networking: driver failed programming external connectivity on "
    "endpoint lab-jupyter-1 (02c2a97a6833): "
)
DLOPEN = "cannot open shared object file: No such file or directory"
PULL = 'Get "https://registry-1.docker.io/v2/": '

# The name of the entry that must answer, and what was really said. Several texts of one entry are
# the forms it takes.
RECORDED = [
    ("debian-unknown", "1.478 E: Unable to locate package no-such-thing-xyz"),
    ("debian-unknown", "E: Package 'libgl1-mesa-glx' has no installation candidate"),
    (
        "gpu-driver-unregistered",
        DAEMON + 'could not select device driver "" with capabilities: [[gpu]]',
    ),
    (
        "gpu-driver-unregistered",
        DAEMON + 'could not select device driver "nvidia" with capabilities: [[gpu]]',
    ),
    ("gpu-cdi-off", DAEMON + 'could not select device driver "cdi" with capabilities: []'),
    (
        "gpu-vendor-unknown",
        DAEMON + "failed to discover GPU vendor from CDI: no known GPU vendor found",
    ),
    ("gpu-amd-asked", DAEMON + "AMD CDI spec not found"),
    ("gpu-runtime-unknown", DAEMON + "unknown or invalid runtime name: nvidia"),
    ("gpu-runtime-unknown", DAEMON + "Unknown runtime specified nvidia."),
    ("cdi-count", DAEMON + "unexpected count in CDI device request"),
    (
        "cdi-unresolvable",
        DAEMON + "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
    ),
    (
        "cdi-unresolvable",
        "Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all",
    ),
    ("cdi-empty", DAEMON + "CDI device injection failed: invalid device, empty device edits"),
    (
        "cdi-stale",
        "Error: setting up CDI devices: failed to inject devices: failed to stat CDI host device "
        '"/dev/dri/renderD129": no such file or directory',
    ),
    (
        "cdi-stale",
        "Error: crun: error stat'ing file `/usr/lib/x86_64-linux-gnu/libEGL_nvidia.so.550.90.07`: "
        "No such file or directory: OCI runtime attempted to invoke a command that was not found",
    ),
    (
        "gpu-hook-direct",
        HOOK.replace("nvidia-container-cli: ", "")
        + "invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus "
        "flag) is not supported. Please use the NVIDIA Container Runtime (e.g. specify the "
        "--runtime=nvidia flag) instead: unknown",
    ),
    (
        "gpu-cuda-required",
        HOOK + "requirement error: unsatisfied condition: cuda>=12.4, please update your driver to "
        "a newer version, or use an earlier cuda container: unknown",
    ),
    ("gpu-unknown-device", HOOK + "device error: MIG-7cc5d8: unknown device: unknown"),
    ("gpu-unknown-device", HOOK + "device error: 3: unknown device: unknown"),
    (
        "nvml-mismatch",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.86",
    ),
    (
        "nvml-mismatch",
        HOOK + "initialization error: nvml error: driver/library version mismatch: unknown",
    ),
    ("nvml-lost", "Failed to initialize NVML: Unknown Error"),
    ("nvml-permissions", "Failed to initialize NVML: Insufficient Permissions"),
    (
        "driver-not-loaded",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure "
        "that the latest NVIDIA driver is installed and running.",
    ),
    ("driver-not-loaded", HOOK + "initialization error: nvml error: driver not loaded: unknown"),
    ("gpu-none-found", "No devices were found"),
    (
        "gpu-desktop",
        HOOK + f"initialization error: load library failed: libnvidia-ml.so.1: {DLOPEN}: unknown",
    ),
    (
        "wsl-no-adapter",
        HOOK + "initialization error: WSL environment detected but no adapters were found: unknown",
    ),
    (
        "wsl-linux-driver",
        HOOK + "mount error: file creation failed: /var/lib/docker/overlay2/95f/merged/usr/lib/"
        "x86_64-linux-gnu/libnvidia-ml.so.1: file exists: unknown",
    ),
    (
        "rootless-cgroups",
        HOOK
        + "mount error: failed to add device rules: unable to find any existing device filters "
        "attached to the cgroup: bpf_prog_query(BPF_CGROUP_DEVICE) failed: operation not permitted",
    ),
    ("podman-device-path", "Error: stat nvidia.com/gpu=all: no such file or directory"),
    ("mig-none", "|  No MIG devices found                                                     |"),
    ("mig-number", "ValueError: invalid literal for int() with base 10: 'MIG-5a1b2c3d-0001'"),
    (
        "driver-too-old",
        "UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found "
        "version 12080). Please update your GPU driver by downloading and installing a new version",
    ),
    (
        "driver-insufficient",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
    ),
    (
        "driver-missing",
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA "
        "GPU and installed a driver from http://www.nvidia.com/Download/index.aspx",
    ),
    ("torch-cpu-build", "AssertionError: Torch not compiled with CUDA enabled"),
    (
        "card-not-in-build",
        "NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current "
        "PyTorch installation.",
    ),
    (
        "card-not-in-build",
        "UserWarning: Found GPU0 Tesla P100 which is of compute capability (CC) 6.0.",
    ),
    (
        "card-not-in-build",
        "Your installed torch==2.14.0+cu130 does not include kernels for this GPU. Reinstall the "
        "same version against a CUDA build that does, e.g.:",
    ),
    (
        "card-not-in-build",
        "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the "
        "device",
    ),
    (
        "cuda-804",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions "
        "before calling NumCudaDevices() that might have already set an error? Error 804: forward "
        "compatibility was attempted on non supported HW",
    ),
    ("cuda-803", "Error 803: system has unsupported display driver / cuda driver combination"),
    ("cuda-802", "Error 802: system not yet initialized"),
    (
        "cuda-999",
        "UserWarning: CUDA initialization: CUDA unknown error - this may be due to an incorrectly "
        "set up environment, e.g. changing env variable CUDA_VISIBLE_DEVICES after program start.",
    ),
    (
        "nccl-shm",
        "misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-iyaqqe to 9637892 "
        "bytes, error: No space left on device (28)",
    ),
    (
        "nccl-shm",
        "include/shm.h:28 NCCL WARN Call to posix_fallocate failed : No space left on device",
    ),
    (
        "shm",
        "RuntimeError: DataLoader worker (pid 1471) is killed by signal: Bus error. It is possible "
        "that dataloader's workers are out of shared memory. Please try to raise your shared "
        "memory limit.",
    ),
    (
        "shm",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient "
        "shared memory (shm).",
    ),
    (
        "shm",
        "RuntimeError: unable to allocate shared memory(shm) for file </torch_18_1423015708_0>: No "
        "space left on device (28)",
    ),
    ("shm", "container lab-jupyter-1 exited (135)"),
    ("oom", "container lab-jupyter-1 exited (137)"),
    (
        "oom",
        "ERROR: failed to solve: process \"/bin/sh -c sh -c 'kill -9 $$'\" did not complete "
        "successfully: exit code: 137",
    ),
    ("oom", "RuntimeError: DataLoader worker (pid 77) is killed by signal: Killed."),
    (
        "kernel-died",
        "[I 2026-11-24 20:26:37.792 ServerApp] AsyncIOLoopKernelRestarter: restarting kernel "
        "(1/5), keep random ports",
    ),
    (
        "nofile",
        "RuntimeError: Too many open files. Communication with the workers is no longer possible.",
    ),
    (
        "nofile",
        "RuntimeError: unable to open shared memory object </torch_26_1652216504_30> in read-write "
        "mode: Too many open files (24)",
    ),
    (
        "ulimit-refused",
        DAEMON + CREATE + "error during container init: error setting rlimits for ready process: "
        "error setting rlimit type 7: operation not permitted",
    ),
    (
        "no-compiler",
        "RuntimeError: Failed to find C compiler. Please specify via CC environment variable or "
        "set triton.knobs.build.impl.",
    ),
    (
        "no-compiler",
        "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found in "
        "torch._inductor.config.cpp.cxx: (None, 'g++')",
    ),
    (
        "no-nvcc",
        "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install "
        "root.",
    ),
    ("no-nvcc", "RuntimeError: flash_attn was requested, but nvcc was not found."),
    (
        "no-nvcc",
        "FileNotFoundError: [Errno 2] No such file or directory: '/usr/local/cuda/bin/nvcc'",
    ),
    ("build-isolation", "#25 1.2 ModuleNotFoundError: No module named 'torch'"),
    ("no-libgl", f"ImportError: libGL.so.1: {DLOPEN}"),
    ("no-libcuda", f"OSError: libcuda.so.1: {DLOPEN}"),
    ("no-library", f"ImportError: libsndfile.so.1: {DLOPEN}"),
    ("torchvision-other-build", "RuntimeError: operator torchvision::nms does not exist"),
    ("no-solution", "  x No solution found when resolving dependencies:"),
    ("no-solution", "ERROR: ResolutionImpossible: for help visit"),
    ("no-user-name", "KeyError: 'getpwuid(): uid not found: 4321'"),
    ("no-user-name", "OSError: No username set in the environment"),
    ("jupyter-no-token", "JUPYTER_TOKEN is empty: run `invoke setup`, or set it in .env"),
    (
        "jupyter-other-port",
        "[I ServerApp] The port 8888 is already in use, trying another port.",
    ),
    (
        "jupyter-root",
        "[C ServerApp] Running as root is not recommended. Use --allow-root to bypass.",
    ),
    ("jupyter-address", "OSError: [Errno 99] Cannot assign requested address"),
    (
        "jupyter-open",
        "[W ServerApp] All authentication is disabled.  Anyone who can connect to this server will "
        "be able to run code.",
    ),
    (
        "tensorboard-port",
        "ERROR: TensorBoard could not bind to port 6006, it was already in use",
    ),
    ("tensorboard-host", "Error: Must not specify both --host and --bind_all."),
    (
        "tensorboard-writers",
        "W0622 directory_watcher.py:123] File /lab/runs/a/events.out.tfevents.1 updated even "
        "though the current file is /lab/runs/a/events.out.tfevents.2",
    ),
    (
        "engine-denied",
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/"
        'docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/containers/json": dial unix '
        "/var/run/docker.sock: connect: permission denied",
    ),
    (
        "engine-denied",
        "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
    ),
    (
        "context-missing",
        'Failed to initialize: unable to resolve docker endpoint: context "gone": context not '
        "found: open /home/me/.docker/contexts/meta/283bb9/meta.json: no such file or directory",
    ),
    (
        "api-too-old",
        DAEMON + "client version 1.20 is too old. Minimum supported API version is 1.24, please "
        "upgrade your client to a newer version",
    ),
    (
        "api-too-new",
        DAEMON + "client version 1.99 is too new. Maximum supported API version is 1.51",
    ),
    ("compose-missing", "docker: unknown command: docker compose"),
    ("compose-missing", "docker: 'compose' is not a docker command."),
    ("compose-missing", "unknown shorthand flag: 'd' in -d"),
    (
        "buildx-missing",
        "ERROR: BuildKit is enabled but the buildx component is missing or broken.",
    ),
    ("buildx-missing", "compose build requires buildx 0.17.0 or later"),
    (
        "compose-v1",
        "services.jupyter.deploy.resources.reservations value Additional properties are not "
        "allowed ('devices' was unexpected)",
    ),
    ("compose-v1", "Unsupported config option for services.jupyter: 'gpus'"),
    (
        "compose-key",
        "validating /home/me/lab/compose/compose.yaml: services.a additional properties 'gpuz' not "
        "allowed",
    ),
    (
        "compose-capabilities",
        "validating compose.yaml: services.a.deploy.resources.reservations.devices.0 missing "
        "property 'capabilities'",
    ),
    (
        "compose-count-and-ids",
        'services.a.deploy.resources.reservations.devices.[]: "count" and "device_ids" attributes '
        "are exclusive",
    ),
    ("compose-no-file", "no configuration file provided: not found"),
    (
        "compose-yaml",
        "failed to parse /home/me/lab/compose/compose.yaml: yaml: line 1: did not find expected "
        "',' or '}'",
    ),
    (
        "port-of-a-container",
        DAEMON + NETWORKING + "Bind for 127.0.0.1:8888 failed: port is already allocated",
    ),
    (
        "port-of-a-process",
        DAEMON + NETWORKING + "failed to bind host port for 127.0.0.1:8888:172.17.0.2:8888/tcp: "
        "address already in use",
    ),
    (
        "port-of-a-process",
        DAEMON + "failed to bind host port 0.0.0.0:8888/tcp: address already in use",
    ),
    (
        "name-conflict",
        DAEMON + 'Conflict. The container name "/lab" is already in use by container "810efb86d7". '
        "You have to remove (or rename) that container to be able to reuse that name.",
    ),
    (
        "folder-missing",
        DAEMON + 'invalid mount config for type "bind": bind source path does not exist: /no/such',
    ),
    ("disk-full", "head: error writing 'standard output': No space left on device"),
    ("disk-full", "OSError: [Errno 28] No space left on device"),
    ("disk-full", "E: You don't have enough free space in /var/cache/apt/archives/."),
    (
        "engine-lost",
        "Cannot connect to the Docker daemon at unix:///no. Is the docker daemon running?",
    ),
    (
        "engine-lost",
        "ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading from "
        "server: EOF",
    ),
    (
        "rate-limit",
        DAEMON + "toomanyrequests: You have reached your unauthenticated pull rate limit.",
    ),
    ("platform", DAEMON + "no matching manifest for linux/arm64/v8 in the manifest list entries"),
    ("exec-format", "exec /usr/bin/python3: exec format error"),
    (
        "image-gone",
        DAEMON + "manifest for nvidia/cuda:12.0-base not found: manifest unknown: manifest unknown",
    ),
    (
        "image-gone",
        "ERROR: failed to solve: debian:none: failed to resolve source metadata for docker.io/"
        "library/debian:none: docker.io/library/debian:none: not found",
    ),
    (
        "clock",
        "E: Release file for http://mirror.example/debian/dists/trixie/InRelease is not valid yet "
        "(invalid for another 3h 2min 10s). Updates for this repository will not be applied.",
    ),
    ("clock", "x509: certificate has expired or is not yet valid: current time 2020-01-01"),
    (
        "certificate",
        "error: Failed to fetch: https://index.example/simple/x/\n  cause: error sending request "
        "for url (https://index.example/simple/x/)\n  cause: invalid peer "
        "certificate: UnknownIssuer",
    ),
    (
        "certificate",
        "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed "
        "certificate in certificate chain (_ssl.c:1029)>",
    ),
    (
        "certificate",
        PULL + "tls: failed to verify certificate: x509: certificate signed by unknown",
    ),
    (
        "proxy",
        PULL + "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused",
    ),
    ("proxy", "OSError: Tunnel connection failed: 407 Proxy Authentication Required"),
    (
        "apt-signed-by",
        "E: Conflicting values set for option Signed-By regarding source https://nvidia.github.io/"
        "libnvidia-container/stable/deb/amd64/ /: /usr/share/keyrings/nvidia.gpg !=",
    ),
    ("build-secret", "ERROR: failed to solve: secret uv.toml: not found"),
    (
        "build-stage",
        'ERROR: failed to solve: target stage "zz" could not be found (did you mean a?)',
    ),
    (
        "registry-unreachable",
        "ERROR: failed to solve: nvidia/cuda:99-x: failed to resolve source metadata for docker.io/"
        'nvidia/cuda:99-x: failed to do request: Head "https://registry-1.docker.io/v2/nvidia/cuda/'
        'manifests/99-x": dial tcp: lookup registry-1.docker.io: no such host',
    ),
    ("registry-unreachable", DAEMON + PULL + "dial tcp: lookup registry-1.docker.io: no such host"),
    (
        "network",
        "#25 3.2 error: Failed to fetch: `http://127.0.0.1:1/down/six/`\n#25 3.2   Caused by: tcp "
        "connect error",
    ),
    ("network", "W: Failed to fetch http://mirror.example/debian/dists/trixie/InRelease"),
    ("home-permission", "PermissionError: [Errno 13] Permission denied: '/.local'"),
    ("home-permission", "PermissionError: [Errno 13] Permission denied: '/home/lab/.cache/x'"),
    ("permission", "[W ServerApp] Permission denied: work/Untitled.ipynb"),
    ("permission", "PermissionError: [Errno 13] Permission denied: '/lab/runs/x'"),
    ("permission", "touch: cannot touch '/lab/runs/x': Permission denied"),
]

BY_NAME = {signature.name: signature for signature in TABLE}


@pytest.mark.parametrize(("name", "text"), RECORDED)
def test_its_own_entry_answers(name: str, text: str) -> None:
    """In the whole table, and in each place where the entry is said to show."""
    found = signatures.first(text)
    assert found is not None
    assert found.name == name
    for where in BY_NAME[name].where:
        known = signatures.first(f"before\n{text}\nafter", where)
        assert known is not None
        assert (known.name, "{" in known.problem) == (name, False)
        assert known.line in text


def test_every_entry_has_a_recorded_text() -> None:
    assert {name for name, _ in RECORDED} == set(BY_NAME)
    assert len(BY_NAME) == len(TABLE), "two entries share a name"


def test_every_entry_says_where_it_shows_and_where_it_was_read() -> None:
    assert all(signature.where and signature.source for signature in TABLE)
    assert {w for signature in TABLE for w in signature.where} == set(get_args(Where))


def test_every_task_that_a_fix_names_exists() -> None:
    """`invoke down up` names two tasks; prose after them is no task."""
    named = re.findall(r"invoke ((?:[a-z-]+)(?: (?:up|down)\b)?)", " ".join(s.fix for s in TABLE))
    verbs = {verb for words in named for verb in words.split()}
    assert verbs >= {"setup", "up", "down", "clean"}
    assert verbs <= set(tasks.namespace.tasks)


@pytest.mark.parametrize("log", sorted(LOGS.glob("*.log")), ids=lambda path: path.name)
def test_logs_of_a_lab_that_is_fine_tell_nothing(log: Path) -> None:
    """A build from nothing; JupyterLab with a kernel and refused requests; TensorBoard."""
    text = log.read_text()
    assert len(text) > 300
    assert signatures.every(text) == []


@pytest.mark.parametrize(
    ("number", "version"), [("12080", "12.8"), ("13000", "13.0"), ("11040", "11.4")]
)
def test_the_drivers_number_is_decoded(number: str, version: str) -> None:
    known = signatures.first(f"driver on your system is too old (found version {number})")
    assert known is not None
    assert f"CUDA up to {version}" in known.problem


@pytest.mark.parametrize(
    "text",
    [
        "Bind for 127.0.0.1:8899 failed: port is already allocated",
        "failed to bind host port for 127.0.0.1:8899:172.17.0.2:1/tcp: address already in use",
        "failed to bind host port 0.0.0.0:8899/tcp: address already in use",
        "failed to bind host port for [::1]:8899:172.17.0.2:1/tcp: address already in use",
    ],
)
def test_problem_and_fix_carry_the_values_of_the_text(text: str) -> None:
    known = signatures.first(text, "start")
    assert known is not None
    assert "port 8899 is taken" in known.problem
    assert "8899" in known.fix


def test_a_log_tells_each_failure_once() -> None:
    log = "No devices were found\nPermission denied: work/x\nNo devices were found\nfine\n"
    assert [known.name for known in signatures.every(log)] == ["gpu-none-found", "permission"]


def test_a_place_hears_only_its_own_failures() -> None:
    """A program's PermissionError in a build's log is no matter of mounted folders."""
    assert signatures.first("PermissionError: [Errno 13] Permission denied: 'x'", "build") is None


@pytest.mark.parametrize(
    ("text", "code", "fix"),
    [
        ("#9 no space left on device", Code.DISK_FULL, "invoke clean --cache"),
        ("rpc error: error reading from server: EOF", Code.ENGINE_DOWN, "invoke setup"),
        ("error: Failed to fetch: x\ntcp connect error", Code.NETWORK, "index settings"),
        ("pip failed strangely", Code.BUILD, "mend what it names above"),
    ],
)
def test_a_failed_build(text: str, code: Code, fix: str) -> None:
    error = stack.build_failure(text)
    assert (error.code, fix in error.fix, text in error.problem) == (code, True, True)


@pytest.mark.parametrize(
    ("said", "logs", "code", "told"),
    [
        (
            DAEMON + 'could not select device driver "nvidia" with capabilities: [[gpu]]',
            "",
            Code.GPU_NOT_OFFERED,
            "Toolkit",
        ),
        (
            "container x is unhealthy",
            "jupyter-1 | JUPYTER_TOKEN is empty: run `x`",
            Code.SETTINGS,
            "token",
        ),
        ("container x is unhealthy", "calm", Code.UNHEALTHY, "did not become healthy"),
    ],
)
def test_a_lab_that_does_not_come_up(said: str, logs: str, code: Code, told: str) -> None:
    """What the engine says decides; the services' own words only where it says nothing known."""
    error = stack.start_failure(said, logs)
    assert (error.code, told in error.problem, said in error.problem) == (code, True, True)
