"""A filter between `docker save` and `docker load`: leaves out layers that the other engine has.

python -I thin.py DIGEST ... < whole.tar > thin.tar     says on stderr how many bytes passed, of all

`docker load` opens only the layers that its engine lacks. Standard library only: it runs in a pipe.
"""

import io
import sys
import tarfile
from collections.abc import Collection
from typing import IO

SAID = "labcrate passed {} of {} bytes"
CHUNK = 1 << 20


class Counted(io.RawIOBase):
    """A stream that counts what goes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self.stream, self.bytes = stream, 0

    def read(self, size: int = -1) -> bytes:
        found = self.stream.read(size)
        self.bytes += len(found)
        return found

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.bytes += len(data)
        return self.stream.write(data)


def thin(source: IO[bytes], target: IO[bytes], known: Collection[str]) -> tuple[int, int]:
    """Copy an image's archive without the layers that are known: bytes written, bytes read.

    An archive that does not name its files by the digests of the layers passes whole.
    """
    left_out = {f"blobs/sha256/{digest.removeprefix('sha256:')}" for digest in known}
    read, written = Counted(source), Counted(target)
    with (
        tarfile.open(fileobj=read, mode="r|", bufsize=CHUNK) as whole,
        tarfile.open(fileobj=written, mode="w|", bufsize=CHUNK) as part,
    ):
        for member in whole:
            if member.name not in left_out:
                part.addfile(member, whole.extractfile(member) if member.isreg() else None)
    return written.bytes, read.bytes


if __name__ == "__main__":
    print(SAID.format(*thin(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1:])), file=sys.stderr)
