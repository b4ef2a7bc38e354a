"""`invoke add-package` and its kin on a lab with PyTorch, as a user types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from clone import Lab, read_until, said
from web import client

from labcrate.errors import Code
from labcrate.lab.built import layer_bytes
from labcrate.packages.settled import STEP

PLAIN = "einops"
"""A package of pure Python that needs nothing."""

FILES = ("packages.in", "packages.lock", "settled.lock", "apt.txt")


def state(lab: Lab) -> dict[str, str]:
    """All that a failed change must leave alone: files of docker/, the image behind its name."""
    docker = lab.root / "docker"
    files = {str(p.relative_to(docker)): p.read_text("latin-1") for p in docker.rglob("*.*")}
    image = lab.docker("image", "inspect", "--format", "{{.Id}}", f"{lab.project}/jupyter").stdout
    tags = lab.docker("image", "ls", "--format", "{{.Tag}}", f"{lab.project}/jupyter").stdout
    return {**files, "image": image, "tags": tags}


def importable(lab: Lab, module: str) -> bool:
    """Asked in the root folder: the notebooks' folders would pass for packages."""
    command = ("compose", "exec", "-T", "--workdir", "/", "jupyter", "python", "-c")
    return lab.docker(*command, f"import {module}").returncode == 0


@pytest.fixture(scope="module", autouse=True)
def as_it_was(lab: Lab) -> Iterator[None]:
    """Later tests get the lab as it was, files and image.

    The comment makes each build of the final stage a new one: the lab of another test that added
    the same package would have left it in the build cache.
    """
    before = {name: (lab.root / "docker" / name).read_text() for name in FILES}
    (lab.root / "docker" / "packages.in").write_text(f"{before['packages.in']}# {uuid.uuid4()}\n")
    yield
    for name, text in before.items():
        (lab.root / "docker" / name).write_text(text)
    lab.invoke("up", "--force")


def wait_importable(lab: Lab, module: str, until: threading.Event) -> float:
    started = time.monotonic()
    while not until.is_set():
        if importable(lab, module):
            return time.monotonic() - started
    raise AssertionError(f"{module} never came")


def test_add_reaches_a_running_kernel_then_files_and_image(up_lab: Lab) -> None:
    kernel = client(up_lab).kernel()
    kernel.run("x = 41")
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        kernel.run(f"import {PLAIN}")
    adding = up_lab.start("add-package", PLAIN)
    over, started = threading.Event(), time.monotonic()
    try:
        live_s = wait_importable(up_lab, PLAIN, over)
        assert adding.poll() is None, "importable before the rebuild has ended"
        assert kernel.run(f"import {PLAIN}; print(x + 1)") == "42\n"
    finally:
        over.set()
        text, _ = adding.communicate(timeout=300)
    assert adding.returncode == 0, text
    assert live_s < time.monotonic() - started, "the running lab has it before the image does"
    kernel.close()
    assert PLAIN in (up_lab.root / "docker" / "packages.in").read_text().split()
    assert re.search(
        rf"^{PLAIN}==\S+ \\\n +--hash=sha256:",
        (up_lab.root / "docker" / "packages.lock").read_text(),
        re.MULTILINE,
    )
    assert not json.loads(up_lab.invoke("status", "--json").stdout)["stale"]
    done = up_lab.docker(
        "run", "--rm", f"{up_lab.project}/jupyter", "python", "-c", f"import {PLAIN}"
    )
    assert done.returncode == 0, said(done)


def test_nothing_of_pytorch_was_downloaded_for_it(up_lab: Lab) -> None:
    """By the build's own log: the stage with PyTorch came from the cache, as a whole."""
    log = (up_lab.root / ".labcrate" / "build.log").read_text()
    step = re.search(r"^#(\d+) \[\w+ torch 1/1\]", log, re.MULTILINE)
    assert step
    assert re.search(rf"^#{step[1]} CACHED$", log, re.MULTILINE)
    assert not re.search(r"Downloading (torch|torchvision|nvidia-|triton)", log)


