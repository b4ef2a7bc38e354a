"""An image's archive without the layers that are known: what `cluster push` sends."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest

from labcrate.cluster.push import PASSED, THIN
from labcrate.cluster.thin import thin

NAMES = ("blobs/sha256/1a", "blobs/sha256/2b", "manifest.json", "repositories")


def archive(names: tuple[str, ...]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        folder = tarfile.TarInfo("blobs")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 40_000
            tar.addfile(member, io.BytesIO(name[:1].encode() * member.size))
    return whole.getvalue()


def files_of(text: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(text)) as tar:
        return {m.name: got.read() for m in tar if (got := tar.extractfile(m))}


@pytest.mark.parametrize(
    ("known", "kept"),
    [((), NAMES), (("sha256:1a",), NAMES[1:]), (("sha256:1a", "sha256:2b"), NAMES[2:])],
)
def test_only_known_layers_are_left_out(known: tuple[str, ...], kept: tuple[str, ...]) -> None:
    whole, part = archive(NAMES), io.BytesIO()
    written, read = thin(io.BytesIO(whole), part, known)
    assert tuple(files_of(part.getvalue())) == kept
    assert files_of(part.getvalue()).items() <= files_of(whole).items()
    assert (written, read) == (len(part.getvalue()), len(whole))


def test_an_archive_of_another_kind_passes_whole() -> None:
    """Engines before 25 name a layer's folder by another number."""
    whole, part = archive(("9f/layer.tar", "manifest.json")), io.BytesIO()
    thin(io.BytesIO(whole), part, ("sha256:1a",))
    assert files_of(part.getvalue()) == files_of(whole)


def test_it_runs_in_a_pipe_and_says_what_passed() -> None:
    whole = archive(NAMES)
    done = subprocess.run((*THIN, "sha256:1a"), input=whole, capture_output=True, check=True)
    said = PASSED.search(done.stderr.decode())
    assert said is not None
    assert tuple(map(int, said.groups())) == (len(done.stdout), len(whole))


def test_half_an_archive_is_a_failure() -> None:
    """The engine that saved it died, so what came is not the image."""
    done = subprocess.run(THIN, input=archive(NAMES)[:60_000], capture_output=True)
    assert done.returncode != 0
