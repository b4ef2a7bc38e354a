"""What Compose makes of compose.yaml and .env, without asking any engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from clone import ROOT, clean_environ

from labcrate import labels
from labcrate.clone.env_file import quote, read_env
from labcrate.clone.place import Clone
from labcrate.clone.rules import KNOWN, OPTIONAL
from labcrate.clone.settings import Settings, make_settings
from labcrate.errors import LabError
from labcrate.gpu.devices import Overlay
from labcrate.gpu.offer import Choice, device_overlay
from labcrate.lab.bake import STAGES, Target, bake_file
from labcrate.lab.compose import Lab, parse_model
from labcrate.lab.images import PARTS, named_backend

ARTICLE = (
    "ROOT_DIR",
    "JUPYTER_PORT",
    "JUPYTER_TOKEN",
    "JUPYTER_DIR",
    "TENSORBOARD_PORT",
    "TENSORBOARD_DIR",
)
TASKS_ONLY = {"GPU", "GPU_DEVICES", "COMPOSE_FILE", "SHARED_MODELS"}
"""Read by the tasks, by Compose before it reads any file, or in a file of its own."""

PREDEFINED = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

VALUES = {
    "COMPOSE_PROJECT_NAME": "lab-test-1",
    "JUPYTER_PORT": "8888",
    "JUPYTER_TOKEN": "t" * 48,
    "TENSORBOARD_PORT": "6006",
    "LAB_UID": "1000",
    "LAB_GID": "1000",
}


def settings(**changes: str) -> Settings:
    return make_settings({**VALUES, **changes}, Clone(root=ROOT, here=ROOT))


def compose(
    folder: Path, *arguments: str, overlays: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    paths = (ROOT / "compose" / "compose.yaml", *overlays)
    files = [part for path in paths for part in ("-f", str(path))]
    env = {**clean_environ(), "DOCKER_HOST": "unix:///no/engine/here.sock"}
    return subprocess.run(
        ["docker", "compose", *files, "--env-file", str(folder / ".env"), *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )


KNOWN_MODELS: dict[tuple[object, ...], str] = {}
"""What Compose said of a set of values: half a second each, and many tests ask for the same."""


SEARCH = ("--profile", "search")


def model(
    folder: Path, *overlays: Path, profiles: tuple[str, ...] = SEARCH, **changes: str
) -> dict[str, Any]:
    """Compose's model, with the search page, which is off by default."""
    text = "".join(f"{n}={quote(v)}\n" for n, v in {**VALUES, **changes}.items())
    asked = (text, overlays, profiles)
    if asked not in KNOWN_MODELS:
        (folder / ".env").write_text(text)
        done = compose(folder, *profiles, "config", "--format", "json", overlays=overlays)
        assert done.returncode == 0, done.stderr
        KNOWN_MODELS[asked] = done.stdout
    parsed: dict[str, Any] = json.loads(KNOWN_MODELS[asked])
    return parsed


def test_settings_compose_and_the_example_agree(tmp_path: Path) -> None:
    """A variable that one of the three does not know would be read by nobody."""
    (tmp_path / ".env").write_text("")
    listed = compose(tmp_path, "config", "--variables").stdout.splitlines()[1:]
    used = {line.split()[0] for line in listed if line.strip()} - PREDEFINED
    # Compose looks the secret's variable up by name, outside its interpolation.
    used |= {"JUPYTER_TOKEN"}
    assert used == set(KNOWN) - TASKS_ONLY
    assert set(read_env(ROOT / ".env.example")) == set(KNOWN)


def test_the_examples_defaults_are_the_settings_defaults() -> None:
    example = read_env(ROOT / ".env.example")
    assert {name: example[name] for name in OPTIONAL} == OPTIONAL


def test_every_variable_of_the_example_is_explained() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if "=" in line and not line.startswith("#") and not before.startswith("#")
    ]
    # The group is explained with the user above it.
    assert bare == ["LAB_GID="]


def test_the_articles_names_are_known() -> None:
    assert set(ARTICLE) <= set(KNOWN)


