"""cluster: a lab on two hosts, whose engines and whose Ray the double plays."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from typing import Any

import pytest
from task_lab import INFO, PROJECT, TaskLab, context, failed

from labcrate.cluster import jobs, joining
from labcrate.cluster.inventory import EXAMPLE
from labcrate.cluster.push import PIPE, THIN
from labcrate.errors import Code
from labcrate.tasks.cluster import cluster

HEAD, OTHER = "192.168.1.10", "192.168.1.11"
NODE = f"{PROJECT}-cluster-node-1"
IMAGE = '2026-11-26T00:00:00Z ["sha256:1"]\n'


def seen(address: str, **changes: Any) -> Callable[[], dict[str, Any]]:
    """What a host looks like from inside, where all is well."""
    cards = {"lo": "127.0.0.1", "eno1": address, "docker0": ""}
    found = {"cards": cards, "taken": [], "seen": True, "wrong": ""}
    return lambda: {"time": time.time(), **found, **changes}


class ClusterLab:
    """Two hosts that are ready, both with a node that has joined.

    alive: the addresses that Ray has; numbers: its own, by address; jobs: its jobs; images, idents,
    states, infos: what the engine of a context says. layers: of each image that host two has.
    """

    def __init__(self, lab: TaskLab) -> None:
        self.lab, self.double = lab, lab.double
        (lab.clone.root / "cluster.toml").write_text(EXAMPLE)
        self.alive = [HEAD, OTHER]
        self.numbers = {HEAD: "1", OTHER: "2"}
        self.jobs: list[dict[str, Any]] = []
        self.images = {"": IMAGE, "default": IMAGE, "two": IMAGE}
        self.states = {"default": "running\n", "two": "running\n"}
        self.layers: list[list[str]] = []
        self.infos: dict[str, dict[str, Any]] = {"default": dict(INFO), "two": dict(INFO)}
        lab.answer("docker", "image", "inspect", told=lambda: self.images[""])
        for name in ("default", "two"):
            self.engine(name)
        answer = self.lab.answer
        answer("docker", "run", "--rm", "aiohttp-cors", told=lambda: "")
        answer(*self.head("exec", "ask", "/api/v0/nodes?detail=true"), told=self.nodes)
        answer(*self.head("exec", "ask", "/api/jobs/"), told=lambda: self.jobs)
        self.seen = {"default": seen(HEAD), "two": seen(OTHER)}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        for name in ("default", "two"):
            self.probe(name)
            for verb in ("up", "stop", "rm", "prune"):
                self.double.expect("docker", "--context", name, verb)

    def head(self, *words: str) -> tuple[str, ...]:
        return ("docker", "--context", "default", *words)

    def engine(self, name: str) -> None:
        here = ("docker", "--context", name)
        endpoint = [{"Name": name, "Endpoints": {"docker": {"Host": f"ssh://{name}"}}}]
        self.lab.answer(*here, "info", "{{json .}}", told=lambda: self.infos[name])
        self.lab.answer(*here, "context", "inspect", told=lambda: endpoint)
        self.lab.answer(*here, "info", "{{.ID}}", told=lambda: f"id-of-{name}")
        self.lab.answer(*here, "image", "inspect", told=lambda: self.images[name])
        show = ("image", "inspect", "{{json .RootFS.Layers}}")
        self.lab.answer(*here, *show, told=lambda: "\n".join(map(json.dumps, self.layers)))
        self.lab.answer(*here, "image", "ls", told=lambda: "\n".join("i" for _ in self.layers))
        self.lab.answer(*here, "container", "inspect", told=lambda: self.states[name])

    def probe(self, name: str) -> None:
        """A container on a host looks around."""

        def look(argv: Any, _: Any) -> None:
            self.asked.append((name, json.loads(argv[-1])))
            one.result = type(one.result)(argv=(), stdout=json.dumps(self.seen[name]()))

        self.double.expect("docker", "--context", name, "run", "python", "-", does=look)
        one = self.double.expected[0]

    def nodes(self) -> dict[str, Any]:
        has = {"state": "ALIVE", "resources_total": {"CPU": 4.0}}
        rows = [{"node_ip": ip, "node_id": self.numbers.get(ip), **has} for ip in self.alive]
        dead = {"node_ip": "192.168.1.12", "state": "DEAD"}
        return {"result": True, "data": {"result": {"result": [*rows, dead]}}}

    def gone(self, name: str) -> None:
        """A host that was switched off."""
        said = "Cannot connect to the Docker daemon. Is the docker daemon running?"
        self.double.expect("docker", "--context", name, "info", stderr=said, returncode=1)
        version = ("docker", "--context", name, "--version")
        self.double.expect(*version, stdout="Docker version 28.5.2, build x")


@pytest.fixture
def lab(task_lab: TaskLab, monkeypatch: pytest.MonkeyPatch) -> ClusterLab:
    monkeypatch.setattr(joining, "JOIN_S", 0.0)
    monkeypatch.setattr(jobs, "END_S", 0.0)
    return ClusterLab(task_lab)


def run(*what: str) -> None:
    cluster(context(), what=what)


def test_check_finds_two_hosts_ready(lab: ClusterLab, capsys: pytest.CaptureFixture[str]) -> None:
    run("check")
    said = capsys.readouterr().out
    assert "  one          engine 28.5, x86_64, 192.168.1.10" in said
    assert "All 2 hosts are ready. Next: invoke cluster up" in said
    assert not lab.double.called("up")


def test_up_starts_the_head_first_and_waits_for_all(
    lab: ClusterLab, capsys: pytest.CaptureFixture[str]
) -> None:
    run("up")
    first, second = lab.double.called("docker", "compose", "up", "--detach")
    assert (first[2], second[2]) == ("default", "two")
    assert f"{PROJECT}-cluster" in first
    said = capsys.readouterr().out
    assert "  2 nodes (" in said
    assert "  two          in the cluster: 4 CPUs, 0 GPUs" in said
    assert "http://127.0.0.1:8265/ on one (192.168.1.10)" in said


def test_the_token_is_random_kept_and_shown_nowhere(
    lab: ClusterLab, capsys: pytest.CaptureFixture[str]
) -> None:
    run("up")
    path = lab.lab.clone.state / "cluster" / "token.env"
    token = path.read_text().strip().removeprefix("CLUSTER_TOKEN=")
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    run("up")
    assert token in path.read_text()
    shown = capsys.readouterr().out
    assert token not in shown
    assert not [argv for argv in lab.double.calls if token in " ".join(argv)]


def test_a_host_that_does_not_join_is_named_with_what_it_says(lab: ClusterLab) -> None:
    lab.alive = [HEAD]
    lab.double.expect("docker", "--context", "two", "logs", stdout="ray says this\n")
    code, message = failed(cluster, what=("up",))
    assert code == Code.CLUSTER
    assert "did not join within 0 s: two\n--- two:\nray says this" in message
    assert "firewall" in message


def test_a_node_that_was_replaced_must_join_again(lab: ClusterLab) -> None:
    """Ray takes some seconds to miss the one before."""

    def start(_argv: Any, _env: Any) -> None:
        lab.states["two"] = "running, another one\n"

    lab.double.expect("docker", "--context", "two", "up", does=start)
    lab.double.expect("docker", "--context", "two", "logs", stdout="joining\n")
    code, message = failed(cluster, what=("up",))
    assert (code, "did not join within" in message) == (Code.CLUSTER, True)
    lab.numbers[OTHER] = "3"
    run("up")


def test_a_node_with_another_token(lab: ClusterLab) -> None:
    lab.alive = [HEAD]
    said = "AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing"
    lab.double.expect("docker", "--context", "two", "logs", stderr=said)
    code, message = failed(cluster, what=("up",))
    assert (code, "two: a node has another token" in message) == (Code.CLUSTER, True)
    assert "fix: invoke cluster down --force" in message


def test_a_job_is_not_lost_by_an_up(lab: ClusterLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.jobs = [{"submission_id": "job-1", "status": "RUNNING"}]
    run("up")
    assert all("--no-recreate" in argv for argv in lab.double.called("up", "--detach"))
    assert "Jobs run (job-1)" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["check", "up"])
def test_a_host_with_another_image(lab: ClusterLab, verb: str) -> None:
    lab.images["two"] = "2026-01-01 []"
    code, message = failed(cluster, what=(verb,))
    assert (code, "host two has another image of the lab" in message) == (Code.CLUSTER, True)
    assert "fix: invoke cluster push" in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Architecture": "aarch64"}, "host two is aarch64, and the lab's image is for x86_64"),
        ({"SecurityOptions": ["name=rootless"]}, "host two has a rootless engine"),
        ({"OperatingSystem": "Docker Desktop"}, "host two has Docker Desktop"),
        ({"ServerVersion": "20.10.5"}, "host two: the engine is version 20.10"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "push", "up"])
def test_a_host_that_cannot_be_in_a_cluster(
    lab: ClusterLab, verb: str, changes: dict[str, Any], told: str
) -> None:
    lab.infos["two"].update(changes)
    code, message = failed(cluster, what=(verb,))
    assert (code, told in message) == (Code.CLUSTER, True), message
    assert not lab.double.called("up", "--detach")


@pytest.mark.parametrize(
    ("changes", "told", "fix"),
    [
        ({"cards": {"lo": "127.0.0.1", "wlan0": OTHER}}, "no network card eno1", "wlan0 (192."),
        ({"cards": {"eno1": "10.1.1.1"}}, "eno1 has the address 10.1.1.1, not", "eno1 (10.1.1.1)"),
        ({"cards": {"eno1": ""}}, "eno1 has the address none, not", "set address and interface"),
        ({"taken": [6380, 52365]}, "port 6380, 52365 is taken by something else", "ss -ltnp"),
        ({"time": 1e9}, "s apart from this machine's", "timedatectl set-ntp true"),
        ({"time": 4e9}, "s apart from this machine's", "timedatectl set-ntp true"),
        ({"wrong": "Permission denied"}, "its runs/ is not writable: Permission", "let user"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "up"])
def test_what_a_host_lacks_from_inside(
    lab: ClusterLab, verb: str, changes: dict[str, Any], told: str, fix: str
) -> None:
    lab.seen["two"] = seen(OTHER, **changes)
    code, message = failed(cluster, what=(verb,))
    assert (code, told in message, fix in message) == (Code.CLUSTER, True, True), message
    assert not lab.double.called("up", "--detach")


def test_a_node_that_runs_has_its_ports(lab: ClusterLab) -> None:
    lab.states["two"] = "\n"
    run("check")
    asked = dict(lab.asked)
    assert asked["default"]["ports"] == []
    assert 6380 in asked["two"]["ports"]
    assert 8265 not in asked["two"]["ports"]


def test_check_says_whether_runs_is_one_folder(
    lab: ClusterLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head writes a file, the other looks for it, and the head removes it."""
    path = lab.lab.clone.root / "cluster.toml"
    path.write_text(EXAMPLE + 'folder = "/mnt/lab"\n')
    run("check")
    assert "is not the head's" not in capsys.readouterr().out
    (_, first), (_, other), (last, removed) = lab.asked
    assert first["write"] == other["read"] == removed["remove"] != ""
    assert last == "default"
    lab.seen["two"] = seen(OTHER, seen=False)
    run("check")
    assert "The runs/ of two is not the head's" in capsys.readouterr().out


