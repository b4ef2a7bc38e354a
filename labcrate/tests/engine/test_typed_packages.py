"""Packages as people type them, on the real engine: old archives, other names, whole files."""

from __future__ import annotations

import pytest
from conftest import Lab, said

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
    done = up_lab.invoke("add-package", "--system", "netcat", check=False)
    assert "netcat-openbsd" in said(done).partition("fix:")[2], said(done)
    up_lab.invoke("remove-package", "--system", "libgl1", "libglib2.0-0")