@pytest.mark.parametrize("name", ["lab tést (1)", "it's #1 & co", "ünï/日本語"])
def test_any_folder_can_be_the_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    if "'" in name:
        with pytest.raises(LabError):
            quote(str(root))
        return
    mounts = model(tmp_path, ROOT_DIR=str(root))["services"]["jupyter"]["volumes"]
    assert str(root / "notebooks") in {mount.get("source") for mount in mounts}


def test_the_articles_six_lines_change_what_they_say(tmp_path: Path) -> None:
    resolved = model(
        tmp_path,
        JUPYTER_PORT="9001",
        TENSORBOARD_PORT="9002",
        JUPYTER_DIR="/lab/notebooks/mine",
        TENSORBOARD_DIR="/lab/runs/mine",
    )
    jupyter, tensorboard = (resolved["services"][name] for name in ("jupyter", "tensorboard"))
    assert jupyter["ports"][0]["published"] == "9001"
    assert tensorboard["ports"][0]["published"] == "9002"
    assert jupyter["working_dir"] == "/lab/notebooks/mine"
    assert jupyter["environment"]["TENSORBOARD_DIR"] == "/lab/runs/mine"
    assert "/lab/runs/mine" in tensorboard["command"]


def test_ports_are_on_the_loopback_and_tensorboard_never_leaves_it(tmp_path: Path) -> None:
    for address in ("127.0.0.1", "0.0.0.0"):
        services = model(tmp_path, BIND_ADDRESS=address)["services"]
        assert services["jupyter"]["ports"][0]["host_ip"] == address
        assert services["tensorboard"]["ports"][0]["host_ip"] == "127.0.0.1"
        assert services["search"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_the_search_page_is_off_by_default(tmp_path: Path) -> None:
    assert list(parse_model(model(tmp_path, profiles=())).services) == ["jupyter", "tensorboard"]
    found = parse_model(model(tmp_path)).services
    assert list(found) == ["jupyter", "tensorboard", "search"]
    # Also with a .env that is older than the page.
    assert found["search"].link() == "http://127.0.0.1:8000/"
    moved = parse_model(model(tmp_path, SEARCH_PORT="8123")).services
    assert moved["search"].link() == "http://127.0.0.1:8123/"


def test_the_search_page_reads_the_models_and_writes_nothing(tmp_path: Path) -> None:
    search = model(tmp_path, ROOT_DIR="/somewhere")["services"]["search"]
    (mount,) = search["volumes"]
    assert (mount["source"], mount["read_only"]) == ("/somewhere/models", True)
    assert search["command"][2:] == ["/lab/models/search", "8000"]
    assert "secrets" not in search
    assert "environment" not in search


def test_every_service_is_locked_down(tmp_path: Path) -> None:
    for name, service in model(tmp_path)["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] == "1000:1000", name
        assert service["init"], name
        assert service["pids_limit"] == int(OPTIONAL["PIDS_LIMIT"]), name
        assert service["restart"] == "always", name
        assert bool(service.get("read_only")) is (name != "jupyter"), name
        assert "privileged" not in service, name
        assert service.get("network_mode") is None, name
        assert not [v for v in service["volumes"] if "docker.sock" in v.get("source", "")], name


def test_everything_made_carries_the_label(tmp_path: Path) -> None:
    resolved = model(tmp_path)
    made = [
        *resolved["services"].values(),
        *(service["build"] for service in resolved["services"].values()),
        *resolved["volumes"].values(),
        *resolved["networks"].values(),
    ]
    assert [thing["labels"][labels.PROJECT] for thing in made] == ["lab-test-1"] * len(made)


def test_the_token_is_in_no_environment_or_command(tmp_path: Path) -> None:
    for service in model(tmp_path)["services"].values():
        text = json.dumps({key: service.get(key) for key in ("environment", "command", "build")})
        assert VALUES["JUPYTER_TOKEN"] not in text


@pytest.mark.parametrize("name", ["JUPYTER_PORT", "TENSORBOARD_PORT", "LAB_UID", "LAB_GID"])
def test_compose_itself_refuses_a_missing_value(tmp_path: Path, name: str) -> None:
    """Typed by hand in a clone without these, Compose must not start half a lab.

    The project's name has a default in Compose, and the token is read at `up`, as a secret.
    """
    text = "".join(f"{n}={v}\n" for n, v in VALUES.items() if n != name)
    (tmp_path / ".env").write_text(text)
    done = compose(tmp_path, "config")
    assert done.returncode != 0
    assert "invoke setup" in done.stderr


CPU_ONLY = ("labels", "environment", "deploy", "runtime")
"""What an overlay may change of JupyterLab's service."""


@pytest.mark.parametrize("overlay", ["gpu-cdi", "gpu-runtime", "gpu-nvidia"])
def test_an_overlay_gives_jupyter_a_gpu_and_changes_nothing_else(
    tmp_path: Path, overlay: str
) -> None:
    plain = model(tmp_path)
    with_gpu = model(tmp_path, ROOT / "compose" / f"{overlay}.yaml")
    label = with_gpu["services"]["jupyter"]["labels"][labels.GPU]
    assert label.partition(" ")[0] == overlay
    for one in (plain, with_gpu):
        for key in CPU_ONLY:
            one["services"]["jupyter"].pop(key, None)
    assert with_gpu == plain


def test_every_overlay_is_one_that_the_tasks_know() -> None:
    found = {path.stem for path in (ROOT / "compose").glob("gpu-*.yaml")}
    assert found == {name for name in get_args(Overlay) if name}


@pytest.mark.parametrize(
    ("overlay", "request_"),
    [
        ("gpu-cdi", {"driver": "cdi", "device_ids": ["nvidia.com/gpu=all"]}),
        ("gpu-nvidia", {"driver": "nvidia", "count": -1}),
    ],
)
def test_what_the_engine_is_asked_for(
    tmp_path: Path, overlay: str, request_: dict[str, Any]
) -> None:
    jupyter = model(tmp_path, ROOT / "compose" / f"{overlay}.yaml")["services"]["jupyter"]
    devices = jupyter["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"capabilities": ["gpu"], **request_}]


def test_models_for_all_labs_are_read_only(tmp_path: Path) -> None:
    overlay = ROOT / "compose" / "shared-models.yaml"
    found = model(tmp_path, overlay, SHARED_MODELS="/srv/my models")["services"]
    mounts = {one["target"]: one for one in found["jupyter"]["volumes"]}
    shared = mounts.pop("/lab/shared-models")
    assert (shared["source"], shared["read_only"]) == ("/srv/my models", True)
    assert not shared["bind"].get("create_host_path")
    assert list(mounts) == [
        one["target"] for one in model(tmp_path)["services"]["jupyter"]["volumes"]
    ]
    (tmp_path / ".env").write_text("".join(f"{n}={v}\n" for n, v in VALUES.items()))
    refused = compose(tmp_path, "config", overlays=(overlay,))
    assert "set it in .env" in refused.stderr


@pytest.mark.parametrize("devices", ["all", "0,1", "MIG-ab"])
def test_the_runtime_takes_the_list_of_env(tmp_path: Path, devices: str) -> None:
    overlay = ROOT / "compose" / "gpu-runtime.yaml"
    jupyter = model(tmp_path, overlay, GPU_DEVICES=devices)["services"]["jupyter"]
    assert jupyter["runtime"] == "nvidia"
    assert jupyter["environment"]["NVIDIA_VISIBLE_DEVICES"] == devices
    assert jupyter["labels"][labels.GPU] == f"gpu-runtime {devices}"
    assert jupyter["environment"]["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


@pytest.mark.parametrize(
    ("overlay", "devices"), [("gpu-cdi", ("nvidia.com/gpu=0", "nvidia.com/gpu=1:0")),
                             ("gpu-nvidia", ("0", "GPU-ab"))]
)  # fmt: skip
def test_a_list_that_the_tasks_write(
    tmp_path: Path, overlay: Overlay, devices: tuple[str, ...]
) -> None:
    """It takes the place of the overlay's file, and says the same but for the devices."""
    listed = tmp_path / "gpu.yaml"
    choice = Choice(overlay=overlay, devices=devices, reason="")
    listed.write_text(device_overlay(choice, ",".join(devices)))
    some = model(tmp_path, listed)["services"]["jupyter"]
    every = model(tmp_path, ROOT / "compose" / f"{overlay}.yaml")["services"]["jupyter"]
    (request,) = some["deploy"]["resources"]["reservations"]["devices"]
    assert tuple(request["device_ids"]) == devices
    assert some["labels"][labels.GPU] == f"{overlay} {','.join(devices)}"
    for one in (some, every):
        one.pop("deploy")
        one["labels"].pop(labels.GPU)
    assert some == every


def test_a_list_for_the_runtime_says_what_its_file_says(tmp_path: Path) -> None:
    """With GPU_DEVICES=free, which the file cannot take."""
    listed = tmp_path / "gpu.yaml"
    listed.write_text(
        device_overlay(Choice(overlay="gpu-runtime", devices=("0", "2"), reason=""), "free:2")
    )
    some = model(tmp_path, listed, GPU_DEVICES="free:2")
    every = model(tmp_path, ROOT / "compose" / "gpu-runtime.yaml", GPU_DEVICES="0,2")
    assert some["services"]["jupyter"] == every["services"]["jupyter"]


@pytest.mark.parametrize(
    ("setting", "chosen", "same"),
    [("auto", "pypi", True), ("pypi", "pypi", True), ("auto", "cpu", False), ("cpu", "cpu", True)],
)
def test_plain_compose_builds_the_same_pytorch(
    tmp_path: Path, setting: str, chosen: str, same: bool
) -> None:
    """Another argument would be another layer of 6 GB; only a choice of the tasks is one."""
    plain = model(tmp_path, TORCH_BACKEND=setting)["services"]["jupyter"]["build"]
    lab = Lab(settings=settings(TORCH_BACKEND=setting), torch_backend=chosen)
    asked = lab.build_env["TORCH_BACKEND"]
    assert (plain["args"]["TORCH_BACKEND"] == asked) is same
    assert named_backend(asked) == chosen


def test_a_proxys_password_is_no_variable_of_a_container(tmp_path: Path) -> None:
    """`docker inspect` shows those to everyone who may use the engine."""
    secret = dict.fromkeys(PREDEFINED, "http://u:s3cret@proxy:3128")
    found = model(tmp_path, profiles=SEARCH, **secret)["services"]
    for service in found.values():
        assert "s3cret" not in json.dumps({**service, "build": None})
    assert "proxies" in [one["source"] for one in found["jupyter"]["secrets"]]
    assert found["jupyter"]["build"]["args"]["HTTPS_PROXY"] == secret["HTTPS_PROXY"]


@pytest.mark.parametrize("name", ["lab-test-1", "lab-other"])
def test_builds_know_whose_cache_they_fill(tmp_path: Path, name: str) -> None:
    """Typed by hand, too: the Dockerfile makes the id of a cache of it."""
    found = model(tmp_path, COMPOSE_PROJECT_NAME=name)["services"]["jupyter"]["build"]["args"]
    assert found["LAB_NAME"] == name


def test_bake_builds_what_compose_would(tmp_path: Path) -> None:
    """The same arguments, contexts, secrets and labels, from another folder."""
    resolved = model(tmp_path, HOST_WHEELS="/some/wheels")
    candidate = tmp_path / "candidate"
    targets = [
        Target(stage="final", tags=["x"], labels={"more": "1"}, args={"NAMES": "einops"}),
        Target(stage="resolved", on="base"),
    ]
    text = bake_file(parse_model(resolved), candidate, targets)
    both = json.loads(text)["target"]
    target, build = both["final"], resolved["services"]["jupyter"]["build"]
    assert (target["target"], both["resolved"]["target"]) == ("final", "resolved")
    assert target["args"] == {**build["args"], "NAMES": "einops"}
    assert target["labels"] == {**build["labels"], "more": "1"}
    assert both["resolved"]["args"] == build["args"]
    parts = {"labcrate-parts": str(ROOT / ".labcrate" / "parts")}
    assert target["contexts"] == {"labcrate-wheels": "/some/wheels", **parts}
    assert both["resolved"]["context"] == parts["labcrate-parts"]
    assert (PARTS / STAGES).exists()
    assert [secret.partition(",")[0] for secret in target["secret"]] == [
        "id=pip.conf",
        "id=uv.toml",
        "id=ca.pem",
    ]
    assert (target["context"], target["tags"]) == (str(candidate), ["x"])
    assert VALUES["JUPYTER_TOKEN"] not in text


def test_bake_takes_names_as_they_are(tmp_path: Path) -> None:
    """Docker's own parser reads the file: nothing is filled in, and a comma separates nothing."""
    awkward = tmp_path / "a,b ${HOME} %{c}"
    build = {"secrets": [{"source": "pip.conf"}], "args": {"A": None}}
    resolved = {
        "services": {"jupyter": {"build": build}},
        "secrets": {"pip.conf": {"file": str(awkward / "pip.conf")}},
    }
    awkward.mkdir()
    (awkward / "pip.conf").touch()
    file = tmp_path / "bake.json"
    file.write_text(bake_file(parse_model(resolved), awkward, [Target(stage="final")]))
    command = ("docker", "buildx", "bake", "--print", "--file", str(file), "final")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["target"]["final"]
    assert read["context"] == str(awkward)
    assert read["secret"] == [{"id": "pip.conf", "src": str(awkward / "pip.conf")}]
    assert "args" not in read


def test_builds_find_the_machinerys_parts_and_the_hosts_wheels(tmp_path: Path) -> None:
    for service in model(tmp_path)["services"].values():
        contexts = service["build"]["additional_contexts"]
        assert contexts == {
            "labcrate-parts": str(ROOT / ".labcrate" / "parts"),
            "labcrate-wheels": str(ROOT / ".labcrate" / "wheels"),
        }
        assert service["build"]["context"] == str(ROOT / "docker")


def test_the_owners_code_is_in_the_lab_and_no_folder_is_made_by_the_engine(
    tmp_path: Path,
) -> None:
    services = model(tmp_path)["services"]
    mounts = {one["target"]: one for one in services["jupyter"]["volumes"]}
    names = ("notebooks", "src", "runs", "data", "models")
    assert {f"/lab/{name}" for name in names} < set(mounts)
    assert mounts["/lab/src"]["source"] == str(ROOT / "src")
    binds = [one for service in services.values() for one in service["volumes"]]
    made = [one for one in binds if one["type"] == "bind" and one["bind"].get("create_host_path")]
    assert made == []
    assert mounts["/wheels"]["read_only"]
    assert all(one.get("read_only") for one in services["tensorboard"]["volumes"])


@pytest.mark.parametrize(
    ("service", "asked"),
    [
        ("jupyter", ["8888", "/api"]),
        ("tensorboard", ["6006", "/data/runs"]),
        ("search", ["8000", "/health"]),
    ],
)
def test_health_is_asked_in_isolation_by_the_labs_own_script(
    tmp_path: Path, service: str, asked: list[str]
) -> None:
    """A file of the owner's named random.py must not be imported by the check."""
    health = model(tmp_path)["services"][service]["healthcheck"]
    script = "/opt/labcrate/healthy.py"
    assert health["test"] == ["CMD", "/usr/bin/python3", "-I", "-S", script, *asked]
    copied = [
        line
        for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY --from=labcrate-parts") and "healthy.py" in line
    ]
    assert len(copied) == 3
    assert (PARTS / "healthy.py").exists()


def test_an_owners_service_joins_with_variables_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "services:\n  mlflow:\n    image: mlflow:3\n"
        '    ports: ["127.0.0.1:${MLFLOW_PORT:-5000}:5000"]\n'
    )
    found = parse_model(model(tmp_path, own, profiles=(), MLFLOW_PORT="5001"))
    assert list(found.services) == ["jupyter", "tensorboard", "mlflow"]
    assert found.services["mlflow"].link() == "http://127.0.0.1:5001/"
    assert [service.name for service in found.built] == ["jupyter", "tensorboard"]
    assert found.volumes == ("lab-test-1_home",)
    assert [one.has_health for one in found.services.values()] == [True, True, False]