def test_what_is_new_alone_is_installed_and_shipped(up_lab: Lab) -> None:
    """The rest of the lock lies settled in the layer below, which is in the image already."""
    log = (up_lab.root / ".labcrate" / "build.log").read_text()
    assert re.findall(r"Installed (\d+) package", log) == ["1"], log
    assert "Downloading" not in log
    image = f"{up_lab.project}/jupyter"
    rows = up_lab.docker("history", "--human=false", "--format", "{{.Size}}", image).stdout.split()
    settled, new = layer_bytes(image, "the settled packages"), layer_bytes(image, STEP)
    assert settled > 100 * new > 0
    assert new < 0.01 * sum(int(size) for size in rows)


CONTENT = """
import hashlib, json
from importlib import metadata
found = {}
for one in metadata.distributions(path=["/opt/lab/lib/python3.13/site-packages"]):
    if one.metadata["Name"].startswith(("torch", "triton", "nvidia", "cuda")):
        continue
    for file in one.files or ():
        if file.suffix != ".pyc":
            found[str(file)] = hashlib.sha256(file.locate().read_bytes()).hexdigest()
print(json.dumps(found))
"""
"""Every file that a package of the image brought, PyTorch's aside, and the digest of each."""


def test_the_environment_does_not_depend_on_what_was_settled(up_lab: Lab) -> None:
    """A package added above the settled ones, against all of the lock installed in one step."""
    settled, image = up_lab.root / "docker" / "settled.lock", f"{up_lab.project}/jupyter"
    content = ("run", "--rm", image, "python", "-c", CONTENT)
    kept, added = settled.read_text(), json.loads(up_lab.docker(*content).stdout)
    assert PLAIN not in kept
    settled.write_text("")
    try:
        up_lab.invoke("build")
        assert layer_bytes(image, "the settled packages") < 10_000
        assert json.loads(up_lab.docker(*content).stdout) == added
    finally:
        settled.write_text(kept)
        up_lab.invoke("build")
    assert any(name.startswith(f"{PLAIN}/") for name in added)


def test_a_package_that_extends_a_namespace_of_the_base(up_lab: Lab) -> None:
    """The base's protobuf has made the folder `google`, which is not the user's."""
    up_lab.invoke("add-package", "googleapis-common-protos")
    assert importable(up_lab, "google.api.http_pb2")
    up_lab.invoke("remove-package", "googleapis-common-protos")
    assert not importable(up_lab, "google.api.http_pb2")
    assert importable(up_lab, "google.protobuf.message")


def test_the_next_up_says_what_it_replaces_and_spares_busy_kernels(up_lab: Lab) -> None:
    kernel = client(up_lab).kernel()
    kernel.send("import time; time.sleep(600)", "busy")
    wait_busy(up_lab)
    before = up_lab.container()
    done = up_lab.invoke("up", check=False)
    assert done.returncode == Code.BUSY, said(done)
    assert f"this is at work: kernel {kernel.ident[:8]}" in said(done)
    assert "invoke up --force" in said(done)
    assert up_lab.container() == before
    done = up_lab.invoke("up", "--force")
    assert "Replacing jupyter" in done.stdout
    assert up_lab.container() != before
    kernel.socket.close()
    assert importable(up_lab, PLAIN)
    assert "already up" in up_lab.invoke("up").stdout


def wait_busy(lab: Lab) -> None:
    for _ in range(600):
        if any(k["execution_state"] == "busy" for k in client(lab).call("/api/kernels")):
            return
        time.sleep(0.1)
    raise AssertionError("no kernel became busy")


@pytest.mark.parametrize("typed", [PLAIN, "numpy", "torch==2.14.0", "transformers tqdm"])
def test_what_is_there_already_changes_nothing(up_lab: Lab, typed: str) -> None:
    before, log = state(up_lab), up_lab.root / ".labcrate" / "build.log"
    built = log.stat().st_mtime_ns
    done = up_lab.invoke("add-package", typed)
    assert "already" in done.stdout
    assert log.stat().st_mtime_ns == built, "it resolved or built for it"
    assert state(up_lab) == before


