"""`invoke clean`: only what this clone made goes, all of it, and what came back is true.

The lab here has no PyTorch (an empty lock): it is made and removed many times.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import Lab, clean_environ, read_until, said
from conftest import small_lab
from faultlog import Happened, told

from labcrate.clean.records import own_records
from labcrate.clone.rules import FOLDERS
from labcrate.errors import Code


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, kept_layers: None) -> Iterator[Lab]:  # noqa: ARG001
    made = small_lab(tmp_path_factory.mktemp("small"))
    yield made
    made.invoke("clean", "--all", "--yes", check=False)


@pytest.fixture
def small_up(small: Lab) -> Lab:
    small.invoke("up")
    for name in FOLDERS:
        (small.root / name / "mine é.txt").write_text(f"the user's {name}")
    return small


class Foreigner:
    """Another project's things on the same engine, one of each kind, and what they look like."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.name = lab, f"foreign-{uuid.uuid4().hex[:8]}"
        base = lab.env["BASE_IMAGE"]
        # Lines like the lab's own, to tempt `clean --cache`.
        text = (
            f'FROM {base}\nRUN echo ": labcrate" > /{self.name}\nCOPY data /opt/lab/{self.name}\n'
        )
        (folder / "Dockerfile").write_text(text + f"WORKDIR /lab/{self.name}\n")
        (folder / "data").write_text(self.name)
        self.docker("build", "--quiet", "--tag", self.name, str(folder))
        self.docker("network", "create", self.name)
        self.docker("volume", "create", self.name)
        mount = ("--volume", f"{self.name}:/v", "--network", self.name)
        create = ("create", "--name", self.name, *mount, self.name)
        self.docker(*create, "sh", "-c", "sleep 600")
        (folder / "file").write_text("foreign data")
        self.docker("cp", str(folder / "file"), f"{self.name}:/v/file")

    def docker(self, *arguments: str) -> str:
        done = self.lab.docker(*arguments)
        assert done.returncode == 0, said(done)
        return done.stdout

    def seen(self) -> dict[str, str]:
        """All that the engine tells of them, and the bytes in the volume."""
        mine = self.records(self.docker("buildx", "du", "--verbose"))
        stable = "\n".join(re.sub(r"^(Last used|Usage count):.*$", "", b, flags=re.M) for b in mine)
        kinds = ("container", "image", "volume", "network")
        told = {kind: self.docker(kind, "inspect", self.name) for kind in kinds}
        return {**told, "cache": stable, "file": self.docker("cp", f"{self.name}:/v/file", "-")}

    def records(self, told: str) -> list[str]:
        """Of all that the build cache holds, its own."""
        return [b for b in told.split("\n\n") if self.name in b]

    def remove(self) -> None:
        for kind in ("container", "volume", "network", "image"):
            self.lab.docker(kind, "rm", self.name)
        told = self.docker("buildx", "du", "--verbose")
        mine = [block.split()[1] for block in self.records(told)]
        for record in own_records(told, begun=mine):
            if record.id in mine:
                self.docker("buildx", "prune", "--force", "--all", "--filter", f"id={record.id}")


def lives(lab: Lab) -> str:
    """Another clone's lab: its containers since when, its images, volume and network."""
    project, shown = lab.project, []
    for service in ("jupyter", "tensorboard"):
        state = "{{.Id}} {{.State.StartedAt}} {{.Image}}"
        shown.append(lab.docker("inspect", "--format", state, lab.container(service)).stdout)
        shown.append(lab.docker("image", "inspect", f"{project}/{service}").stdout)
    shown.append(lab.docker("volume", "inspect", f"{project}_home").stdout)
    shown.append(
        lab.docker("network", "inspect", "--format", "{{.Id}}", f"{project}_default").stdout
    )
    assert all(shown)
    return "".join(shown)


def files(lab: Lab) -> dict[str, str]:
    """Digests, modes and owners of the user's files, .env among them."""
    found = {}
    for path in [lab.root / ".env", *(p for name in FOLDERS for p in (lab.root / name).rglob("*"))]:
        stat = path.stat()
        data = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = f"{data} {stat.st_mode} {stat.st_uid} {stat.st_mtime_ns}"
    return found