def test_the_head_removes_its_file_whatever_the_others_say(lab: ClusterLab) -> None:
    path = lab.lab.clone.root / "cluster.toml"
    path.write_text(EXAMPLE + 'folder = "/mnt/lab"\n')
    said = "invalid mount config: bind source path does not exist: /mnt/lab/runs"
    lab.double.expect("docker", "--context", "two", "run", stderr=said, returncode=125)
    code, message = failed(cluster, what=("check",))
    assert (code, "make /mnt/lab/runs on two" in message) == (Code.CLUSTER, True)
    assert lab.asked[-1][1]["remove"] == lab.asked[0][1]["write"]


def test_one_engine_by_two_contexts(lab: ClusterLab) -> None:
    lab.lab.answer("docker", "--context", "two", "info", "{{.ID}}", told=lambda: "id-of-default")
    code, message = failed(cluster, what=("check",))
    assert (code, "the hosts one and two are one engine" in message) == (Code.CLUSTER, True)


def test_a_host_that_is_gone_is_named(lab: ClusterLab) -> None:
    lab.gone("two")
    code, message = failed(cluster, what=("up",))
    assert (code, "host two: no container engine answers" in message) == (Code.CLUSTER, True)
    assert "docker --context two info" in message


def test_a_gpu_that_must_be_there_and_is_not(lab: ClusterLab) -> None:
    path = lab.lab.clone.root / "cluster.toml"
    path.write_text(EXAMPLE + 'gpu = "on"\n')
    code, message = failed(cluster, what=("check",))
    assert (code, "host two: no GPU" in message) == (Code.GPU_NOT_OFFERED, True)