@pytest.mark.parametrize(
    ("typed", "code", "told"),
    [
        ("tranformers", Code.PACKAGE_UNKNOWN, "did you mean transformers"),
        ("einops==99.0", Code.PACKAGE_UNKNOWN, "no index has einops==99.0"),
        ("numpy<2", Code.PACKAGE_CONFLICT, "numpy"),
        ("xformers==0.0.20", Code.PACKAGE_CONFLICT, "torch 2.14.0"),
        ("transformers==4.0", Code.PACKAGE_CONFLICT, "--upgrade"),
        ("x @ https://127.0.0.1:1/x-1.0-py3-none-any.whl", Code.NETWORK, "cannot be reached"),
        ("; rm -rf /", Code.PACKAGE_REFUSED, "not a package"),
        ("", Code.PACKAGE_REFUSED, "nothing was named"),
    ],
)
def test_refusals_teach_and_change_nothing(up_lab: Lab, typed: str, code: Code, told: str) -> None:
    before = state(up_lab)
    done = up_lab.invoke("add-package", typed, check=False)
    assert (done.returncode, told in said(done)) == (code, True), said(done)
    assert "fix:" in said(done)
    assert state(up_lab) == before


def project(lab: Lab, name: str, body: str = "", needs: str = "") -> str:
    """A small project in the clone; its path as a user types it."""
    folder = lab.root / "notebooks" / name
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "__init__.py").write_text(body)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{name}"\nversion = "0.1"\ndependencies = [{needs}]\n'
    )
    return f"./notebooks/{name}"


def test_a_package_that_does_not_import_is_taken_back_everywhere(up_lab: Lab) -> None:
    """A missing system library shows only at import: the live lab is put back, too."""
    body = "raise ImportError('libGL.so.1: cannot open shared object file')"
    before = state(up_lab)
    done = up_lab.invoke("add-package", project(up_lab, "broken", body), check=False)
    assert done.returncode == Code.PACKAGE_BROKEN, said(done)
    assert "--system libgl1" in said(done)
    assert state(up_lab) == before
    done = up_lab.exec("uv", "pip", "show", "broken")
    assert "not found" in said(done)


def test_a_project_of_the_clone_is_added_with_what_it_needs(up_lab: Lab) -> None:
    up_lab.invoke("add-package", project(up_lab, "mine", "X = 7", '"humanize==4.9.0"'))
    assert importable(up_lab, "mine, humanize")
    rows = {row["package"]: row for row in json.loads(packages(up_lab))}
    assert rows["mine"]["image"] == rows["mine"]["running"] == "0.1"
    assert rows["humanize"]["asked for"] == ""
    out = up_lab.invoke("remove-package", "humanize", check=False)
    assert (out.returncode, "mine needs it" in said(out)) == (Code.PACKAGE_UNKNOWN, True)


def test_an_editable_project_is_imported_live(up_lab: Lab) -> None:
    """In a running lab, in a new kernel, and in the next container from the image."""
    folder = up_lab.root / "src" / "live project"
    (folder / "src" / "alive").mkdir(parents=True)
    code = folder / "src" / "alive" / "__init__.py"
    code.write_text("X = 1\n")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "alive"\nversion = "0.1"\ndependencies = ["tabulate==0.9.0"]\n'
        '[project.scripts]\nsay-x = "alive:say"\n'
    )
    ask = ("python", "-c", "import alive, tabulate; print(alive.X)")
    try:
        up_lab.invoke("add-package", "--editable", "src/live project")
        assert up_lab.exec(*ask).stdout.strip() == "1"
        code.write_text("X = 2\ndef say(): print(X)\n")
        assert up_lab.exec(*ask).stdout.strip() == "2"
        assert up_lab.invoke("run", *ask).stdout.splitlines()[-1].strip() == "2"
        assert up_lab.exec("say-x").stdout.strip() == "2"
        rows = {row["package"]: row for row in json.loads(packages(up_lab))}
        assert rows["alive"]["image"] == rows["alive"]["running"] == "0.1"
    finally:
        up_lab.invoke("remove-package", "alive", check=False)
        shutil.rmtree(folder)
    assert not importable(up_lab, "alive")
    assert not importable(up_lab, "tabulate")