def add_step(lab: Lab) -> str:
    """A build step that no other lab has; what names its record."""
    unique = f"only here {uuid.uuid4().hex}"
    path = lab.root / "docker" / "Dockerfile"
    step = f"USER 0\nRUN : labcrate '{unique}'; touch /only-here\nUSER ${{LAB_UID}}\n"
    path.write_text(
        path.read_text().replace("WORKDIR /lab/notebooks\n", f"{step}WORKDIR /lab/notebooks\n")
    )
    lab.invoke("build")
    return unique


@pytest.mark.attack("clean --all beside another clone's running lab and another project's things")
def test_only_its_own_goes(
    neighbour: Lab, small_up: Lab, tmp_path: Path, happened: Happened
) -> None:
    foreign = Foreigner(small_up, tmp_path)
    try:
        unique = add_step(small_up)
        before, others, mine = foreign.seen(), lives(neighbour), files(small_up)
        assert foreign.name in before["cache"]
        assert unique in small_up.docker("buildx", "du", "--verbose").stdout
        assert len(mine) > 8
        done = small_up.invoke("clean", "--all", "--yes")
        assert small_up.left_over() == {}, said(done)
        assert foreign.seen() == before
        assert lives(neighbour) == others
        assert files(small_up) == mine
        flat = " ".join(done.stdout.split())
        assert re.search(rf"what the images of .*{neighbour.project}.* hold stay", flat), flat
        # What this lab alone needed went, and a lab that is there finds all that it was built from.
        assert unique not in small_up.docker("buildx", "du", "--verbose").stdout
        assert small_up.docker("image", "inspect", small_up.env["BASE_IMAGE"]).returncode == 0
        assert "nothing was built" in neighbour.invoke("build").stdout
    finally:
        foreign.remove()
    happened("gone; the others' container, image, volume, network, cache and lab are byte for byte")
    happened("the user's folders and .env are as they were", len(mine))


@pytest.mark.fault("a clone deleted while its lab is up")
def test_a_lab_without_its_clone(small_up: Lab, tmp_path: Path, happened: Happened) -> None:
    """Another clone's doctor finds it, and its fix takes away that lab and nothing else."""
    gone = small_lab(tmp_path / "gone")
    gone.invoke("up")
    project = gone.project
    shutil.move(gone.root, tmp_path / "elsewhere")
    others, mine = lives(small_up), files(small_up)
    seen = json.loads(small_up.invoke("doctor", "--json", check=False).stdout)
    (finding,) = [f for f in seen if f["check"] == "orphans"]
    assert finding["fix"] == f"invoke clean --lab {project} --all"
    small_up.invoke("clean", "--lab", project, "--all", "--yes")
    gone.root = tmp_path / "elsewhere"
    assert gone.left_over() == {}
    assert (lives(small_up), files(small_up)) == (others, mine)
    assert (small_up.root / ".labcrate" / "uv.toml").exists()
    happened("another clone's doctor finds it; its fix removes that lab alone")


@pytest.mark.fault("clean with nobody to answer its question; with a no; with --dry-run")
def test_nothing_goes_unasked(small_up: Lab, happened: Happened) -> None:
    before = small_up.left_over()
    done = small_up.invoke("clean", "--all", check=False)
    assert (done.returncode, "nothing was removed" in said(done)) == (Code.CLEAN, True)
    happened(f"no terminal: {told(done)}")
    dry = small_up.invoke("clean", "--all", "--dry-run")
    assert "removing" not in dry.stdout
    assert f"{small_up.project}_home" in dry.stdout
    happened("--dry-run: exit 0, the plan is shown")
    for no in (b"n\n", b"\x04"):
        code, text = answered(small_up, no)
        assert (code, "Nothing was removed." in text) == (0, True), text
    assert small_up.left_over() == before
    assert answered(small_up, b"y\n")[0] == 0
    assert "containers" not in small_up.left_over()
    happened("at a terminal: a no or Ctrl-D removes nothing and exits 0, a yes removes", 3)


