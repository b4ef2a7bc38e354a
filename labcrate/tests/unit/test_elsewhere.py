"""An engine on another machine: known without asking it, refused where it does not see the clone,
and never taken for this machine's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from double import Double
from task_lab import TaskLab, context, failed
from test_install import engine_answers, no, programs, yes

from labcrate import process
from labcrate.clone.place import Clone
from labcrate.engine import install
from labcrate.engine.endpoint import endpoint, leads_away, login_of, machine_of
from labcrate.engine.engine import find_engine
from labcrate.engine.install import ensure_engine
from labcrate.engine.sight import refuse_unseen
from labcrate.errors import Code, LabError
from labcrate.lab import own_ports
from labcrate.lab import snapshot as snapshot_room
from labcrate.lab.compose import Port
from labcrate.lab.containers import Container
from labcrate.lab.jupyter import token_opens
from labcrate.lab.snapshot import taken_ports
from labcrate.lab.way_in import ways_in
from labcrate.tasks.base import read_lab
from labcrate.tasks.showing import open_, status, url
from labcrate.tasks.starting import build, down, up

__all__ = ["programs"]
"""A fixture."""

FAR = "ssh://ada@gpu:2222"
MISSING = "Error response from daemon: invalid mount config: bind source path does not exist: /x"


def choose(folder: Path, name: str, host: str) -> None:
    """A context as Docker's client keeps it, chosen."""
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    told = {"Name": name, "Endpoints": {"docker": {"Host": host}}}
    (meta / "meta.json").write_text(json.dumps(told))
    (folder / "config.json").write_text(json.dumps({"currentContext": name}))


def test_where_the_engine_is_as_dockers_client_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert endpoint() == ""
    choose(tmp_path, "lab", "ssh://gpu")
    assert endpoint() == "ssh://gpu"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert endpoint() == ""
    monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    assert endpoint() == "ssh://gpu"
    monkeypatch.setenv("DOCKER_HOST", "unix:///x.sock")
    assert endpoint() == "unix:///x.sock"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"currentContext": "gone"}', '{"Endpoints": 1}'])
def test_damaged_files_of_the_client_name_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(text)
    assert endpoint() == ""
    choose(tmp_path, "lab", "ssh://gpu")
    next(tmp_path.glob("contexts/meta/*/meta.json")).write_text(text)
    assert endpoint() == ""


@pytest.mark.parametrize(
    ("address", "away", "machine", "login"),
    [
        ("", False, "", ""),
        ("unix:///run/user/1000/docker.sock", False, "", ""),
        ("npipe:////./pipe/docker_engine", False, "", ""),
        ("ssh://gpu", True, "gpu", "gpu"),
        (FAR, True, "gpu", "-p 2222 ada@gpu"),
        ("tcp://192.0.2.5:2376", True, "192.0.2.5", "192.0.2.5"),
        ("tcp://[2001:db8::5]:2376", True, "2001:db8::5", "2001:db8::5"),
        ("tcp://127.0.0.1:2375", True, "", "127.0.0.1"),
        ("ssh://localhost", True, "", "localhost"),
    ],
)
def test_which_machine_an_address_means(address: str, away: bool, machine: str, login: str) -> None:
    assert (leads_away(address), machine_of(address)) == (away, machine)
    if away:
        assert login_of(address) == login


def sees(double: Double, clone: Clone, *, well: bool = True) -> None:
    """An engine elsewhere that reads the clone's folder; or another file at the same path."""
    engine_answers(double)
    double.expect("docker", "import", stdout="sha256:empty\n")
    double.expect("docker", "create", stdout="box\n")
    double.expect("docker", "rm")
    double.expect("docker", "image", "rm")

    def read(argv: Sequence[str], _stdin: str | None) -> None:
        name = next(word for word in argv if word.startswith("box:")).rpartition("/")[2]
        text = (clone.state / name).read_text() if well else "another"
        copied.result = replace(copied.result, stdout=f"{name}\0\0{text}\0\0")

    double.expect("docker", "cp", does=read)
    copied = double.expected[0]


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, programs: set[str], clone: Clone) -> Clone:
    """A clone whose user has chosen an engine on another machine."""
    assert programs
    monkeypatch.setenv("DOCKER_HOST", FAR)
    monkeypatch.chdir(clone.root)
    return clone


