"""The base image: here, from its registry, or built from the distribution's own packages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from labcrate import environment, labels, output, process
from labcrate.clone.env_file import fill, read_text, write_private
from labcrate.clone.settings import Settings
from labcrate.engine.debian_root import build_command, remove_killed_build, work_folder
from labcrate.engine.install import Confirm, act_on, not_agreed
from labcrate.engine.plan import Step, apt_mirror, read_apt_sources, read_os_release
from labcrate.errors import Code, LabError

SUITES = {"debian": "trixie"}
"""The release a locally built base holds. Debian hosts get the current stable, whatever they run;
others their own release, because only its archive key is sure to be there."""

OLD_DAYS = 60
"""Debian makes its images anew every two to four weeks, with the updates until then."""

PULL_S = 90.0
"""A slim image is 30 MB; a network that has not sent it by then counts as having no registry."""


def ensure_base_image(settings: Settings, confirm: Confirm) -> None:
    """Have the base image: here, from its registry, or built from the distribution's packages."""
    remove_killed_build(settings.clone)
    wanted = settings.base_image
    there = process.ask(("docker", "image", "inspect", "--format", "{{.Created}}", wanted))
    if there.ok:
        output.setup_row("base image", f"already here: {wanted}{age_note(there.stdout)}")
        return
    pulled = process.change(("docker", "pull", "--quiet", wanted), timeout_s=PULL_S)
    if pulled.ok:
        output.setup_row("base image", f"pulled: {wanted}")
        return
    if re.search(r"not found|manifest unknown|denied|toomanyrequests", pulled.stderr):
        raise LabError(
            f"the registry answers, but does not give {wanted}: {pulled.stderr.strip()}",
            fix="set BASE_IMAGE in .env to an image that it has",
            code=Code.BASE_IMAGE,
        )
    release = read_os_release()
    name, suite, mirror = local_base(settings, release)
    if not confirm(f"No image registry answers. Build {name} from {suite}'s packages?"):
        raise not_agreed(f"build the base image {name} from the distribution's packages")
    build_base(name, suite, mirror, settings)
    if not process.is_dry():
        path = settings.clone.env_file
        write_private(path, fill(read_text(path), {"BASE_IMAGE": name}))
    output.setup_row("base image", f"no registry answers; built {name} from {suite}'s packages")


def age_note(created: str) -> str:
    """What to say of an image that has gone without security updates for long; "" of others."""
    try:
        days = (datetime.now(UTC) - datetime.fromisoformat(created.strip())).days
    except ValueError:
        return ""
    renew = "labcrate/docs/updating.md says how to renew it"
    return f", {days} days old ({renew})" if days >= OLD_DAYS else ""


def local_base(settings: Settings, release: Mapping[str, str]) -> tuple[str, str, str]:
    """(image name, suite, mirror) of a base built here."""
    distribution = release.get("ID", "")
    mirror = apt_mirror(read_apt_sources(), distribution)
    suite = SUITES.get(distribution) or release.get("VERSION_CODENAME", "")
    if not mirror or not suite:
        raise LabError(
            f"no image registry answers, and {distribution or 'this host'} has no apt to build "
            "a base image from",
            fix="set BASE_IMAGE in .env to an image that is here (docker images)",
            code=Code.BASE_IMAGE,
        )
    return f"{settings.project}/{distribution}:{suite}", suite, mirror


def build_base(name: str, suite: str, mirror: str, settings: Settings) -> None:
    if environment.command_path("mmdebstrap") is None:
        act_on(Step(argv=("apt-get", "update")))
        act_on(Step(argv=("apt-get", "install", "--yes", "--no-install-recommends", "mmdebstrap")))
    with work_folder(settings.clone) as folder:
        archive = folder / "base.tar"
        _must(build_command(suite, mirror, archive))
        label = f"LABEL {labels.PROJECT}={settings.project}"
        changes = ("--change", label, "--change", 'CMD ["bash"]')
        _must(("docker", "import", *changes, str(archive), name))


def _must(argv: tuple[str, ...]) -> None:
    done = process.stream(argv)
    if not done.ok:
        raise LabError(
            f"the base image could not be built: {done.text.strip().splitlines()[-1:]}",
            fix="read the lines above; once fixed, run `invoke setup` again",
            code=Code.BASE_IMAGE,
        )
