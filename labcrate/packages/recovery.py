"""What every changing task puts right before it starts: a change of the packages that was cut off.

It imports no reader of locks: each `up` and `down` would wait for it.
"""

from __future__ import annotations

from pathlib import Path

from labcrate import output, process
from labcrate.errors import Code, LabError
from labcrate.lab.compose import Lab
from labcrate.packages.live import recover_live
from labcrate.packages.transaction import Retag, recover_commit

FILE = "settled.lock"

HEAD = """\
# Made by the tasks: the entries of packages.lock that lie in a layer of their own. The image holds
# what packages.lock says, whatever stands here.
"""


def recover_packages(lab: Lab) -> None:
    """Put back what an interrupted change left half done. Call it with the clone's lock held."""
    if process.is_dry():
        return
    ensure_settled(lab.clone.docker)
    files = recover_commit(lab.clone.state, lab.clone.docker, retagger(lab))
    if recover_live(lab) or files:
        output.say("A change of the packages that was cut off has been put back.")


def ensure_settled(docker: Path) -> None:
    """Write an empty list where the Dockerfile wants one and there is none.

    So it is after an update of a lab that is older than these lists.
    """
    path, dockerfile = docker / FILE, docker / "Dockerfile"
    if dockerfile.exists() and FILE in dockerfile.read_text(encoding="utf-8") and not path.exists():
        path.write_text(HEAD, encoding="utf-8")


def retagger(lab: Lab) -> Retag:
    def retag(image: str) -> None:
        done = process.change(("docker", "tag", image, lab.image()), quiet=True)
        if not done.ok:
            raise LabError(
                f"the image cannot be named: {done.stderr.strip()}",
                fix="run the same command again",
                code=Code.BUILD,
            )

    return retag
