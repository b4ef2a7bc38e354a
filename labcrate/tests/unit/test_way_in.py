"""The way to the lab from another machine, and `open` where there is no screen."""

from __future__ import annotations

import sys
import webbrowser

import pytest
from task_lab import TaskLab, context

from labcrate import environment
from labcrate.clone.env_file import read_env
from labcrate.clone.place import Clone
from labcrate.lab import way_in
from labcrate.lab.way_in import has_screen, ways_in
from labcrate.tasks.showing import open_, url
from labcrate.tasks.starting import up

LINKS = {"jupyter": "http://127.0.0.1:8888/lab?token=x", "tensorboard": "http://[::1]:6006/"}
BY_SSH = "198.51.100.7 50022 203.0.113.5 22"


@pytest.fixture
def server(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody came in by ssh, and stands in a clone that is in his home."""
    monkeypatch.chdir(clone.root)
    monkeypatch.setenv("HOME", str(clone.root.parent))
    monkeypatch.setenv("SSH_CONNECTION", BY_SSH)
    monkeypatch.setattr(environment, "user_name", lambda: "ada")
    monkeypatch.setattr(way_in.platform, "node", lambda: "gpu")


@pytest.mark.usefixtures("server")
def test_the_ready_line_has_all_ports_and_who_is_here() -> None:
    assert ways_in(LINKS) == [
        ("laptop", "ssh -N -L 8888:127.0.0.1:8888 -L 6006:[::1]:6006 ada@203.0.113.5"),
        ("", "(type it there; or in a clone there: invoke tunnel ada@203.0.113.5:clone)"),
    ]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("told", "ssh", "typed"),
    [
        ("::1 5 2001:db8::5 22", " ada@2001:db8::5", " 'ada@[2001:db8::5]:clone')"),
        ("x 5 203.0.113.5 2222", " -p 2222 ada@203.0.113.5", " ada@203.0.113.5:clone --port 2222)"),
        ("127.0.0.1 5 127.0.0.1 22", " ada@gpu", " ada@gpu:clone)"),
    ],
)
def test_addresses_and_ports_of_every_kind(
    monkeypatch: pytest.MonkeyPatch, told: str, ssh: str, typed: str
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", told)
    (_, line), (_, other) = ways_in(LINKS)
    assert (line.endswith(ssh), other.endswith(typed)) == (True, True), (line, other)


@pytest.mark.usefixtures("server")
def test_what_other_machines_reach_needs_no_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ways_in({"jupyter": "http://203.0.113.5:8888/lab"}) == []
    monkeypatch.delenv("SSH_CONNECTION")
    assert ways_in(LINKS) == []


def test_up_and_url_say_it_in_a_session_by_ssh_alone(
    task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (url, up):
        verb(context())
        assert "ssh -N" not in capsys.readouterr().out
    monkeypatch.setenv("SSH_CONNECTION", BY_SSH)
    ports = [f"-L {task_lab.ports[x]}:127.0.0.1:{task_lab.ports[x]}" for x in task_lab.containers]
    for verb in (url, up):
        verb(context())
        lines = [line for line in capsys.readouterr().out.splitlines() if "ssh -N" in line]
        assert len(lines) == 1
        assert [port for port in ports if port not in lines[0]] == []


@pytest.mark.parametrize("name", ["", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY"])
def test_what_has_a_screen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    screens = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    for one in screens:
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    if name:
        monkeypatch.setenv(name, "x")
    assert has_screen() is bool(name)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert has_screen()


@pytest.mark.parametrize("display", ["", ":0"])
def test_open_without_a_browser_prints_the_links(
    task_lab: TaskLab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    display: str,
) -> None:
    """No screen, or a screen and no browser that can be started."""
    tried: list[str] = []
    for name in ("BROWSER", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", display)

    def no_browser(page: str) -> bool:
        tried.append(page)
        return False

    monkeypatch.setattr(webbrowser, "open", no_browser)
    open_(context())
    assert bool(tried) is bool(display)
    said = capsys.readouterr().out
    assert f"lab?token={read_env(task_lab.clone.env_file)['JUPYTER_TOKEN']}" in said
    assert f":{task_lab.ports['tensorboard']}/" in said
