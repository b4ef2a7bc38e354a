"""The token is in .env and in the printed links, and nowhere else."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest
from clone import Lab, said
from faultlog import Happened
from web import get


class Watcher(threading.Thread):
    """Reads the command line of every process of this machine, all the time."""

    def __init__(self, needle: str) -> None:
        super().__init__(daemon=True)
        self.needle, self.found, self.looked, self.over = needle.encode(), set[str](), 0, False

    def run(self) -> None:
        while not self.over:
            time.sleep(0.02)
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = path.read_bytes()
                except OSError:
                    continue
                self.looked += 1
                if self.needle in text:
                    self.found.add(text.replace(b"\0", b" ").decode(errors="replace"))

    def stop(self) -> None:
        self.over = True
        self.join()


@pytest.mark.attack("the token, looked for wherever tools show things")
def test_the_token_shows_nowhere(up_lab: Lab, happened: Happened) -> None:
    token = up_lab.env["JUPYTER_TOKEN"]
    watcher = Watcher(token)
    watcher.start()
    up_lab.invoke("down")
    started = up_lab.invoke("up")
    get(f"{up_lab.jupyter}/lab?token={token}")
    get(f"{up_lab.jupyter}/no-such-page?token={token}")
    get(f"{up_lab.jupyter}/api/contents/none", Authorization=f"token {token}")
    shown = {
        task: said(up_lab.invoke(*task.split())) for task in ("status", "status --json", "logs")
    }
    shown["build"] = said(up_lab.invoke("build"))
    watcher.stop()
    assert watcher.looked > 1000, "the watcher saw too little"
    assert not watcher.found
    shown["up"] = said(started)
    assert token in up_lab.invoke("url").stdout
    for service in ("jupyter", "tensorboard"):
        for what in (
            ("inspect", up_lab.container(service)),
            ("image", "inspect", f"{up_lab.project}/{service}"),
            ("history", "--no-trunc", f"{up_lab.project}/{service}"),
            ("top", up_lab.container(service), "-eo", "pid,args"),
            ("compose", "logs", service),
            ("compose", "config", service),
            ("compose", "exec", "-T", service, "env"),
        ):
            shown[" ".join(what)] = said(up_lab.docker(*what))
    for path in (up_lab.root / ".labcrate").rglob("*"):
        if path.is_file():
            shown[path.name] = path.read_text(errors="replace")
    assert "build.log" in shown
    assert [name for name, text in shown.items() if token in text] == []
    happened("nowhere but in .env and in what `invoke url` prints", len(shown) + 1)


GREP = """
import os, sys
needle, seen = sys.stdin.buffer.read(), 0
for folder, _, names in os.walk(sys.argv[1]):
    if folder.startswith(("/proc", "/sys", "/dev")): continue
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 2**22:
            seen += 1
            if needle in open(path, "rb").read(): print("FOUND", path)
print(seen)
"""


@pytest.mark.attack("the token, looked for in every file of both images")
def test_the_token_is_in_no_image(up_lab: Lab, happened: Happened) -> None:
    """A fresh container of each image, without the lab's secrets, read by root; up to 4 MB."""
    seen = 0
    for service in ("jupyter", "tensorboard"):
        image = f"{up_lab.project}/{service}"
        run = ("docker", "run", "--rm", "--interactive", "--user", "0", image, "python", "-c", GREP)
        for needle, there in ((up_lab.env["JUPYTER_TOKEN"], False), ("root:x:0:0", True)):
            done = subprocess.run(
                [*run, "/"], input=needle, capture_output=True, text=True, timeout=120
            )
            assert ("FOUND" in done.stdout) is there, said(done)
            seen += int(done.stdout.split()[-1])
    assert seen > 10_000, "too few files to be all of them"
    happened(f"in none of {seen} files", 2)
