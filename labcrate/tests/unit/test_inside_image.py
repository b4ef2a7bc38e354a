"""What image/inside.py reads from an image: why an import fails, and what Debian has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

CAIRO = """\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
    import cairosvg
OSError: no library called "cairo-2" was found
no library called "cairo" was found
cannot load library 'libcairo-2.dll': libcairo-2.dll: cannot open shared object file
"""
SHOWN = """\
installed\tlibgl1,
installed\tlibglib2.0-0t64, libgio-2.0-0 (= 2.84.4), libglib2.0-0 (= 2.84.4)
config-files\told, gone
installed\tpython3, python3-any:any
"""


def answering(monkeypatch: pytest.MonkeyPatch, code: int = 0, **said: str) -> None:
    """Every process says this."""

    def run(argv: Any, **_options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, code, said.get("out", ""), said.get("err", ""))

    monkeypatch.setattr(subprocess, "run", run)


def test_a_distribution_with_a_plugin_of_the_board_is_found(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def entry_points(group: str) -> list[Any]:
        asked.append(group)
        return [SimpleNamespace(dist=SimpleNamespace(name="Torch_TB.Profiler"))]

    monkeypatch.setattr(inside.metadata, "entry_points", entry_points)
    assert inside.board_plugins() == {"torch-tb-profiler"}
    assert asked == ["tensorboard_plugins"]


def test_what_debian_provides_under_another_name_is_there(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, out=SHOWN)
    names = inside.debian_names()
    assert {"libgl1", "libglib2.0-0", "libglib2.0-0t64", "python3-any"} <= names
    assert not {"old", "gone", ""} & names


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (CAIRO, 'import cairosvg: OSError: no library called "cairo-2" was found'),
        ("Killed\n", "import cairosvg: Killed"),
        ("", "import cairosvg: exit code 1"),
        ("A\nx.y.OddError: b\n  more\n", "import cairosvg: x.y.OddError: b"),
    ],
)
def test_an_import_that_fails_is_told_in_one_line_and_kept_whole(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch, stderr: str, told: str
) -> None:
    monkeypatch.setattr(inside, "modules", lambda _: ["cairosvg"])
    answering(monkeypatch, code=1, err=stderr)
    first, _, printed = inside.import_error("cairosvg").partition("\n")
    assert (first, printed) == (told, stderr)
    answering(monkeypatch)
    assert inside.import_error("cairosvg") == ""


def test_kernels_of_a_server_that_does_not_answer_are_asked_themselves(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hung server must not be restarted over kernels that compute."""

    def ask(_path: str) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(inside, "ask_server", ask)
    monkeypatch.setattr(inside, "left_kernels", lambda: ["1a2b3c4d-5", "6e7f8a9b-0"])
    monkeypatch.setattr(inside, "is_busy", lambda kernel: kernel.startswith("1a"))
    monkeypatch.setattr(inside, "programs", list)
    found = inside.work()
    assert (found["busy"], found["idle"]) == (["kernel 1a2b3c4d"], ["kernel 6e7f8a9b"])
    assert found["unasked"] == "timed out"


def test_the_kernels_that_run_are_known_by_their_processes(inside: ModuleType) -> None:
    name = "/tmp/kernel-1a2b3c4d-aaaa.json"
    code = "import time; print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, "-f", name], stdout=subprocess.PIPE)
    try:
        assert child.stdout
        child.stdout.readline()
        assert "1a2b3c4d-aaaa" in inside.left_kernels()
    finally:
        child.kill()
        child.communicate()
    assert "1a2b3c4d-aaaa" not in inside.left_kernels()


def test_a_server_of_the_users_own_is_not_asked_for_the_labs(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And none that was killed: its note stays."""
    paths = ModuleType("jupyter_core.paths")
    paths.jupyter_runtime_dir = lambda: str(tmp_path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jupyter_core", ModuleType("jupyter_core"))
    monkeypatch.setitem(sys.modules, "jupyter_core.paths", paths)
    with pytest.raises(OSError, match="has not started"):
        inside.ask_server("api")
    asked: list[Any] = []

    class Connection:
        def __init__(self, _host: str, port: int, **_: Any) -> None:
            asked.append(port)

        def request(self, _verb: str, path: str, headers: dict[str, str]) -> None:
            asked.append((path, headers["Authorization"]))

        def getresponse(self) -> Any:
            return SimpleNamespace(status=200, read=lambda: b"[]")

    monkeypatch.setattr(inside.http.client, "HTTPConnection", Connection)
    for number, (port, pid) in enumerate(((9999, os.getpid()), (8888, os.getpid()), (8888, 2**30))):
        note = {"port": port, "pid": pid, "token": f"t{number}", "base_url": "/x/"}
        (tmp_path / f"jpserver-{number}.json").write_text(json.dumps(note))
    assert inside.ask_server("api") == []
    assert asked == [8888, ("/x/api", "token t1")]


LOCKED = """# Made by the tasks
held==1 \\
    --hash=sha256:aa
bare==2
mine @ file:///tmp/docker/local/mine.whl
"""


def test_a_lock_that_lost_a_hash_gets_it_again(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is exact is not asked for a second time."""
    asked: list[str] = []

    def uv(verb: str, *rest: str, cwd: Path) -> tuple[int, str, str]:  # noqa: ARG001
        if verb == "install":
            return 0, "", " + bare==2\n + held==1\n + mine @ file:///tmp/docker/local/mine.whl\n"
        asked.append((tmp_path / "wanted.txt").read_text())
        return 0, "bare==2 \\\n    --hash=sha256:bb\n", ""

    (tmp_path / "packages.lock").write_text(LOCKED)
    monkeypatch.setattr(inside, "uv", uv)
    inside.resolve(tmp_path, tmp_path)
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert asked == ["bare==2\n"]
    assert answer["lock"].splitlines() == [
        "bare==2 \\",
        "    --hash=sha256:bb",
        "held==1 \\",
        "    --hash=sha256:aa",
        "mine @ file:///tmp/docker/local/mine.whl",
    ]


def test_a_file_for_which_the_index_has_no_hash_is_marked_and_asked_for_again(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A directory of wheels is an index, too; and it may give one tomorrow."""
    marked = "plain==1  # its index gives no hash"
    answers = ["plain==1\n", "plain==1\n", "plain==1 \\\n    --hash=sha256:cc\n"]

    def uv(verb: str, *rest: str, cwd: Path) -> tuple[int, str, str]:  # noqa: ARG001
        return (0, "", " + plain==1\n") if verb == "install" else (0, answers.pop(0), "")

    monkeypatch.setattr(inside, "uv", uv)
    (tmp_path / "packages.lock").write_text("")
    for wanted in (marked, marked, "plain==1 \\\n    --hash=sha256:cc"):
        inside.resolve(tmp_path, tmp_path)
        lock = json.loads((tmp_path / "answer.json").read_text())["lock"]
        assert lock == f"{wanted}\n"
        (tmp_path / "packages.lock").write_text(lock)
    assert answers == []
