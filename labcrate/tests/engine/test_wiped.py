"""`clean --all` on a machine whose engine nobody else uses: what is left on its disk.

The last module by its name: the others' lab on that machine goes.
"""

from __future__ import annotations

import re

import pytest
from clone import read_until, said
from faultlog import Happened, told
from machine import Machine

from labcrate.clean.records import UNITS
from labcrate.errors import Code


@pytest.mark.fault("SIGKILL in the middle of clean --all, beside another project's build cache")
def test_clean_all_leaves_nothing_and_says_the_truth(up: Machine, happened: Happened) -> None:
    """The last test here, as it takes the lab away: a clean that is killed, and a whole one."""
    base = up.sh("grep ^BASE_IMAGE= .env").strip().partition("=")[2]
    up.sh(
        "mkdir -p /root/foreign && cd /root/foreign && echo foreign > data && "
        f'printf \'FROM {base}\\nRUN echo ": labcrate;" > /f\\nCOPY data /opt/lab/data\\n'
        "WORKDIR /lab/other\\n' > Dockerfile && docker build -q -t foreign ."
    )
    before = foreign_cache(up)
    assert len(before) == 3, before
    child = up.start("clean", "--all", "--yes")
    read_until(child, "removing image")
    up.sh("pkill -KILL -f 'invoke clean'", check=False)
    child.communicate(timeout=180)
    held = disk(up)
    done = up.invoke("clean", "--all", "--yes")
    told_ = re.search(r"; ([\d.]+) (\w+) came back", done.stdout)
    assert told_, said(done)
    claimed = float(told_[1]) * UNITS[told_[2]]
    truth = held - disk(up)
    # Whatever else writes to that disk meanwhile counts, too: not to the byte, but no invention.
    assert abs(claimed - truth) < 0.1 * truth, f"said {claimed}, really {truth}: {said(done)}"
    # Built on the lab's base, the other project's image inherits its label, and is not the lab's.
    foreign = up.sh("docker image ls -q foreign").split()
    assert up.sh("docker image ls -q --filter label=dev.labcrate.base").split() == foreign
    assert up.labelled() == {}, said(done)
    # Nameless ones and parents, too: a layer stays on the disk as long as an image has it. (Layers
    # that an engine forgot when it was killed stay with none, and no command removes them.)
    assert set(up.sh("docker image ls --all --quiet").split()) == set(foreign), said(done)
    up.sh("docker image rm foreign")
    assert "labcrate" not in up.sh("docker buildx du --verbose | grep -v ': labcrate;\" > /f'")
    assert foreign_cache(up) == before
    assert up.nothing_lost()
    assert up.run("test", "-f", ".env").returncode == 0
    again = up.invoke("up", check=False)
    assert again.returncode == Code.BASE_IMAGE
    assert "fix: invoke setup up" in said(again)
    happened(
        f"nothing of the lab is left; it said {told_[1]} {told_[2]}, the disk got back "
        f"{truth / 1e6:.1f} MB; the other project's cache is as it was; .env and notebooks stay"
    )
    happened(f"`up` after it: {told(again)}")


def disk(machine: Machine) -> int:
    """Bytes on the disk of the engine's folder, without what running containers show of them."""
    folders = "overlay2 volumes image buildkit containers"
    return int(machine.sh(f"cd /var/lib/docker && du -scxB1 {folders} | tail -1").split()[0])


def foreign_cache(machine: Machine) -> list[str]:
    """The ids of the build records of the other project's three steps."""
    blocks = machine.sh("docker buildx du --verbose").split("\n\n")
    tempting = ('labcrate;" > /f', "/opt/lab/data", "/lab/other")
    mine = [block for block in blocks if any(mark in block for mark in tempting)]
    return sorted(block.split()[1] for block in mine)