def packages(lab: Lab) -> str:
    return lab.invoke("packages", "--json").stdout


def test_remove_takes_what_only_it_needed(up_lab: Lab) -> None:
    up_lab.invoke("remove-package", "mine")
    assert not importable(up_lab, "mine")
    assert not importable(up_lab, "humanize")
    assert importable(up_lab, "transformers")
    assert not (up_lab.root / "docker" / "local").exists()
    assert "mine" not in {row["package"] for row in json.loads(packages(up_lab))}


def test_remove_of_what_another_needs_says_that_it_stays(up_lab: Lab) -> None:
    up_lab.invoke("add-package", "--no-build", "safetensors>=0.1")
    done = up_lab.invoke("remove-package", "safetensors")
    assert "safetensors stays in the image" in done.stdout
    assert "transformers" in done.stdout
    assert importable(up_lab, "safetensors")


@pytest.mark.parametrize(
    ("name", "told"),
    [("numpy", "belongs to the base"), ("tokenizers", "transformers needs it"), ("zzq", "among")],
)
def test_remove_refuses_what_was_not_asked_for(up_lab: Lab, name: str, told: str) -> None:
    done = up_lab.invoke("remove-package", name, check=False)
    assert (done.returncode, told in said(done)) == (Code.PACKAGE_UNKNOWN, True), said(done)


def test_what_was_installed_by_hand_is_shown_and_captured(up_lab: Lab) -> None:
    """The versions that were tried, of what was named; not a line for each dependency."""
    done = up_lab.exec("uv", "pip", "install", "--quiet", "humanize==4.9.0")
    assert done.returncode == 0, said(done)
    row = next(r for r in json.loads(packages(up_lab)) if r["package"] == "humanize")
    assert (row["running"], row["image"]) == ("4.9.0", "")
    assert "by hand" in row["note"]
    done = up_lab.invoke("capture", check=False)
    assert (done.returncode, "humanize 4.9.0" in said(done)) == (Code.CONSENT, True), said(done)
    up_lab.invoke("capture", "--yes")
    assert "humanize==4.9.0" in (up_lab.root / "docker" / "packages.lock").read_text()
    assert "Nothing was installed by hand" in up_lab.invoke("capture").stdout
    up_lab.invoke("remove-package", "humanize")


BROKEN = """
import sysconfig, pathlib
site = pathlib.Path(sysconfig.get_path("purelib"))
for name, text in (("broken-1", ""), ("odd-1", "Name: odd\\nVersion: 1[/b]\\n")):
    folder = site / f"{name}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(text)
"""


def test_broken_files_of_one_package_hide_no_other(up_lab: Lab) -> None:
    site = "/opt/lab/lib/python3*/site-packages"
    try:
        assert up_lab.exec("python", "-c", BROKEN).returncode == 0
        shown = up_lab.invoke("packages")
        assert "the running lab are broken: broken-1.dist-info" in shown.stderr
        assert "1[/b]" in shown.stdout
        captured = up_lab.invoke("capture", check=False)
        assert captured.returncode == Code.CONSENT, said(captured)
        assert "Installed by hand: odd 1[/b]" in captured.stdout
    finally:
        up_lab.exec("sh", "-c", f"rm -r {site}/broken-1.dist-info {site}/odd-1.dist-info")


def test_a_package_by_hand_cannot_replace_one_of_the_base(up_lab: Lab) -> None:
    """What a notebook does with pip or uv meets the same constraint as a build."""
    done = up_lab.exec("uv", "pip", "install", "numpy<2")
    assert done.returncode != 0
    assert "numpy" in said(done)