@pytest.mark.parametrize(("mode", "code"), [("auto", 0), ("on", Code.GPU_PROOF)])
def test_a_gpu_that_ray_does_not_find(
    lab: ClusterLab, capsys: pytest.CaptureFixture[str], mode: str, code: int
) -> None:
    lab.infos["two"]["DiscoveredDevices"] = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    path = lab.lab.clone.root / "cluster.toml"
    path.write_text(EXAMPLE + f'gpu = "{mode}"\n')
    if code:
        ended_with, message = failed(cluster, what=("up",))
        assert (ended_with, "Ray finds none" in message) == (code, True)
    else:
        run("up")
        assert "two has a GPU, and Ray finds none" in capsys.readouterr().out
    written = json.loads((lab.lab.clone.state / "cluster" / "two.json").read_text())
    assert "--num-gpus=0" not in written["services"]["node"]["command"]


def test_an_image_without_ray(lab: ClusterLab) -> None:
    said = "importlib.metadata.PackageNotFoundError: No package metadata was found for ray"
    lab.double.expect("docker", "run", "aiohttp-cors", stderr=said, returncode=1)
    code, message = failed(cluster, what=("check",))
    assert (code, 'invoke add-package "ray[default]"' in message) == (Code.CLUSTER, True)


def test_without_an_image_there_is_nothing_to_send(lab: ClusterLab) -> None:
    lab.images[""] = ""
    code, message = failed(cluster, what=("push",))
    assert (code, "fix: invoke build" in message) == (Code.NOT_UP, True)


