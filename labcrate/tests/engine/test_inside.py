"""What a notebook, or whoever took one over, can do from inside the lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clone import Lab, said
from faultlog import Happened
from web import client

from labcrate.clone.rules import OPTIONAL

INSIDE = """
import json, os, pathlib
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
names = ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
tried = {}
def attempt(name, what):
    try: what(); tried[name] = "went"
    except OSError as error: tried[name] = error.strerror
attempt("setuid", lambda: os.setuid(0))
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("mknod", lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0)))
attempt("mem", lambda: open("/dev/mem", "rb"))
attempt("kmsg", lambda: open("/dev/kmsg", "rb"))
attempt("sysrq", lambda: open("/proc/sysrq-trigger", "w"))
attempt("sysctl", lambda: open("/proc/sys/kernel/core_pattern", "w"))
attempt("passwd", lambda: open("/etc/passwd", "a"))
attempt("python", lambda: open("/usr/bin/python3", "ab"))
sockets = [str(p) for p in pathlib.Path("/").glob("**/docker*.sock")]
status = {n: status[n].split() for n in names}
print(json.dumps({"status": status, "tried": tried, "sockets": sockets}))
"""


@pytest.mark.attack(
    "a notebook that wants root: setuid, chroot, devices, kernel settings, the engine"
)
def test_a_notebook_has_no_privileges(up_lab: Lab, happened: Happened) -> None:
    kernel = client(up_lab).kernel()
    try:
        seen = json.loads(kernel.run(INSIDE))
    finally:
        kernel.close()
    status = seen["status"]
    assert status.pop("Uid") == [up_lab.env["LAB_UID"]] * 4 != ["0"] * 4
    assert status.pop("Gid") == [up_lab.env["LAB_GID"]] * 4
    assert status.pop("NoNewPrivs") == ["1"]
    assert status.pop("Seccomp") == ["2"], "the engine's filter of system calls"
    assert {int(value[0], 16) for value in status.values()} == {0}, status
    assert "went" not in seen["tried"].values(), seen["tried"]
    assert seen["sockets"] == []
    happened(
        "denied, each; no capability in any set, no-new-privileges, no socket", len(seen["tried"])
    )


@pytest.mark.attack("what the engine was told: privileges, namespaces, devices, mounts")
def test_the_engine_was_told_to_lock_it_down(up_lab: Lab, happened: Happened) -> None:
    for service in ("jupyter", "tensorboard"):
        seen = json.loads(up_lab.docker("inspect", up_lab.container(service)).stdout)[0]
        host = seen["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert not host["Privileged"]
        assert not host["CapAdd"]
        assert not host["Devices"]
        assert host["PidsLimit"] == int(up_lab.env["PIDS_LIMIT"]) == int(OPTIONAL["PIDS_LIMIT"])
        assert (host["PidMode"], host["IpcMode"], host["UsernsMode"]) == ("", "private", "")
        assert host["NetworkMode"] == f"{up_lab.project}_default"
        assert seen["Config"]["User"] == f"{up_lab.env['LAB_UID']}:{up_lab.env['LAB_GID']}"
        sources = {m["Source"] for m in seen["Mounts"] if m["Type"] == "bind"}
        inside = [s for s in sources if not Path(s).is_relative_to(up_lab.root)]
        assert inside == [s for s in inside if s == up_lab.env.get("HOST_WHEELS")]
        assert str(up_lab.root) not in sources, "the clone with .env is not in the lab"
        if service == "tensorboard":
            assert host["ReadonlyRootfs"]
            assert not [m for m in seen["Mounts"] if m["RW"] and m["Type"] == "bind"]
    happened(
        "both containers: all capabilities dropped, own namespaces, no device, own mounts only", 2
    )


WRITABLE = """
import os, json
found = []
for folder, names, _ in os.walk("/"):
    if folder.startswith(("/proc", "/sys")): names[:] = []; continue
    try:
        path = os.path.join(folder, ".probe"); open(path, "w").close(); os.remove(path)
        found.append(folder)
    except OSError: pass
print(json.dumps(sorted({f if f.count("/") < 2 else "/".join(f.split("/")[:3]) for f in found})))
"""


@pytest.mark.attack("a file written into every folder of both containers")
def test_nothing_can_be_written_outside_the_mounts(up_lab: Lab, happened: Happened) -> None:
    """JupyterLab's file system is not read-only: packages are added to /opt/lab while it runs. What
    is written there ends with the container, and replaces nothing (its folders are sticky)."""
    own = {"/lab/notebooks", "/lab/src", "/lab/runs", "/lab/data", "/lab/models", "/home/lab"}
    passing = {"/tmp", "/var/tmp", "/run/lock", "/dev/shm", "/dev/mqueue", "/opt/lab"}
    seen = {}
    for service in ("jupyter", "tensorboard"):
        done = up_lab.docker("compose", "exec", "-T", service, "python", "-c", WRITABLE)
        assert done.returncode == 0, said(done)
        seen[service] = set(json.loads(done.stdout))
    extra = {f for f in seen["jupyter"] - own - passing if not f.startswith("/tmp/")}
    assert extra == set()
    assert own <= seen["jupyter"], "the probe itself is broken"
    assert {f for f in seen["tensorboard"] if not f.startswith("/tmp")} <= {
        "/dev/shm",
        "/dev/mqueue",
    }
    replaced = up_lab.exec(
        "python", "-c", "import torch, os; os.rename(torch.__path__[0], '/tmp/t')"
    )
    assert replaced.returncode != 0, "PyTorch could be replaced from inside"
    happened(
        "JupyterLab: only the user's folders, its home and what ends with the container; "
        "TensorBoard: nothing",
        2,
    )


@pytest.mark.attack("a link in notebooks/ that leads out of it, read and written from the lab")
def test_a_link_leads_nowhere(up_lab: Lab, tmp_path: Path, happened: Happened) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's own")
    secret.chmod(0o666)
    targets = {"env": "../.env", "abs": str(secret), "up": "../../../../etc/shadow"}
    for name, target in targets.items():
        link = up_lab.root / "notebooks" / name
        link.symlink_to(target)
        try:
            read = up_lab.exec("cat", f"/lab/notebooks/{name}")
            wrote = up_lab.exec("sh", "-c", f"echo x >> /lab/notebooks/{name}")
        finally:
            link.unlink()
        assert read.returncode != 0, name
        assert "JUPYTER_TOKEN" not in read.stdout
        if name != "env":
            assert wrote.returncode != 0, name
    up_lab.exec("rm", "-f", "/lab/.env")
    assert secret.read_text() == "the host's own"
    assert "JUPYTER_TOKEN" in up_lab.env
    happened(
        "the links end inside the container; the host's files are as they were", 2 * len(targets)
    )
