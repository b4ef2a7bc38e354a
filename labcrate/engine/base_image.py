"""The base image: here, from its registry, or built from the distribution's own packages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from labcrate import environment, labels, output, process
from labcrate.clone.env_file import fill, read_text, write_private
from labcrate.clone.place import Clone
from labcrate.clone.settings import BUILT_HERE, Settings
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
    if not settings.base_is_built_here and pull_base(wanted):
        return
    name, suite, mirror = local_base(read_os_release())
    if is_here(name):
        output.setup_row("base image", f"no registry answers; {name} is already here")
    else:
        if not confirm(f"No image registry answers. Build {name} from {suite}'s packages?"):
            raise not_agreed(f"build the base image {name} from the distribution's packages")
        build_base(settings.clone, name, suite, mirror)
        output.setup_row("base image", f"no registry answers; built {name} from {suite}'s packages")
    if not process.is_dry():
        path = settings.clone.env_file
        write_private(path, fill(read_text(path), {"BASE_IMAGE": name}))


def is_here(image: str) -> bool:
    return process.ask(("docker", "image", "inspect", image)).ok


def pull_base(wanted: str) -> bool:
    """Whether the registry gave it; an error where it answers, and does not have it."""
    pulled = process.change(("docker", "pull", "--quiet", wanted), timeout_s=PULL_S)
    if pulled.ok:
        output.setup_row("base image", f"pulled: {wanted}")
        return True
    if re.search(r"not found|manifest unknown|denied|toomanyrequests", pulled.stderr):
        raise LabError(
            f"the registry answers, but does not give {wanted}: {pulled.stderr.strip()}",
            fix="set BASE_IMAGE in .env to an image that it has",
            code=Code.BASE_IMAGE,
        )
    return False


def age_note(created: str) -> str:
    """What to say of an image that has gone without security updates for long; "" of others."""
    try:
        days = (datetime.now(UTC) - datetime.fromisoformat(created.strip())).days
    except ValueError:
        return ""
    renew = "labcrate/docs/updating.md says how to renew it"
    return f", {days} days old ({renew})" if days >= OLD_DAYS else ""


def local_base(release: Mapping[str, str]) -> tuple[str, str, str]:
    """(image name, suite, mirror) of a base built here: one a machine, whatever clone asks."""
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
    return f"{BUILT_HERE}{distribution}:{suite}", suite, mirror


def build_base(clone: Clone, name: str, suite: str, mirror: str) -> None:
    if environment.command_path("mmdebstrap") is None:
        act_on(Step(argv=("apt-get", "update")))
        act_on(Step(argv=("apt-get", "install", "--yes", "--no-install-recommends", "mmdebstrap")))
    with work_folder(clone) as folder:
        archive = folder / "base.tar"
        _must(build_command(suite, mirror, archive))
        if is_here(name):
            # Another clone was set up at the same time, and was quicker.
            return
        changes = ("--change", f"LABEL {labels.BASE}={name}", "--change", 'CMD ["bash"]')
        # A dry run makes nothing, which then has no id.
        (made,) = _must(("docker", "import", *changes, str(archive))).split()[-1:] or ("ID",)
        # Named last: the name of one that came meanwhile would be taken, and no clean finds that.
        if is_here(name):
            process.change(("docker", "image", "rm", made))
        else:
            _must(("docker", "tag", made, name))


def _must(argv: tuple[str, ...]) -> str:
    """What a command said that must end well."""
    done = process.stream(argv)
    if not done.ok:
        raise LabError(
            f"the base image could not be built: {done.text.strip().splitlines()[-1:]}",
            fix="read the lines above; once fixed, run `invoke setup` again",
            code=Code.BASE_IMAGE,
        )
    return done.text