PIPED = ("sh", "-c", PIPE, "sh", "two", f"{PROJECT}/jupyter")
PASSED = "Loaded image: x\nlabcrate passed 1500 of 7000000 bytes"


def test_push_sends_only_where_it_differs(
    lab: ClusterLab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.images["two"] = ""
    lab.double.expect("sh", "-c", stdout=PASSED, does=lambda _, __: lab.images.update(two=IMAGE))
    run("push")
    (command,) = lab.double.called("sh", "-c")
    assert command[2:] == (*PIPED[2:], *THIN)
    said = capsys.readouterr().out
    assert "two: has the image; 1.5 kB of 7.0 MB were sent (" in said
    run("push")
    assert len(lab.double.called("sh", "-c")) == 1
    assert "nothing was sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "there", "known"),
    [
        ("1 2 3", ["1 2 9", "1", "x y z v"], "1 2"),
        ("1 2 3", ["2 1", "3", ""], ""),
        ("1 e 2 e", ["1 e 2"], "1 2"),
        ("1 e 2 e", ["1 e 2 e"], "1 e 2 e"),
    ],
    ids=["the longest", "not above the same", "needed above", "all"],
)
def test_layers_that_the_host_has_are_left_out(
    lab: ClusterLab, image: str, there: list[str], known: str
) -> None:
    lab.images.update({"": as_key(image), "default": as_key(image), "two": ""})
    lab.layers = list(map(str.split, there))
    lab.double.expect(
        "sh", "-c", stdout=PASSED, does=lambda _, __: lab.images.update(two=as_key(image))
    )
    run("push")
    (command,) = lab.double.called("sh", "-c")
    assert list(command[len((*PIPED, *THIN)) :]) == known.split()


def as_key(layers: str) -> str:
    return f"now {json.dumps(layers.split())}\n"


