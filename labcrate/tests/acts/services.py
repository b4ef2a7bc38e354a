"""Acts on what runs and where: names, settings, variables, mounts, services."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from owner import Owner, after_line, append, replace

from acts.register import act


@act
def own_variable(own: Owner) -> Iterator[None]:
    append(own.root / ".env", "\nMY_QUEUE='a b'\n")
    after_line(own.compose_file, r"^      TENSORBOARD_DIR: ", "      MY_QUEUE: ${MY_QUEUE}\n")
    append(own.root / "lab.env", "DATABASE_PASSWORD='pa$word'\n")
    (own.root / "lab.env").chmod(0o600)
    yield
    shown = 'import os; print(os.environ["MY_QUEUE"], os.environ["DATABASE_PASSWORD"])'
    assert own.in_image("python", "-c", shown) == "a b pa$word"


@act
def rename_project(own: Owner) -> Iterator[None]:
    old, new = f"{own.project}-old", f"{own.project}-new"
    own.set(COMPOSE_PROJECT_NAME=old)
    own.invoke("build")
    own.root = own.root.rename(own.root.with_name("paper"))
    replace(own.root / "pyproject.toml", 'name = "my-lab"', 'name = "paper"')
    own.set(COMPOSE_PROJECT_NAME=new)
    clean = ("clean", "--all", "--yes")
    with ExitStack() as after:
        after.callback(own.invoke, *clean, check=False)
        after.callback(own.invoke, *clean, "--lab", old, check=False)
        yield
        assert (len(own.images(old)), len(own.images(new))) == (2, 2)
        own.invoke(*clean, "--lab", old)
        assert (len(own.images(old)), len(own.images(new))) == (0, 2)


def mount(own: Owner, line: str) -> None:
    """A line in the volumes of the service jupyter."""
    after_line(own.compose_file, r"target: /lab/models, bind: \*bind", f"      - {{{line}}}\n")


@act
def extra_mount(own: Owner) -> Iterator[None]:
    folder = own.root.parent / "imagenet"
    append(folder / "classes.txt", "1000\n")
    mount(own, f"type: bind, source: {folder}, target: /lab/imagenet, read_only: true, bind: *bind")
    yield
    assert own.in_image("cat", "/lab/imagenet/classes.txt") == "1000"


@act
def second_notebooks(own: Owner) -> Iterator[None]:
    from web import client

    shutil.copytree(own.root / "notebooks", own.root / "papers")
    mount(own, 'type: bind, source: "${ROOT_DIR:-..}/papers", target: /lab/papers, bind: *bind')
    yield
    own.invoke("up")
    shown = client(own).call("/api/contents/papers")["content"]
    mine = {path.name for path in (own.root / "papers").iterdir()}
    assert {one["name"] for one in shown} == mine >= {"01-quickstart.ipynb"}


@act
def settings(own: Owner) -> Iterator[None]:
    ports = {name: str(int(own.env[name]) + 500) for name in ("JUPYTER_PORT", "TENSORBOARD_PORT")}
    own.set(**ports, SHM_SIZE="1g", TZ="Europe/Berlin")
    yield
    up = own.invoke("up").stdout
    assert all(f"http://127.0.0.1:{port}/" in up for port in ports.values()), up
    assert own.exec("df", "--output=size", "/dev/shm").stdout.split()[1] == str(2**20)
    assert own.exec("date", "+%Z").stdout.strip() in ("CET", "CEST")


SERVICE = """
  files:
    <<: *service
    image: ${COMPOSE_PROJECT_NAME}/tensorboard
    command: [python, -m, http.server, "8000", --directory, /lab/runs]
    ports: ["127.0.0.1:${FILES_PORT}:8000"]
    volumes:
      - {type: bind, source: "${ROOT_DIR:-..}/runs", target: /lab/runs, bind: *bind}
"""


# The last one: it ends with `clean --all`, and an act after it would have to build again.
@act
def own_service(own: Owner) -> Iterator[None]:
    from web import get

    port = int(own.env["TENSORBOARD_PORT"]) + 500
    append(own.root / ".env", f"\nFILES_PORT={port}\n")
    replace(own.compose_file, "\n\nvolumes:\n", f"\n{SERVICE}\nvolumes:\n")
    yield
    append(own.root / "runs" / "mine.txt", "a run\n")
    own.invoke("up")
    told = json.loads(own.invoke("status", "--json").stdout)["services"]["files"]
    assert (told["state"], told["url"]) == ("running", f"http://127.0.0.1:{port}/")
    assert told["url"] in own.invoke("url").stdout
    assert get(f"{told['url']}mine.txt") == (200, b"a run\n")
    assert "GET /mine.txt" in own.invoke("logs", "--service", "files").stdout
    shell = (sys.executable, "-m", "invoke", "shell", "--service", "files")
    assert "/lab/runs/mine.txt\n" in own.typed("ls /lab/runs/*.txt\n", *shell)
    own.invoke("clean", "--all", "--yes")
    assert own.left_over() == {}
    assert (own.root / "runs" / "mine.txt").read_text() == "a run\n"