def answered(lab: Lab, answer: bytes) -> tuple[int, str]:
    """`invoke clean` at a terminal, with somebody to answer: its exit code and what it shows."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "invoke", "clean"],
        cwd=lab.root,
        env=clean_environ(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    text = b""
    while b"[y/N]" not in text:
        text += os.read(ours, 1000)
    os.write(ours, answer)
    try:
        while more := os.read(ours, 1000):
            text += more
    except OSError:  # the other end is closed: Linux says so with an error
        pass
    os.close(ours)
    return child.wait(60), text.decode()


@pytest.mark.fault("a rebuild, which leaves the image before it without a name")
def test_superseded_images_go_as_a_rebuild_succeeds(small_up: Lab, happened: Happened) -> None:
    before = images(small_up)
    path = small_up.root / "labcrate" / "image" / "overrides.json"
    for number in range(2):
        changed = json.loads(path.read_text()) | {f"x{number}": {}}
        path.write_text(json.dumps(changed))
        small_up.invoke("up")
    after = images(small_up)
    assert sorted(after.values()) == sorted(before.values()) == ["jupyter", "tensorboard"]
    assert set(after) != set(before)
    happened("the old image is gone, of two rebuilds each")


def images(lab: Lab) -> dict[str, str]:
    label = f"label=dev.labcrate.project={lab.project}"
    template = "{{.ID}} {{.Repository}}"
    listed = lab.docker("image", "ls", "--filter", label, "--format", template).stdout
    return {line.split()[0]: line.rpartition("/")[2] for line in listed.splitlines()}


@pytest.mark.fault("a container made by hand from the lab's image, and then clean --all")
def test_a_container_made_by_hand_stays(small_up: Lab, happened: Happened) -> None:
    name = f"{small_up.project}-byhand"
    image = f"{small_up.project}/tensorboard"
    small_up.docker("run", "--detach", "--name", name, image, "sleep", "600")
    try:
        done = small_up.invoke("clean", "--all", "--yes", check=False)
        assert done.returncode == Code.CLEAN, said(done)
        assert "some would not go" in said(done)
        running = small_up.docker("inspect", "--format", "{{.State.Running}}", name).stdout
        assert running.strip() == "true"
        happened(f"it stays, and runs on; {told(done)}")
    finally:
        small_up.docker("rm", "--force", name)
    small_up.invoke("clean", "--all", "--yes")
    assert small_up.left_over() == {}
    happened("once it is gone, the same command removes the rest")


@pytest.mark.fault("an engine that stops answering in the middle of clean's survey")
def test_no_answer_is_not_nothing_there(small_up: Lab, tmp_path: Path, happened: Happened) -> None:
    real = small_up.command(("sh", "-c", "command -v docker")).stdout.strip()
    stand_in = tmp_path / "docker"
    for broken in ("ps", "network", "image", "volume"):
        stand_in.write_text(
            f'#!/bin/sh\nif [ "$1" = {broken} ]; then echo "Cannot connect" >&2; exit 1; fi\n'
            f'exec {real} "$@"\n'
        )
        stand_in.chmod(0o755)
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = small_up.invoke("clean", "--all", "--yes", check=False, PATH=path)
        assert done.returncode == Code.ENGINE_DOWN, said(done)
        assert "Nothing to remove" not in done.stdout
    happened(told(done), 4)


PHASES = (
    ("clean lab-", signal.SIGINT),
    ("removing container", signal.SIGTERM),
    ("removing network", signal.SIGINT),
    ("removing image", signal.SIGTERM),
    ("removing image", signal.SIGINT),
)


@pytest.mark.parametrize(("at", "sent"), PHASES)
@pytest.mark.fault("Ctrl-C and SIGTERM in clean: at the plan, its containers, network, images")
def test_interrupted_clean_can_be_repeated(
    small_up: Lab, at: str, sent: signal.Signals, happened: Happened
) -> None:
    mine = files(small_up)
    child = small_up.start("clean", "--all", "--yes")
    text = read_until(child, at)
    child.send_signal(sent)
    rest, _ = child.communicate(timeout=180)
    expected = Code.INTERRUPTED if sent is signal.SIGINT else Code.TERMINATED
    assert child.returncode == expected, text + rest
    assert "can be run again" in rest
    happened(f"exit {child.returncode}, “the same command can be run again”")
    small_up.invoke("clean", "--all", "--yes")
    assert small_up.left_over() == {}
    assert files(small_up) == mine
    happened("run again, it leaves nothing")
