"""`invoke setup`: make the machine ready, and change nothing that is already right."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from labcrate import engine as engines
from labcrate import host, hostpip, shell
from labcrate.engine import Engine
from labcrate.errors import Code, LabError
from labcrate.settings import ENV_FILE, EXAMPLE_FILE, Settings, parse, writable
from labcrate.shell import ROOT

ARTICLE_PORTS = {"JUPYTER_PORT": 8888, "TENSORBOARD_PORT": 6006}
"""The first choice for each port: the services' own defaults."""

SUITES = {"debian": "trixie"}
"""The release a locally built base holds. Debian hosts get the current stable, whatever they run;
others their own release, because only its archive key is sure to be there."""

PULL_S = 90.0
"""A slim image is 30 MB; a network that has not sent it by then counts as having no registry."""

Confirm = Callable[[str], bool]


def say(what: str, state: str) -> None:
    print(f"  {what:<18} {state}", flush=True)


def free_port(first: int, taken: set[int]) -> int:
    """The first port from `first` on that nobody listens on, on loopback."""
    for port in range(first, 65536):
        if port not in taken and port_is_free("127.0.0.1", port):
            return port
    raise LabError("no free port", fix="set the ports in .env by hand", code=Code.PORT_TAKEN)


def port_is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def caller_ids(environ: Mapping[str, str] = os.environ, clone: Path = ROOT) -> tuple[int, int]:
    """The uid and gid that files of the lab should belong to.

    Never root: with sudo it is who called sudo, for root alone the clone's owner, else 1000, the
    first ordinary user of a Linux system.
    """
    if os.geteuid() != 0:
        return os.getuid(), os.getgid()
    if environ.get("SUDO_UID", "0") != "0":
        return int(environ["SUDO_UID"]), int(environ["SUDO_GID"])
    owner = clone.stat()
    return (owner.st_uid, owner.st_gid) if owner.st_uid else (1000, 1000)


def blanks(values: Mapping[str, str], clone: Path = ROOT) -> dict[str, str]:
    """What `setup` fills in: each variable that has no value yet."""
    slug = re.sub(r"[^a-z0-9]+", "-", clone.name.lower()).strip("-") or "clone"
    uid, gid = caller_ids(clone=clone)
    fresh: dict[str, Callable[[], str]] = {
        "JUPYTER_TOKEN": lambda: secrets.token_hex(24),
        "LAB_UID": lambda: str(uid),
        "LAB_GID": lambda: str(gid),
        # The random part keeps two clones of one name apart, also on a shared server.
        "COMPOSE_PROJECT_NAME": lambda: f"lab-{slug[:20].strip('-')}-{secrets.token_hex(3)}",
        "HOST_WHEELS": lambda: next(map(str, hostpip.read().find_links), ""),
        "COMPOSE_FILE": lambda: "compose/compose.yaml",
    }
    filled = {name: make() for name, make in fresh.items() if not values.get(name)}
    taken = {int(values[n]) for n in ARTICLE_PORTS if values.get(n, "").isdigit()}
    for name, first in ARTICLE_PORTS.items():
        if not values.get(name):
            filled[name] = str(free_port(first, taken))
            taken.add(int(filled[name]))
    return {name: value for name, value in filled.items() if value}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values into the text of an env file, in place, keeping its comments and order."""
    for name, value in values.items():
        line = f"{name}={quote(value)}"
        found = re.search(rf"^{name}=.*$", text, re.MULTILINE)
        if found:
            text = text[: found.start()] + line + text[found.end() :]
        else:
            text = text.rstrip("\n") + f"\n{line}\n"
    return text


def quote(value: str) -> str:
    """Single quotes where Compose or python-dotenv would read more into a value."""
    if re.fullmatch(r"[\w./:,@%+=~-]*", value, re.ASCII):
        return value
    if "'" in value:
        raise LabError(
            f"a path with a single quote cannot stand in .env: {value}",
            fix="choose a folder without one",
            code=Code.FOLDER,
        )
    return f"'{value}'"


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, never readable by others, not even for a moment."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    except OSError as error:
        raise LabError(
            f"cannot write {path}: {error.strerror}",
            fix="work in a clone that you can write to",
            code=Code.FOLDER,
        ) from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(name, owner.st_uid, owner.st_gid)
    Path(name).replace(path)


def env_file() -> None:
    """Write .env, or fill in what is missing from it."""
    existed = ENV_FILE.exists()
    text = (ENV_FILE if existed else EXAMPLE_FILE).read_text(encoding="utf-8")
    missing = blanks(parse(text))
    missing.pop("HOST_WHEELS", None) if existed else None
    if existed and not missing:
        if ENV_FILE.stat().st_mode & 0o077:
            ENV_FILE.chmod(0o600)
            say(".env", "made private (mode 600)")
        else:
            say(".env", "already there")
        return
    write_private(ENV_FILE, fill(text, missing))
    say(".env", f"{'filled in' if existed else 'written, mode 600'}: {', '.join(missing)}")


def folders(settings: Settings) -> None:
    """Make the user's folders, so that the engine does not make them as root."""
    made = [path for path in settings.folders if not path.is_dir()]
    for path in made:
        path.mkdir(parents=True, exist_ok=True)
    owner = (settings.uid, settings.gid)
    given = [path for path in settings.folders if os.geteuid() == 0 and give(path, owner)]
    names = ", ".join(path.name for path in (*made, *given))
    say("folders", f"made ready: {names}" if names else "already there")


def give(path: Path, owner: tuple[int, int]) -> bool:
    """Hand root's files in a folder of the lab to the lab's user; whether anything changed."""
    changed = False
    for item in (path, *path.rglob("*")):
        if item.lstat().st_uid == 0 and owner[0] != 0:
            os.chown(item, *owner, follow_symlinks=False)
            changed = True
    return changed


