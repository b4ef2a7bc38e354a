"""Builds do not depend on the umask under which the clone's files were made."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from clone import ROOT
from double import Double
from package_lab import Engine, fill_docker, snapshot_of

from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.lab.images import PARTS
from labcrate.packages.change import add_packages
from labcrate.packages.phases import Options, Phases
from labcrate.packages.requested import parse_requirements
from labcrate.packages.transaction import BY_ROOT, make_readable, prepare_candidate
from labcrate.smoke.prove import readable_by_all

SCRIPT = PARTS / "install-packages"
OTHER = 54321
"""A user to whom none of the clone's files belong."""


@pytest.fixture
def private() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def close(folder: Path) -> None:
    """As a clone made under umask 077 is."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.usefixtures("private")
def test_everyone_can_read_a_candidate(clone: Clone) -> None:
    fill_docker(clone)
    (clone.docker / "local" / "abc").mkdir(parents=True)
    (clone.docker / "local" / "abc" / "x.whl").touch()
    close(clone.docker)
    (clone.docker / "run.sh").touch(0o700)
    candidate = prepare_candidate(clone.state, clone.docker)
    make_readable(candidate)
    closed = {path.name for path in candidate.rglob("*") if not mode(path) & 0o004}
    assert closed == set(BY_ROOT) & {path.name for path in candidate.iterdir()}
    assert {mode(path) for path in candidate.rglob("*") if path.is_dir()} == {0o755}
    assert (mode(candidate), mode(candidate / "run.sh")) == (0o755, 0o755)
    # The owner's own files stay as they are, and so does the cached layer with PyTorch.
    assert mode(clone.docker / "packages.in") == 0o600
    assert mode(candidate / "torch.lock") == mode(clone.docker / "torch.lock")


@pytest.mark.usefixtures("private")
def test_the_candidate_is_readable_whenever_something_is_built(
    settings: Settings, clone: Clone, double: Double
) -> None:
    """Files are written into it after it was copied, under the same umask."""
    fill_docker(clone)
    close(clone.docker)
    seen: list[set[str]] = []

    class Watching(Engine):
        def bake(self, argv: Sequence[str], stdin: str | None) -> None:
            folder = self.clone.state / "candidate"
            found = (path for path in folder.rglob("*") if path.name not in BY_ROOT)
            seen.append({path.name for path in found if not mode(path) & 0o004})
            super().bake(argv, stdin)

    engine = Watching(clone=clone, double=double, lock="einops==0.8\n")
    (clone.root / "notebooks" / "mine").mkdir()
    (clone.root / "notebooks" / "mine" / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    wanted = parse_requirements("einops ./notebooks/mine", clone)
    add_packages(snapshot_of(settings, running=False), wanted, Options(), Phases())
    assert seen == [set(), set()]
    assert len(engine.baked) == 2


def test_no_step_before_the_user_reads_docker_as_another_one() -> None:
    """Of the steps that mount files of docker/, none runs after USER: root reads any mode."""
    text = (ROOT / "docker" / "Dockerfile").read_text()
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        before, _, after = stage.partition("\nUSER ")
        assert "--mount=source=" not in after
        if "source=install-packages" in before:
            assert "USER ${LAB_UID}:${LAB_GID}" in stage
    assert text.count("sh /parts/install-packages") == 2


@pytest.mark.parametrize(
    ("lock", "mounted"),
    [
        ("settled", "settled.lock,target=/parts/docker/settled.lock"),
        ("packages", ".,target=/parts/docker"),
    ],
)
def test_the_steps_keep_their_cache_and_their_secrets(lock: str, mounted: str) -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    step = next(s for s in re.split(r"\nRUN ", text) if f"sh /parts/install-packages {lock}" in s)
    for part in (
        "target=/var/cache/uv,uid=${LAB_UID},gid=${LAB_GID}",
        f"--mount=source={mounted}",
        "--mount=from=wheels,target=/wheels",
        *(f"id={name},mode=0444" for name in ("uv.toml", "pip.conf", "ca.pem")),
        "source=with-host,target=/parts/with-host",
    ):
        assert part in step


def test_what_is_mounted_is_a_copy_only_where_the_lab_could_not_read_it(clone: Clone) -> None:
    """`smoke` and the proof of the GPU mount tests and the lock, which nothing hands over."""
    tests = clone.root / "tests"
    (tests / "more" / "__pycache__").mkdir(parents=True)
    (tests / "more" / "test_x.py").write_text("x")
    (tests / "more" / "__pycache__" / "x.pyc").touch()
    (tests / "dead").symlink_to("nowhere")
    for path in (tests, tests / "more"):
        path.chmod(0o755)
    (tests / "more" / "test_x.py").chmod(0o644)
    (tests / "more" / "__pycache__" / "x.pyc").chmod(0o600)
    assert readable_by_all(tests, clone) == tests
    (tests / "more").chmod(0o700)
    for text in ("x", "y"):
        (tests / "more" / "test_x.py").write_text(text)
        copy = readable_by_all(tests, clone)
        assert copy != tests
        assert (copy / "more" / "test_x.py").read_text() == text
    assert [mode(copy), mode(copy / "more")] == [0o755, 0o755]
    assert not (copy / "more" / "__pycache__").exists()
    lock = clone.docker / "packages.lock"
    lock.write_text("x")
    lock.chmod(0o600)
    assert mode(readable_by_all(lock, clone)) == 0o644
    assert mode(lock) == 0o600
    assert readable_by_all(clone.root / "none", clone) == clone.root / "none"


LOCK = """einops==0.8 ; python_version > '3' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
mine @ file:///tmp/docker/local/abc/x.whl"""


