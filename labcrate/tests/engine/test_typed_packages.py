"""Packages as people type them, on the real engine: old archives, other names, whole files."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from clone import read_until
from conftest import Lab, said
from web import client, get

from labcrate.errors import Code


def test_an_archive_that_needs_pkg_resources_is_built_in_the_image_and_live(up_lab: Lab) -> None:
    done = up_lab.invoke("add-package", "flatdict==4.0.1", "inflection")
    assert "In the running lab now." in done.stdout
    code = ("python", "-c", "import flatdict, inflection")
    for seen in (
        up_lab.exec(*code),
        up_lab.docker("run", "--rm", f"{up_lab.project}/jupyter", *code),
    ):
        assert seen.returncode == 0, said(seen)
    up_lab.invoke("remove-package", "flatdict", "inflection")


def test_a_requirements_file_is_added(up_lab: Lab) -> None:
    (up_lab.root / "requirements.txt").write_text("# mine\ninflection>=0.5\ntqdm\n")
    up_lab.invoke("add-package", "-r", "requirements.txt")
    assert "inflection>=0.5" in (up_lab.root / "docker" / "packages.in").read_text().split()
    (up_lab.root / "requirements.txt").unlink()
    up_lab.invoke("remove-package", "inflection")


@pytest.mark.parametrize(
    ("typed", "packages"),
    [
        ("cairosvg", "libcairo2"),
        ("sounddevice", "libportaudio2"),
        ("python-magic", "libmagic1"),
        ("weasyprint", "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"),
    ],
)
def test_a_missing_system_library_has_its_debian_name(
    up_lab: Lab, typed: str, packages: str
) -> None:
    done = up_lab.invoke("add-package", "--no-live", typed, check=False)
    assert done.returncode == Code.PACKAGE_BROKEN, said(done)
    assert f"invoke add-package --system {packages} up" in said(done)


def test_debians_other_and_former_names_are_taken(up_lab: Lab) -> None:
    """In Debian 13 another package provides libglib2.0-0, and libgl1-mesa-glx is gone."""
    done = up_lab.invoke("add-package", "--system", "libgl1-mesa-glx", "libglib2.0-0")
    assert "Debian has libgl1 in place of libgl1-mesa-glx." in done.stdout
    assert "libglib2.0-0" in (up_lab.root / "docker" / "apt.txt").read_text().split()
    up_lab.invoke("remove-package", "--system", "libgl1", "libglib2.0-0")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_change_that_is_ended_while_it_installs_live_is_put_back(
    up_lab: Lab, how: signal.Signals
) -> None:
    """By the next task, where nothing could be done at once: the install ends on its own."""
    child = up_lab.start("add-package", "humanize==4.9.0")
    read_until(child, "build:")
    deadline = time.monotonic() + 120
    while not has_humanize(up_lab) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(child.pid, how)
    out = child.communicate(timeout=180)[0]
    assert child.returncode == (Code.TERMINATED if how == signal.SIGTERM else -how), out
    if how == signal.SIGKILL:
        assert has_humanize(up_lab), "it was ended too early"
        told = up_lab.invoke("remove-package", "humanize", check=False)
        assert "that was cut off has been put back" in told.stdout
    assert not has_humanize(up_lab)
    assert not (up_lab.root / ".labcrate" / "live.json").exists()
    assert "humanize" not in (up_lab.root / "docker" / "packages.in").read_text()


def has_humanize(lab: Lab) -> bool:
    return lab.exec("python", "-c", "import humanize").returncode == 0


def test_a_plugin_of_the_board_is_said_to_be_for_notebooks_alone(up_lab: Lab) -> None:
    done = up_lab.invoke("add-package", "torch-tb-profiler")
    assert "torch-tb-profiler has a plugin for TensorBoard" in done.stdout
    assert "%tensorboard --logdir /lab/runs" in done.stdout
    kernel = client(up_lab).kernel()
    try:
        kernel.run("%load_ext tensorboard")
        kernel.run("%tensorboard --logdir /lab/runs --port 6124")
        token = {"Authorization": f"token {up_lab.env['JUPYTER_TOKEN']}"}
        address = f"{up_lab.jupyter}/proxy/6124/data/plugins_listing"
        assert b"pytorch_profiler" in get(address, **token)[1]
    finally:
        kernel.run("import os; os.system('pkill -f 6124')")
        kernel.close()
    up_lab.invoke("remove-package", "torch-tb-profiler")


def wheel(folder: Path, name: str, version: str) -> None:
    """The smallest wheel that an index may have, and the page that lists it."""
    folder.mkdir(parents=True)
    file = f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{file}">{file}</a>')


def test_an_index_that_hides_the_versions_of_another_is_named(up_lab: Lab, tmp_path: Path) -> None:
    """Builds reach this machine at the address of the engine's bridge."""
    wheel(tmp_path / "simple" / "einops", "einops", "0.1")
    form = "{{(index .IPAM.Config 0).Gateway}}"
    bridge = up_lab.docker("network", "inspect", "--format", form, "bridge").stdout.strip()
    serve = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    settings = up_lab.root / ".labcrate" / "uv.toml"
    before = settings.read_text()
    with ThreadingHTTPServer(("0.0.0.0", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://{bridge}:{server.server_port}/simple"
        settings.write_text(f'{before}[[index]]\nurl = "{address}"\n')
        try:
            done = up_lab.invoke("add-package", "einops>=0.8", check=False)
        finally:
            settings.write_text(before)
            server.shutdown()
    assert done.returncode == Code.PACKAGE_UNKNOWN, said(done)
    assert f"{address} has einops, and not as einops>=0.8" in said(done)