def test_an_engine_that_wants_all_layers_gets_them(lab: ClusterLab) -> None:
    """One that stores images otherwise may not take an archive with some."""
    lab.images.update({"": as_key("1 2"), "default": as_key("1 2"), "two": ""})
    lab.layers = [["1"]]

    def load(argv: Any, _: Any) -> None:
        if argv[-1].endswith("thin.py"):
            lab.images.update(two=lab.images[""])

    lab.double.expect("sh", "-c", stdout=PASSED, does=load)
    run("push")
    first, second = lab.double.called("sh", "-c")
    assert (first[-1], first[:-1]) == ("1", second)


def test_an_image_that_did_not_arrive(lab: ClusterLab) -> None:
    """The pipe's own exit code is that of its last part."""
    lab.images["two"] = ""
    lab.double.expect("sh", "-c", stdout="no space left on device")
    code, message = failed(cluster, what=("push",))
    assert code == Code.CLUSTER
    assert "the image did not reach host two: no space left on device" in message


def test_status_names_who_is_missing(lab: ClusterLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.alive = [HEAD]
    lab.states["two"] = "restarting\n"
    code, message = failed(cluster, what=("status",))
    assert (code, "not in the cluster: two" in message) == (Code.NOT_UP, True)
    said = capsys.readouterr().out
    assert "  two          missing (its container: restarting)" in said
    assert "  jobs         none" in said


def ended(lab: ClusterLab, **row: Any) -> None:
    """The next job ends like this; its name is whatever it was given."""
    lab.double.expect("sh", "-c", NODE)
    lab.double.expect("docker", "exec", "rm", "-rf")
    lab.double.expect("docker", "exec", "python", "run", returncode=1)

    def answer(argv: Any, _: Any) -> None:
        name = argv[-1].rpartition("/")[2]
        text = json.dumps({"submission_id": name, **row})
        one.result = type(one.result)(argv=(), stdout=text)

    lab.double.expect("docker", "exec", NODE, "python", "ask", does=answer)
    one = lab.double.expected[0]
    lab.lab.answer(*lab.head("exec", "ask", "/api/v0/nodes?detail=true"), told=lab.nodes)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0),
        ({"status": "FAILED", "driver_exit_code": 7}, 7),
        ({"status": "FAILED", "driver_exit_code": -9}, 137),
        ({"status": "STOPPED", "driver_exit_code": None}, 143),
    ],
)
def test_run_ends_with_the_jobs_own_exit_code(
    lab: ClusterLab, row: dict[str, Any], code: int
) -> None:
    ended(lab, **row)
    if code:
        assert failed(cluster, what=("run", "--", "python", "x.py", "a b"))[0] == code
    else:
        run("run", "--", "python", "x.py", "a b")
    (command,) = lab.double.called("docker", "exec", "python", "run")
    assert command[-3:] == ("python", "x.py", "a b")
    (copied,) = lab.double.called("sh", "-c", NODE)
    assert copied[-4:-1] == (f"{lab.lab.clone.root}/src", "default", NODE)
    assert lab.double.called("rm", "-rf", copied[-1])


def test_a_job_that_ray_could_not_start_says_why(lab: ClusterLab) -> None:
    ended(lab, status="FAILED", driver_exit_code=None, message="no working_dir")
    code, message = failed(cluster, what=("run", "--", "python", "x.py"))
    assert (code, "did not run: no working_dir" in message) == (Code.CLUSTER, True)


def test_a_job_whose_output_is_lost_goes_on(lab: ClusterLab) -> None:
    ended(lab, status="RUNNING")
    code, message = failed(cluster, what=("run", "--", "python", "x.py"))
    assert (code, "goes on, and what it prints" in message) == (Code.CLUSTER, True)


@pytest.mark.parametrize(("status", "told"), [(0, "nobody knows how"), (1, "was not started")])
def test_a_job_that_the_head_does_not_know(lab: ClusterLab, status: int, told: str) -> None:
    ended(lab)
    lab.double.expect("docker", "exec", "python", "run", returncode=status)
    lab.double.expect(*lab.head("exec", NODE, "python", "ask"), returncode=1)
    lab.lab.answer(*lab.head("exec", "ask", "/api/v0/nodes?detail=true"), told=lab.nodes)
    code, message = failed(cluster, what=("run", "--", "python", "x.py"))
    assert (code, told in message) == (Code.CLUSTER, True), message


