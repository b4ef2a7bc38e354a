"""A lab on another machine: the place that is named, what ssh says, and the ports here."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from double import Double
from task_lab import TaskLab, answers, context, failed

from labcrate import environment
from labcrate.clone.env_file import read_env
from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.lab import tunnel as room
from labcrate.lab.far_lab import (
    NO_CLONE,
    NO_FOLDER,
    NO_TOOLS,
    Place,
    ask_far_lab,
    far_folder,
    parse_answer,
    parse_place,
)
from labcrate.lab.tunnel import Forward, Tunnel, choose_forwards, listens
from labcrate.tasks import tunnel as tasks_room
from labcrate.tasks.showing import url
from labcrate.tasks.tunnel import announce_here, tunnel

THERE = Place(login="ada@gpu", folder="my-lab")
TOKEN = "t" * 48
LINKS = {"jupyter": f"http://127.0.0.1:8888/lab?token={TOKEN}", "tensorboard": "http://[::1]:6006/"}
CHANGED = """WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!
Host key for gpu has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.fixture
def laptop(clone: Clone, double: Double, monkeypatch: pytest.MonkeyPatch) -> Double:
    """A clone without .env, on a machine that has ssh and no docker."""
    monkeypatch.chdir(clone.root)
    monkeypatch.setattr(
        environment, "command_path", lambda name: f"/x/{name}" if name == "ssh" else None
    )
    return double


def far(double: Double, *, up: bool = True) -> None:
    """A lab over there that answers."""
    said = {"project": "lab-1", "up": up, "links": LINKS}
    double.expect("ssh", "-T", stdout=f"Welcome!\n{json.dumps(said)}\n")