def test_system_packages(up_lab: Lab) -> None:
    done = up_lab.invoke("add-package", "--system", "tree")
    assert "next `invoke up`" in done.stdout
    done = up_lab.docker("run", "--rm", f"{up_lab.project}/jupyter", "tree", "--version")
    assert done.returncode == 0, said(done)
    before = state(up_lab)
    done = up_lab.invoke("add-package", "--system", "no-such-thing-xyz", check=False)
    assert done.returncode == Code.PACKAGE_UNKNOWN, said(done)
    assert "apt-cache search" in said(done)
    assert state(up_lab) == before
    up_lab.invoke("remove-package", "--system", "tree")
    assert "tree" not in (up_lab.root / "docker" / "apt.txt").read_text()


@pytest.mark.parametrize(
    ("phase", "after_s"), [("resolve:", 0.2), ("live:", 0.1), ("build:", 0.5), ("build:", 1.8)]
)
def test_killed_in_a_phase(up_lab: Lab, phase: str, after_s: float) -> None:
    """SIGKILL: nothing gets to clean up. Files and image are as they were; the next call works."""
    before = state(up_lab)
    child = up_lab.start("add-package", "humanize==4.9.0")
    read_until(child, phase)
    time.sleep(after_s)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate(timeout=180)
    seen = state(up_lab)
    # The builder may finish what it was given; its image has another name than the lab's.
    assert {**seen, "tags": ""} == {**before, "tags": ""}
    up_lab.invoke("add-package", "--no-build", "--no-live", "humanize==4.9.0")
    up_lab.invoke("remove-package", "humanize")
    assert "candidate" not in state(up_lab)["tags"]
    assert state(up_lab)["packages.in"] == before["packages.in"]


def test_interrupted_in_the_build_everything_is_put_back(up_lab: Lab) -> None:
    before = state(up_lab)
    child = up_lab.start("add-package", "humanize==4.9.0")
    read_until(child, "build:")
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGINT)
    child.communicate(timeout=180)
    assert child.returncode == Code.INTERRUPTED
    assert state(up_lab) == before
    assert not importable(up_lab, "humanize")


def test_two_at_once_come_one_after_the_other(up_lab: Lab) -> None:
    children = [up_lab.start("add-package", name) for name in ("humanize", "inflection")]
    told = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], told
    assert sum("Waiting for `invoke add-package`" in text for text in told) == 1
    asked = (up_lab.root / "docker" / "packages.in").read_text().split()
    assert {"humanize", "inflection"} <= set(asked)
    assert importable(up_lab, "humanize, inflection")
    up_lab.invoke("remove-package", "humanize inflection")


def test_the_image_alone_is_changed_where_the_lab_is_down(up_lab: Lab) -> None:
    up_lab.invoke("down")
    up_lab.invoke("add-package", "inflection")
    up_lab.invoke("up")
    assert importable(up_lab, "inflection")
    up_lab.invoke("remove-package", "inflection")


def test_lock_takes_newer_versions_and_shows_them(up_lab: Lab) -> None:
    """An old pin of a package without a bound moves; the base's do not."""
    up_lab.invoke("add-package", "--no-build", "--no-live", "humanize==4.9.0")
    path = up_lab.root / "docker" / "packages.in"
    path.write_text(path.read_text().replace("humanize==4.9.0", "humanize"))
    done = up_lab.invoke("lock", "--check", check=False)
    assert (done.returncode, "another packages.in" in said(done)) == (Code.LOCK_STALE, True)
    done = up_lab.invoke("lock")
    assert re.search(r"humanize\s+\S\s+4\.9\.0\s+\S\s+4\.\d\d", done.stdout), done.stdout
    assert up_lab.invoke("lock", "--check").returncode == 0
    up_lab.invoke("remove-package", "humanize")