def the_engine(confirm: Confirm) -> Engine:
    """Find the engine; install and start one where there is none."""
    try:
        found = engines.require(engines.find())
        say("engine", f"already runs: {describe(found)}")
        return found
    except LabError as error:
        if error.code is Code.ENGINE_DENIED or engine_elsewhere():
            raise
        missing = error.code is not Code.ENGINE_DOWN or shutil.which("dockerd") is None
    if missing:
        install(confirm)
    if not shell.capture(("docker", "info"), timeout_s=15).ok:
        if not missing and not confirm("Start the container engine?"):
            raise refused("start the container engine (dockerd)")
        host.start_engine()
    found = engines.require(engines.find())
    say("engine", f"{'installed and ' if missing else ''}started: {describe(found)}")
    return found


def engine_elsewhere() -> bool:
    """Whether the user points docker at an engine that this machine's packages cannot start."""
    return bool(os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT"))


def describe(found: Engine) -> str:
    dotted = ".".join(map(str, found.version))
    return f"Docker {dotted}, Compose {'.'.join(map(str, found.compose))}"


def install(confirm: Confirm) -> None:
    release = host.read_os_release()
    mirror = host.apt_mirror(host.read_apt_sources(), "debian")
    plan = host.install_plan(release, mirror)
    if plan is None:
        raise LabError(
            f"there is no container engine, and no plan for {release.get('PRETTY_NAME', 'this')}",
            fix="install Docker Engine with Compose and Buildx, then: invoke setup",
            code=Code.ENGINE_MISSING,
        )
    steps = "\n".join(f"    {step.describe()}" for step in plan)
    question = f"No container engine here. Install it with these steps?\n{steps}\n"
    if not confirm(question):
        raise refused("install the container engine with:\n" + steps)
    for step in plan:
        host.act(step)
    if os.geteuid() != 0:
        host.act(host.Step(argv=("usermod", "-aG", "docker", os.environ.get("USER", ""))))


def refused(what: str) -> LabError:
    return LabError(
        f"setup would {what}",
        fix="invoke setup --yes (or answer the question at a terminal)",
        code=Code.CONSENT,
    )


def base_image(settings: Settings, confirm: Confirm) -> None:
    """Have the base image: here, from its registry, or built from the distribution's packages."""
    wanted = settings.base_image
    if shell.capture(("docker", "image", "inspect", wanted)).ok:
        say("base image", f"already here: {wanted}")
        return
    pulled = shell.capture(("docker", "pull", "--quiet", wanted), timeout_s=PULL_S)
    if pulled.ok:
        say("base image", f"pulled: {wanted}")
        return
    if re.search(r"not found|manifest unknown|denied|toomanyrequests", pulled.stderr):
        raise LabError(
            f"the registry answers, but does not give {wanted}: {pulled.stderr.strip()}",
            fix="set BASE_IMAGE in .env to an image that it has",
            code=Code.BASE_IMAGE,
        )
    release = host.read_os_release()
    name, suite, mirror = local_base(settings, release)
    if not confirm(f"No image registry answers. Build {name} from {suite}'s packages?"):
        raise refused(f"build the base image {name} from the distribution's packages")
    build_base(name, suite, mirror, settings)
    text = ENV_FILE.read_text(encoding="utf-8")
    write_private(ENV_FILE, fill(text, {"BASE_IMAGE": name}))
    say("base image", f"no registry answers; built {name} from {suite}'s packages")


def local_base(settings: Settings, release: Mapping[str, str]) -> tuple[str, str, str]:
    """(image name, suite, mirror) of a base built here."""
    distribution = release.get("ID", "")
    mirror = host.apt_mirror(host.read_apt_sources(), distribution)
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
    if shutil.which("mmdebstrap") is None:
        host.act(host.Step(argv=("apt-get", "update")))
        host.act(
            host.Step(argv=("apt-get", "install", "--yes", "--no-install-recommends", "mmdebstrap"))
        )
    mode = "root" if os.geteuid() == 0 else "unshare"
    with tempfile.TemporaryDirectory(prefix="labcrate-") as folder:
        archive = str(Path(folder) / "base.tar")
        options = (f"--mode={mode}", "--variant=minbase", "--include=ca-certificates")
        _must(("mmdebstrap", *options, suite, archive, mirror))
        label = f"LABEL dev.labcrate.project={settings.project}"
        _must(("docker", "import", "--change", label, "--change", 'CMD ["bash"]', archive, name))


def _must(argv: tuple[str, ...]) -> None:
    done = shell.stream(argv)
    if not done.ok:
        raise LabError(
            f"the base image could not be built: {done.text.strip().splitlines()[-1:]}",
            fix="read the lines above; once mended, run `invoke setup` again",
            code=Code.BASE_IMAGE,
        )


def package_settings(settings: Settings, wheels: bool) -> None:
    changed = hostpip.write((settings.uid, settings.gid), wheels)
    say("package settings", "taken over from this host" if changed else "already taken over")
    for place in hostpip.read().unreachable if changed else ():
        print(f"    not reachable from a container, left out: {hostpip.without_login(place)}")


def has_package_settings() -> bool:
    """Whether they were taken over at all; a build brings them up to date."""
    return all((hostpip.STATE / name).is_file() for name in hostpip.FILES)


def refuse_read_only() -> None:
    if not writable(ROOT):
        raise LabError(
            f"this clone is read-only: {ROOT}",
            fix="clone it to a place that you can write to",
            code=Code.FOLDER,
        )