@pytest.mark.parametrize("host", ["", "unix:///x.sock"])
def test_a_socket_costs_no_process(
    clone: Clone, double: Double, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    refuse_unseen(clone)
    assert double.calls == []


def test_the_same_folder_over_there_is_seen_and_nothing_stays(far: Clone, double: Double) -> None:
    sees(double, far)
    refuse_unseen(far)
    (made,) = double.called("docker", "create")
    assert f"type=bind,source={far.state},target=/clone,readonly" in made
    assert "sha256:empty" in made
    assert not double.called("docker", "start")
    assert not double.called("docker", "pull")
    assert double.called("docker", "rm", "--volumes", "box")
    assert double.called("docker", "image", "rm", "sha256:empty")
    assert list(far.state.iterdir()) == []


def test_another_folder_at_the_same_path_is_not_this_clone(far: Clone, double: Double) -> None:
    sees(double, far, well=False)
    with pytest.raises(LabError) as caught:
        refuse_unseen(far)
    assert caught.value.code is Code.ENGINE_ELSEWHERE
    assert "ssh -p 2222 ada@gpu" in caught.value.fix
    assert "invoke tunnel" in caught.value.fix
    assert caught.value.fix.endswith("unset DOCKER_HOST")
    assert list(far.state.iterdir()) == []


@pytest.mark.parametrize("step", ["import", "create", "cp"])
def test_whatever_the_engine_refuses_is_no_yes(far: Clone, double: Double, step: str) -> None:
    sees(double, far)
    double.expect("docker", step, returncode=1, stderr=MISSING)
    with pytest.raises(LabError) as caught:
        refuse_unseen(far)
    assert caught.value.why == MISSING
    assert bool(double.called("docker", "rm", "box")) is (step == "cp")
    assert bool(double.called("docker", "image", "rm")) is (step != "import")


def test_setup_installs_nothing_here_and_is_not_ready(far: Clone, double: Double) -> None:
    sees(double, far, well=False)
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert caught.value.code is Code.ENGINE_ELSEWHERE
    assert not double.called("apt-get")


def test_setup_leaves_this_machines_packages_alone(
    far: Clone, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pin of an older version is about the engine of this machine."""
    sees(double, far)
    monkeypatch.setattr(install, "renew_pin", lambda _: pytest.fail("it looked at the pin"))
    assert ensure_engine(no).remote


def test_an_engine_that_does_not_answer_is_said_as_such(far: Clone, double: Double) -> None:
    engine_answers(double, returncode=1, stderr="ssh: connect to host gpu port 2222: refused")
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert (caught.value.code, list(far.state.iterdir())) == (Code.ENGINE_DOWN, [])


def test_setup_does_not_send_to_itself_where_the_client_is_missing(
    far: Clone, programs: set[str]
) -> None:
    assert far
    programs.remove("docker")
    with pytest.raises(LabError) as caught:
        ensure_engine(yes)
    assert caught.value.code is Code.ENGINE_MISSING
    assert caught.value.fix.startswith("install Docker's client")
    with pytest.raises(LabError, match="its engine is at ssh://"):
        find_engine()


def test_a_dry_run_asks_no_engine_to_look(far: Clone, double: Double) -> None:
    with process.in_mode(process.Mode(dry=True)):
        refuse_unseen(far)
    assert double.calls == []


@pytest.fixture
def away(task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch) -> TaskLab:
    """The lab, up on another machine, whose ports nobody may look for here."""
    monkeypatch.setenv("DOCKER_HOST", FAR)
    monkeypatch.setattr(snapshot_room, "port_is_free", lambda *_: pytest.fail("a port of here"))
    return task_lab


@pytest.mark.parametrize("verb", [build, up])
def test_nothing_is_built_for_an_engine_that_does_not_see_the_clone(
    away: TaskLab, verb: object
) -> None:
    sees(away.double, away.clone, well=False)
    assert failed(verb)[0] == Code.ENGINE_ELSEWHERE
    assert not away.double.called("docker", "buildx")
    assert not away.double.called("docker", "compose")


def test_what_takes_away_needs_no_look(away: TaskLab) -> None:
    away.answer("docker", "compose", "down", told=lambda: "")
    down(context(), force=True)
    assert not away.double.called("docker", "import")


def test_up_works_where_both_have_the_clone_and_offers_the_tunnel(
    away: TaskLab, capsys: pytest.CaptureFixture[str]
) -> None:
    sees(away.double, away.clone)
    away.answer("docker", "info", told=lambda: away.info)
    up(context())
    said = capsys.readouterr().out
    assert "already up; nothing was touched" in said
    assert all(f"-L {port}:127.0.0.1:{port}" in said for port in away.ports.values())
    assert "-p 2222 ada@gpu" in said


@pytest.mark.parametrize("verb", [url, status, open_])
def test_whoever_shows_addresses_of_that_machine_shows_the_way(
    away: TaskLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: object
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    assert away
    verb(context())  # type: ignore[operator]
    said = capsys.readouterr().out
    assert "  tunnel       ssh -N -L " in said
    assert "the engine is on gpu" in said


def test_what_is_published_for_all_is_named_by_the_machine(
    away: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = [{"host_ip": "0.0.0.0", "published": "8888"}]
    monkeypatch.setattr(away, "published", lambda _: everywhere)
    links = read_lab().links("x")
    assert links["jupyter"] == "http://gpu:8888/lab?token=x"
    assert ways_in(links) == []
    monkeypatch.setenv("DOCKER_HOST", "unix:///x.sock")
    assert read_lab().links("x")["jupyter"] == "http://127.0.0.1:8888/lab?token=x"


def test_neither_ports_nor_the_token_are_tried_here(away: TaskLab) -> None:
    """Another program of this machine may have the port, and would get the token."""
    now = read_lab()
    assert list(taken_ports(replace(now, everyone=()))) == []
    away.set(JUPYTER_TOKEN="u" * 48)
    assert token_opens(read_lab())


def test_a_port_of_another_container_there_is_chosen_anew_by_what_is_there(
    away: TaskLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_ports, "free_port", lambda *_: pytest.fail("a port of here"))
    number = away.ports["jupyter"]
    others = [
        Container(id=str(n), name=f"c{n}", ports=(n,), project="other")
        for n in (number, number + 1)
    ]
    now = replace(read_lab(), everyone=tuple(others))
    taken = {number, number + 2}
    assert own_ports.next_port(now, Port(address="127.0.0.1", number=number), taken) == number + 3