@pytest.fixture
def free_ports(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ports of this machine that are taken; no other one is asked for."""
    taken: set[int] = set()
    monkeypatch.setattr(
        room,
        "free_port",
        lambda first, own: next(
            port for port in range(first, first + 9) if port not in taken | own
        ),
    )
    return taken


@pytest.mark.parametrize(
    ("typed", "login", "folder"),
    [
        ("ada@gpu", "ada@gpu", "HERE"),
        ("gpu", "gpu", "HERE"),
        ("gpu:", "gpu", "HERE"),
        ("ada@gpu:work/lab", "ada@gpu", "work/lab"),
        ("ada@gpu:/srv/lab", "ada@gpu", "/srv/lab"),
        ("ada@gpu:~/my lab's", "ada@gpu", "my lab's"),
        ("ada@gpu:~", "ada@gpu", "."),
        ("ada@uni.org@gpu:x", "ada@uni.org@gpu", "x"),
        ("ada@[2001:db8::5]:x", "ada@2001:db8::5", "x"),
    ],
)
def test_the_place_that_is_typed(clone: Clone, typed: str, login: str, folder: str) -> None:
    place = parse_place(typed, clone)
    assert (place.login, place.folder.replace(str(clone.root), "HERE")) == (login, folder)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "@gpu",
        "-oProxyCommand=id",
        "ada@-oProxyCommand=id",
        "-l@gpu",
        "a b",
        "ssh://gpu",
        "x:a\nb",
    ],
)
def test_what_names_no_machine_is_refused_before_ssh_sees_it(clone: Clone, typed: str) -> None:
    with pytest.raises(LabError) as caught:
        parse_place(typed, clone)
    assert caught.value.code is Code.SETTINGS


@pytest.mark.parametrize("port", ["0", "65536", "ssh", "-1", "²"])
def test_a_port_that_is_none(clone: Clone, port: str) -> None:
    with pytest.raises(LabError, match="is no port"):
        parse_place("gpu", clone, port)


def test_the_same_folder_is_meant_from_another_home(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(clone.root.parent))
    assert far_folder("", clone) == "clone"
    monkeypatch.setenv("HOME", str(clone.root / "elsewhere"))
    assert far_folder("", clone) == str(clone.root)


def far_clone(folder: Path) -> Path:
    """A clone as the machine over there has it; its Python prints where and how it was called."""
    (folder / "compose").mkdir(parents=True)
    (folder / "compose" / "compose.yaml").touch()
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\npwd\necho "$@" "$SSH_CONNECTION"\n')
    python.chmod(0o755)
    return folder


def as_sshd(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The shell of the account gets the command as one text, and starts in its home."""
    environ = {"PATH": "/usr/bin:/bin", "SSH_CONNECTION": "1"}
    return subprocess.run(
        ["sh", "-c", command], cwd=home, env=environ, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["my lab", "it's", 'a"b', "$HOME;x", "-x", "tést (1)"])
def test_any_folder_survives_two_shells(tmp_path: Path, name: str) -> None:
    folder = far_clone(tmp_path / name)
    place = Place(login="gpu", folder=name)
    done = as_sshd(place.ssh("-T", script=place.invoke("url", "--json"))[-1], tmp_path)
    assert done.stdout == f"{folder}\n-m invoke url --json \n"


@pytest.mark.parametrize(
    ("lost", "returncode"),
    [(".", NO_FOLDER), ("compose/compose.yaml", NO_CLONE), (".venv/bin/python", NO_TOOLS)],
)
def test_what_is_missing_over_there_is_told_apart(
    tmp_path: Path, lost: str, returncode: int
) -> None:
    folder = far_clone(tmp_path / "lab")
    (folder / lost).rename(tmp_path / "away")
    place = Place(login="gpu", folder=str(folder))
    done = as_sshd(place.ssh(script=place.invoke("up"))[-1], tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (returncode, "")


def test_the_question_names_no_token_and_the_answer_may_have_a_greeting(laptop: Double) -> None:
    far(laptop)
    found = ask_far_lab(Place(login="ada@gpu", folder="my-lab", port="2222"))
    assert (found.up, found.links) == (True, LINKS)
    (argv,) = laptop.calls
    assert argv[-4:-1] == ("-p", "2222", "ada@gpu")
    assert TOKEN not in " ".join(argv)


@pytest.mark.parametrize("said", ["", "[1]", '{"links": []}', "Welcome!\n{"])
def test_what_is_no_answer(said: str) -> None:
    assert parse_answer(said) is None


@pytest.mark.parametrize(
    ("returncode", "stderr", "code", "words"),
    [
        (91, "", Code.FOLDER, ("there is no folder 'my-lab' on ada@gpu", "ada@gpu:FOLDER")),
        (92, "", Code.FOLDER, ("there is no lab in the folder 'my-lab'", "ada@gpu:FOLDER")),
        (93, "", Code.TUNNEL, ("has no .venv", "ssh ada@gpu -t 'cd my-lab && python3 bootstrap")),
        (124, "", Code.TUNNEL, ("did not answer within 120 s", "ssh ada@gpu")),
        (11, "error: there is no .env\n", Code.TUNNEL, ("there is no .env", "ssh ada@gpu")),
        (1, "No idea what '--json' is!", Code.TUNNEL, ("--json", "update the lab there")),
        (0, "", Code.TUNNEL, ("gives no links", "ssh ada@gpu")),
        (255, "strange", Code.TUNNEL, ("ssh to ada@gpu failed", "why: strange")),
        (255, "", Code.TUNNEL, ("ssh to ada@gpu failed", "by hand: ssh ada@gpu")),
        (255, CHANGED, Code.TUNNEL, ("has another key than before", "ssh-keygen -R 'gpu'")),
        (255, "Host key verification failed.", Code.TUNNEL, ("does not know", "log in once")),
        (255, "x: Permission denied (publickey).", Code.TUNNEL, ("refuses the login", "ssh-copy")),
        (255, "ssh: Could not resolve hostname gpu: x", Code.TUNNEL, ("by the name gpu", "VPN")),
        (255, "ssh: connect to host gpu port 22: x", Code.TUNNEL, ("no sshd answers", "--port")),
    ],
)
def test_each_failure_has_words_of_its_own(
    laptop: Double, returncode: int, stderr: str, code: Code, words: tuple[str, ...]
) -> None:
    laptop.expect("ssh", "-T", returncode=returncode, stderr=stderr)
    found, message = failed(tunnel, machine=("ada@gpu:my-lab",))
    assert found == code
    assert [word for word in words if word not in message] == []


def test_a_machine_without_ssh(laptop: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "command_path", lambda _: None)
    code, message = failed(tunnel, machine=("gpu",))
    assert (code, "openssh-client" in message) == (Code.TUNNEL, True)
    assert laptop.calls == []


@pytest.mark.usefixtures("laptop")
@pytest.mark.parametrize("machine", [(), ("one", "two")])
def test_it_takes_one_machine(machine: tuple[str, ...]) -> None:
    assert failed(tunnel, machine=machine)[0] == Code.SETTINGS


def test_a_lab_that_is_down_is_started_with_up_alone(
    laptop: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    far(laptop, up=False)
    code, message = failed(tunnel, machine=("gpu:it's x",), port="22")
    assert code == Code.NOT_UP
    fix = message.partition("fix: ")[2].partition(" (")[0]
    assert shlex.split(fix) == ["invoke", "tunnel", "gpu:it's x", "--port", "22", "--up"]
    assert len(laptop.calls) == 1
    laptop.expect("ssh", "-T", "gpu", starts("gpu:x"), returncode=31)
    assert failed(tunnel, machine=("gpu:x",), up=True)[0] == Code.UNHEALTHY
    answers(monkeypatch, None)
    laptop.expect("ssh", "-t", "gpu", starts("gpu:x"), returncode=255)
    code, message = failed(tunnel, machine=("gpu:x",), up=True)
    assert (code, "ended before the lab there was up" in message) == (Code.TUNNEL, True)


def starts(typed: str) -> str:
    """The last word of the ssh that starts a lab."""
    login, _, folder = typed.partition(":")
    place = Place(login=login, folder=folder)
    return place.ssh(script=place.invoke("up"))[-1]


def test_up_goes_first_and_then_the_links_are_asked_for(
    laptop: Double, free_ports: set[int]
) -> None:
    far(laptop)
    laptop.expect("ssh", "-T", starts("gpu:x"))
    laptop.expect("ssh", "-N", returncode=255)
    assert not free_ports
    failed(tunnel, machine=("gpu:x",), up=True)
    scripts = [shlex.split(argv[-1])[-1].rpartition("invoke ")[2] for argv in laptop.calls[:3]]
    assert scripts == ["url --json", "up", "url --json"]


def test_ports_keep_their_numbers_where_they_are_free(free_ports: set[int]) -> None:
    free_ports.add(8888)
    found = choose_forwards({**LINKS, "more": "http://127.0.0.1:8889/", "none": "http://x/"})
    assert {name: one.flags[1] for name, one in found.items()} == {
        "jupyter": "127.0.0.1:8889:127.0.0.1:8888",
        "tensorboard": "127.0.0.1:6006:[::1]:6006",
        "more": "127.0.0.1:8890:127.0.0.1:8889",
    }
    assert found["jupyter"].link == f"http://127.0.0.1:8889/lab?token={TOKEN}"


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield int(made.getsockname()[1])


def test_what_listens(listening: int) -> None:
    assert listens(listening)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert not listens(silent.getsockname()[1])


@pytest.fixture
def held(laptop: Double, free_ports: set[int], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A lab over there, and an ssh that ends once the links were printed."""
    assert not free_ports
    far(laptop)
    printed = threading.Event()

    def announce(forwards: Mapping[str, Forward]) -> None:
        announce_here(forwards)
        printed.set()

    def wait(_argv: Sequence[str], _stdin: str | None) -> None:
        assert printed.wait(20)

    monkeypatch.setattr(tasks_room, "announce_here", announce)
    monkeypatch.setattr(room, "listens", lambda _: True)
    laptop.expect("ssh", "-N", returncode=255, stderr="Connection closed.\n", does=wait)
    return printed


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("terminal", [True, False])
def test_the_links_work_here_and_a_terminal_alone_gets_the_token(
    laptop: Double,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    monkeypatch.setattr(environment, "is_read_at_once", lambda: terminal)
    code, message = failed(tunnel, machine=("gpu:x",))
    assert (code, "the tunnel to gpu was cut" in message) == (Code.TUNNEL, True)
    assert "why: Connection closed." in message
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("$ ssh ")
    rows = [line.split() for line in lines[1:4]]
    assert rows[0] == ["jupyter", "http://127.0.0.1:8888/lab" + f"?token={TOKEN}" * terminal]
    assert rows[1] == ["tensorboard", "http://127.0.0.1:6006/"]
    assert ("without the token" in lines[3]) is not terminal
    assert not [argv for argv in laptop.calls if TOKEN in " ".join(argv)]


@pytest.mark.usefixtures("held")
def test_ctrl_c_is_its_ordinary_end(laptop: Double) -> None:
    def interrupt(_argv: Sequence[str], _stdin: str | None) -> None:
        raise KeyboardInterrupt

    laptop.expect("ssh", "-N", does=interrupt)
    code, message = failed(tunnel, machine=("gpu:x",))
    assert (code, message) == (Code.INTERRUPTED, "the tunnel is closed; the lab over there runs on")


@pytest.mark.usefixtures("free_ports")
def test_a_tunnel_that_was_never_open_says_why_once(
    laptop: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    far(laptop)
    laptop.expect("ssh", "-N", returncode=255, stderr="x: Permission denied (publickey).\n")
    code, message = failed(tunnel, machine=("gpu:x",))
    assert (code, "refuses the login" in message) == (Code.TUNNEL, True)
    assert "Permission denied" not in capsys.readouterr().out


def test_what_ssh_says_again_and_again_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    made = Tunnel(place=THERE, forwards=(), is_open=True)
    for number in (2, 3, 4):
        made.hear(f"channel {number}: open failed: connect failed: Connection refused")
    made.hear("channel 5: open failed: administratively prohibited: open failed")
    made.hear("a greeting\x1b[2J")
    said = capsys.readouterr().out.splitlines()
    assert ["does not answer over there" in said[0], "AllowTcpForwarding" in said[1]] == [True] * 2
    assert said[2] == "a greeting\N{REPLACEMENT CHARACTER}[2J"
    assert len(said) == 3


@pytest.mark.usefixtures("free_ports")
def test_a_dry_run_shows_the_tunnel_and_opens_none(
    laptop: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    far(laptop, up=False)
    tunnel(context(dry=True), machine=("gpu:x",), up=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["$", "ssh"]] * 2
    assert "-L 127.0.0.1:8888:127.0.0.1:8888" in lines[1]
    assert {argv[5] for argv in laptop.calls} == {"-T"}


def test_url_answers_a_program_with_the_names_that_are_asked_for(
    task_lab: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    url(context(), json_=True)
    found = parse_answer(capsys.readouterr().out)
    assert found
    assert found.up
    token = read_env(task_lab.clone.env_file)["JUPYTER_TOKEN"]
    assert found.links["jupyter"].endswith(f":{task_lab.ports['jupyter']}/lab?token={token}")
    task_lab.containers["jupyter"] = {"health": "unhealthy"}
    url(context(), json_=True)
    assert json.loads(capsys.readouterr().out)["up"] is False
