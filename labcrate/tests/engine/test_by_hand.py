"""What people do to the containers and images by hand, and what `up` makes of it."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterator

import pytest
from clone import Lab, said
from web import client, get


def wait_for(lab: Lab, form: str, wanted: str, service: str = "jupyter") -> None:
    """Until the engine says this of a container."""
    for _ in range(360):
        ident = lab.container(service)
        now = lab.docker("inspect", "--format", form, ident).stdout.strip()
        if wanted in now:
            return
        time.sleep(0.5)
    raise AssertionError(f"{service}: {form} is {now!r} and never {wanted!r}")


def pause(lab: Lab, ident: str) -> None:
    """On a busy machine the engine may give up before all processes stand still."""
    for _ in range(5):
        done = lab.docker("pause", ident)
        if done.returncode == 0:
            return
    raise AssertionError(said(done))


def test_a_service_that_was_stopped_is_started_and_that_is_said(up_lab: Lab) -> None:
    up_lab.docker("stop", up_lab.container("tensorboard"))
    told = up_lab.invoke("up").stdout
    assert "nothing was touched" not in told
    assert get(f"{up_lab.tensorboard}/data/runs")[0] == 200
    assert "nothing was touched" in up_lab.invoke("up").stdout


def test_a_paused_jupyterlab_goes_on_with_its_kernels(up_lab: Lab) -> None:
    """For so long that the engine calls it unhealthy."""
    ident, kernel = up_lab.container(), client(up_lab).kernel()
    kernel.run("x = 7")
    pause(up_lab, ident)
    assert "paused by hand" in up_lab.invoke("doctor", "--json", check=False).stdout
    wait_for(up_lab, "{{.State.Health.Status}}", "unhealthy")
    told = up_lab.invoke("up").stdout
    assert "Paused by hand, goes on: jupyter." in told
    assert "Restarting" not in told
    assert up_lab.container() == ident
    assert kernel.run("print(x)") == "7\n"
    kernel.close()


def test_a_paused_lab_comes_down(up_lab: Lab) -> None:
    pause(up_lab, up_lab.container())
    up_lab.invoke("down")
    assert up_lab.container() == ""


def test_a_hung_jupyterlab_is_restarted(up_lab: Lab) -> None:
    """It is there, keeps its port, and answers nobody."""
    ident = up_lab.container()
    note = "json.load(open(glob.glob('/tmp/jupyter-runtime/jpserver-*.json')[0]))"
    stop = f"import glob, json, os, signal; os.kill({note}['pid'], signal.SIGSTOP)"
    assert up_lab.exec("python", "-I", "-c", stop).returncode == 0
    wait_for(up_lab, "{{.State.Health.Status}}", "unhealthy")
    told = up_lab.invoke("up").stdout
    assert "Restarting jupyter: it runs and does not answer." in told
    assert up_lab.container() == ident
    assert get(f"{up_lab.jupyter}/api")[0] == 200


@pytest.fixture
def given_away(up_lab: Lab) -> Iterator[Lab]:
    """The home volume and a folder belong to another user, as after a changed LAB_UID."""
    home = f"{up_lab.project}_home:/home/lab"
    run = ("run", "--rm", "--user", "0", "--volume", home, f"{up_lab.project}/jupyter")
    up_lab.docker(*run, "chown", "77:77", "/home/lab")
    folder, before = up_lab.root / "runs", (up_lab.root / "runs").stat()
    os.chown(folder, 77, 77)
    yield up_lab
    os.chown(folder, before.st_uid, before.st_gid)


def test_what_cannot_be_written_is_said_with_a_fix_that_works(given_away: Lab) -> None:
    lab = given_away
    wait_for(lab, "{{json .State.Health.Log}}", "cannot_write")
    assert "cannot write in /home/lab, /lab/runs" in lab.invoke("up").stdout
    found = json.loads(lab.invoke("doctor", "--json", check=False).stdout)
    fixes = [one["fix"] for one in found if one["check"] in ("writable", "folders")]
    assert len(fixes) == 2, found
    for fix in fixes:
        done = lab.command(tuple(shlex.split(fix.removeprefix("sudo "))))
        assert done.returncode == 0, said(done)
    wait_for(lab, "{{json (index .State.Health.Log 4)}}", '"Output":""')
    assert "cannot write" not in lab.invoke("up").stdout


def test_other_names_for_the_labs_image_break_nothing(up_lab: Lab) -> None:
    image, other = f"{up_lab.project}/jupyter", f"{up_lab.project}-kept:1"
    board = up_lab.docker("inspect", "--format", "{{.Image}}", up_lab.container("tensorboard"))
    up_lab.docker("tag", image, other)
    try:
        told = json.loads(up_lab.invoke("doctor", "--json", check=False).stdout)
        assert [one for one in told if one["check"] in ("images", "health")] == []
        up_lab.docker("tag", board.stdout.strip(), image)
        told = json.loads(up_lab.invoke("doctor", "--json", check=False).stdout)
        assert [one["fix"] for one in told if one["check"] == "images"] == ["invoke up"]
        assert not [one for one in told if "could not look" in one["problem"]]
    finally:
        up_lab.docker("tag", other, image)
        up_lab.docker("image", "rm", other)