@pytest.fixture
def build() -> Iterator[Path]:
    """A folder in place of a build's root; others may enter it, as pytest's own they may not."""
    with tempfile.TemporaryDirectory(prefix="labcrate-") as name:
        root = Path(name)
        root.chmod(0o755)
        for folder in ("parts/docker/local/abc", "bin", "out"):
            (root / folder).mkdir(parents=True)
        (root / "parts" / "docker" / "packages.lock").write_text(f"{LOCK}\n")
        (root / "parts" / "docker" / "local" / "abc" / "x.whl").touch()
        close(root / "parts" / "docker")
        shutil.copy(PARTS / "with-host", root / "parts" / "with-host")
        uv = "#!/bin/sh\nid -u > OUT/uid; id -G > OUT/groups\n"
        uv += 'echo "$HOME $UV_CACHE_DIR" > OUT/env\n'
        uv += 'echo "$@" >> OUT/argv; echo "$UV_COMPILE_BYTECODE" > OUT/compiled\n'
        uv += '[ "$2" != install ] || { cat "$5" > OUT/lock; cat TMP/local/abc/x.whl; }\n'
        text = uv.replace("OUT", str(root / "out")).replace("TMP", str(root / "docker"))
        (root / "bin" / "uv").write_text(text)
        (root / "bin" / "uv").chmod(0o755)
        os.chown(root / "out", OTHER, OTHER)
        yield root


def install(build: Path, lock: str, user: int = 1) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.read_text().replace("/parts", f"{build}/parts")
    script = script.replace("/tmp/docker", f"{build}/docker")
    environ = {
        "PATH": f"{build}/bin:{os.environ['PATH']}",
        "LAB_UID": str(user),
        "LAB_GID": str(user),
    }
    command = ["sh", "-c", script, "sh", lock]
    return subprocess.run(command, env=environ, capture_output=True, text=True)


def told_by_uv(build: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in (build / "out").iterdir()}


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user"
)
def test_packages_are_installed_as_the_labs_user_from_files_that_only_root_can_read(
    build: Path,
) -> None:
    done = install(build, "packages", user=OTHER)
    assert done.returncode == 0, done.stderr
    told = told_by_uv(build)
    assert told == {
        "uid": str(OTHER),
        "groups": str(OTHER),
        "env": "/home/lab /var/cache/uv",
        "lock": LOCK,
        "argv": f"pip install --no-deps --requirement {build}/docker/packages.lock",
        "compiled": "",
    }
    assert not (build / "docker").exists()
    assert stat.S_IMODE((build / "parts" / "docker" / "packages.lock").stat().st_mode) == 0o600


SETTLED = """# Made by the tasks
einops==0.8 ; python_version > '3'   \\
    --hash=sha256:aa \\
    --hash=sha256:bb
gone==1 --hash=sha256:cc
moved[x]==2 ; python_version > '3' --hash=sha256:dd
rehashed==3 --hash=sha256:ee
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user"
)
def test_what_was_settled_in_another_form_is_taken_out_first(build: Path) -> None:
    """Removed, of another version, of another hash; what is as it was stays."""
    docker = build / "parts" / "docker"
    (docker / "settled.lock").write_text(SETTLED)
    more = "moved[x]==3 --hash=sha256:dd\nrehashed==3 --hash=sha256:ff\n"
    (docker / "packages.lock").write_text(f"{LOCK}\n{more}")
    done = install(build, "packages", user=OTHER)
    assert done.returncode == 0, done.stderr
    assert told_by_uv(build)["argv"].splitlines() == [
        "pip uninstall gone moved rehashed",
        f"pip install --no-deps --requirement {build}/docker/packages.lock",
    ]


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user"
)
def test_the_settled_packages_are_compiled(build: Path) -> None:
    (build / "parts" / "docker" / "settled.lock").write_text(SETTLED)
    (build / "parts" / "docker" / "packages.lock").unlink()
    done = install(build, "settled", user=OTHER)
    assert done.returncode == 0, done.stderr
    told = told_by_uv(build)
    assert (told["compiled"], told["lock"]) == ("1", SETTLED.strip())
    assert told["argv"] == f"pip install --no-deps --requirement {build}/docker/settled.lock"


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user"
)
def test_a_failed_install_fails_the_step(build: Path) -> None:
    (build / "bin" / "uv").write_text("#!/bin/sh\nexit 3\n")
    assert install(build, "packages").returncode == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("entry", ["torchless[x]==1.0", "tqdm==4 ; python_version > '3'", "a==1"])
@pytest.mark.parametrize("name_of_lock", ["packages", "settled"])
def test_a_lock_that_lost_a_hash_fails_the_step(build: Path, entry: str, name_of_lock: str) -> None:
    """Whoever starts it: nothing is installed before that is known."""
    lock = build / "parts" / "docker" / f"{name_of_lock}.lock"
    unhashed = "plain==1  # its index gives no hash"
    lock.write_text(f"# Made by the tasks\n{LOCK}\n{unhashed}\n{entry}\n")
    lock.chmod(0o600)
    done = install(build, name_of_lock)
    name = entry.partition("==")[0]
    assert (done.returncode, done.stdout) == (
        1,
        f"error: {name_of_lock}.lock holds no hash for {name}\n",
    )
    assert not (build / "out" / "argv").exists()
