"""What a researcher does on the first day inside the lab, with the habits that he brings along."""

from __future__ import annotations

import json
import time

import websocket
from clone import Lab
from web import client, get

CONSTRAINED = "import importlib.metadata as m; print(m.version('numpy'), m.version('torch'))"


def test_percent_pip_installs_and_moves_nothing_of_the_base(up_lab: Lab) -> None:
    kernel = client(up_lab).kernel()
    before = kernel.run(CONSTRAINED)
    try:
        said = kernel.run("%pip install einops")
        assert "Successfully installed einops" in said
        assert "einops" in up_lab.invoke("packages").stdout
        refused = kernel.run("%pip install 'numpy<2'")
        assert "conflict" in refused.lower() or "cannot install" in refused.lower()
        assert kernel.run(CONSTRAINED) == before
    finally:
        kernel.run("%pip uninstall --yes einops")
        kernel.close()


def test_every_way_of_typing_pip_works(up_lab: Lab) -> None:
    for command in (("pip", "--version"), ("python", "-m", "pip", "--version")):
        done = up_lab.exec(*command)
        assert done.returncode == 0, done.stderr
        assert "/opt/lab" in done.stdout


def test_a_terminal_is_bash_with_an_editor_and_a_pager(up_lab: Lab) -> None:
    name = client(up_lab).call("/api/terminals", "POST")["name"]
    token = up_lab.env["JUPYTER_TOKEN"]
    address = f"{up_lab.jupyter.replace('http', 'ws')}/terminals/websocket/{name}?token={token}"
    socket = websocket.create_connection(address, timeout=20)
    try:
        said = typed(
            socket, "echo shell=$0=$SHELL; command -v nano less ssh | wc -l; echo done=$((1+1))"
        )
    finally:
        socket.close()
        client(up_lab).call(f"/api/terminals/{name}", "DELETE")
    assert "shell=/bin/bash=/bin/bash" in said
    assert "\n3" in said


def typed(socket: websocket.WebSocket, line: str) -> str:
    """What a terminal shows after a typed line, up to its last echo."""
    socket.send(json.dumps(["stdin", line + "\r"]))
    text = ""
    until = time.monotonic() + 20
    while "done=2" not in text and time.monotonic() < until:
        kind, *rest = json.loads(socket.recv())
        text += str(rest[0]) if kind == "stdout" else ""
    return text.replace("\r", "")


def test_a_deleted_file_is_gone(up_lab: Lab) -> None:
    """No hidden trash in the home volume keeps it."""
    path = up_lab.root / "notebooks" / "large.bin"
    up_lab.exec("sh", "-c", "head -c 5000000 /dev/zero > /lab/notebooks/large.bin")
    assert path.exists()
    client(up_lab).call("/api/contents/notebooks/large.bin", "DELETE")
    assert not path.exists()
    found = up_lab.exec("find", "/home/lab", "/lab", "-name", "large*")
    assert found.stdout.strip() == ""


def test_the_boards_magic_shows_through_the_servers_own_proxy(up_lab: Lab) -> None:
    kernel = client(up_lab).kernel()
    try:
        kernel.run("%load_ext tensorboard")
        said = kernel.run("%tensorboard --logdir /lab/runs --port 6123")
        assert "ERROR" not in said
        address = f"{up_lab.jupyter}/proxy/6123/data/environment"
        token = {"Authorization": f"token {up_lab.env['JUPYTER_TOKEN']}"}
        assert b"/lab/runs" in get(address, **token)[1]
        assert b"/lab/runs" not in get(address)[1]
        proxy = kernel.run("import os; print(os.environ['TENSORBOARD_PROXY_URL'])")
        assert proxy.strip() == "/proxy/%PORT%/"
    finally:
        kernel.run("import os; os.system('pkill -f 6123')")
        kernel.close()


def test_files_named_like_modules_break_nothing(up_lab: Lab) -> None:
    """The lab's own probes never import the owner's files."""
    names = ("string", "random", "http", "email", "socket", "types", "enum")
    for folder in ("notebooks", "src"):
        for name in names:
            (up_lab.root / folder / f"{name}.py").write_text("raise RuntimeError('mine')\n")
    try:
        up_lab.docker("compose", "restart", "jupyter")
        up_lab.invoke("up")
        assert "Nothing was installed by hand" in up_lab.invoke("capture", "--yes").stdout
    finally:
        for folder in ("notebooks", "src"):
            for name in names:
                (up_lab.root / folder / f"{name}.py").unlink()


IMPORTS = (
    "import torchvision, torch._dynamo, matplotlib.pyplot, sklearn, pandas, IPython, jupyterlab"
)

QUICK = {"cpp_cache_precompile_headers": False, "compile_threads": 1, "cpp.simdlen": 1}
"""As in smoke/suite/test_lab.py: a compiler runs; what pays for large code only is not done."""


def test_imports_need_no_home_that_can_be_written(lab: Lab) -> None:
    """As `docker run` of somebody who does not know the lab's user, on a read-only file system."""
    options = ("--user", "1234", "--read-only", "--tmpfs", "/tmp:exec")
    code = (
        f"{IMPORTS}; print(torch.compile(lambda x: x + 1, options={QUICK})(torch.ones(1)).item())"
    )
    run = ("run", "--rm", "--network", "none", *options, f"{lab.project}/jupyter")
    done = lab.docker(*run, "python", "-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, "2.0"), done.stderr
    normal = lab.exec("printenv", "TORCHINDUCTOR_CACHE_DIR")
    assert normal.stdout.strip() == "/home/lab/.cache/torchinductor"