def test_run_needs_a_cluster_and_a_command(lab: ClusterLab) -> None:
    assert failed(cluster, what=("run", "--"))[0] == Code.SETTINGS
    lab.alive = []
    code, message = failed(cluster, what=("run", "true"))
    assert (code, "fix: invoke cluster up" in message) == (Code.NOT_UP, True)


def test_down_stops_the_head_last(lab: ClusterLab) -> None:
    run("up")
    token = lab.lab.clone.state / "cluster" / "token.env"
    assert token.exists()
    run("down")
    assert [argv[2] for argv in lab.double.called("docker", "rm", NODE)] == ["two", "default"]
    assert not token.exists()


def test_down_copes_with_a_host_that_is_gone(lab: ClusterLab) -> None:
    """The others are down, the token stays for the one that is left, and the end says so."""
    run("up")
    lab.gone("two")
    code, message = failed(cluster, what=("down",))
    assert (code, "two cannot be reached" in message) == (Code.CLUSTER, True)
    assert [argv[2] for argv in lab.double.called("docker", "rm", NODE)] == ["default"]
    assert (lab.lab.clone.state / "cluster" / "token.env").exists()


def test_down_takes_the_images_along_where_they_were_sent(lab: ClusterLab) -> None:
    """The first host is this lab's own engine, by its context."""
    lab.lab.answer("docker", "info", "{{.ID}}", told=lambda: "id-of-default")
    for name in ("default", "two"):
        lab.engine(name)
    lab.double.expect("docker", "--context", "two", "image", "rm")
    run("down", "--images")
    assert [argv[2] for argv in lab.double.called("image", "rm")] == ["two"]
    lab.double.expect("docker", "--context", "two", "image", "rm", stderr="in use", returncode=1)
    code, message = failed(cluster, what=("down", "--images", "--force"))
    assert (code, "the image stays on host two: in use" in message) == (Code.CLUSTER, True)


def test_images_that_were_replaced_go_where_they_were_sent(lab: ClusterLab) -> None:
    """Those of this lab alone, and not this lab's own engine's."""
    lab.lab.answer("docker", "info", "{{.ID}}", told=lambda: "id-of-default")
    for name in ("default", "two"):
        lab.engine(name)
    ours = f"label=dev.labcrate.project={PROJECT}"
    pruned = ("docker", "--context", "two", "image", "prune", "--force", "--filter", ours)
    for verb in (("up",), ("down", "--images")):
        lab.double.expect("docker", "image", "rm")
        run(*verb)
        assert lab.double.called("prune") == [pruned]
        lab.double.calls.clear()


def test_down_leaves_jobs_alone_unless_forced(lab: ClusterLab) -> None:
    lab.jobs = [{"submission_id": "job-1", "status": "RUNNING"}]
    code, message = failed(cluster, what=("down",))
    assert (code, "job-1" in message) == (Code.BUSY, True)
    assert not lab.double.called("docker", "rm", NODE)
    run("down", "--force")
    assert len(lab.double.called("docker", "rm", NODE)) == 2


@pytest.mark.parametrize(
    "what", [(), ("start",), ("up", "two"), ("down", "--yes"), ("status", "--json")]
)
def test_what_is_no_command_of_the_cluster(lab: ClusterLab, what: tuple[str, ...]) -> None:
    code, message = failed(cluster, what=what)
    assert (code, "check, push, up, status, run -- COMMAND" in message) == (Code.SETTINGS, True)
    assert lab.double.calls == []


def test_without_a_file_check_says_what_to_write(lab: ClusterLab) -> None:
    (lab.lab.clone.root / "cluster.toml").unlink()
    code, message = failed(cluster, what=("check",))
    assert (code, EXAMPLE in message) == (Code.CLUSTER, True)
    assert lab.double.calls == []


def test_a_dry_up_writes_and_starts_nothing(lab: ClusterLab) -> None:
    cluster(context(dry=True), what=("up",))
    assert not lab.double.called("up", "--detach")
    assert not (lab.lab.clone.state / "cluster").exists()
