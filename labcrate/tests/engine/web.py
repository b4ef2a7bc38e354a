"""Small clients of the two services: HTTP, and Jupyter's cells over the websocket."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

import websocket
from clone import Lab


def get(address: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=60
        ) as a:
            return a.status, a.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def client(lab: Lab) -> Client:
    return Client(lab.jupyter, lab.env["JUPYTER_TOKEN"])


def wait_for_runs(lab: Lab) -> list[str]:
    """TensorBoard rereads its folder every 5 s."""
    for _ in range(240):
        tags = json.loads(get(f"{lab.tensorboard}/data/plugin/scalars/tags")[1])
        runs = [run for run in tags if tags[run]]
        if runs:
            return sorted(runs)
        time.sleep(0.5)
    raise AssertionError("TensorBoard shows no run with scalars")


def wait_for_points(lab: Lab, tag: str, count: int) -> None:
    """Until TensorBoard has read so many points of a curve of the newest run."""
    run = wait_for_runs(lab)[-1]
    query = urllib.parse.urlencode({"run": run, "tag": tag})
    for _ in range(240):
        status, body = get(f"{lab.tensorboard}/data/plugin/scalars/scalars?{query}")
        if status == 200 and len(json.loads(body)) >= count:
            return
        time.sleep(0.5)
    raise AssertionError(f"TensorBoard shows fewer than {count} points of {tag}")


class Client:
    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}

    def call(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data=data, method=method, headers=self.headers
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def kernel(self) -> Kernel:
        return Kernel(self, self.call("/api/kernels", "POST", {"name": "python3"})["id"])


class Kernel:
    def __init__(self, client: Client, ident: str) -> None:
        self.client = client
        self.ident = ident
        address = client.base.replace("http", "ws", 1) + f"/api/kernels/{ident}/channels"
        header = [f"{name}: {value}" for name, value in client.headers.items()]
        self.socket = websocket.create_connection(address, header=header, timeout=300)

    def run(self, code: str, timeout_s: float = 300) -> str:
        """Run one cell; its printed text. An exception in it is an AssertionError here."""
        message = uuid.uuid4().hex
        self.send(code, message)
        printed: list[str] = []
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            reply = json.loads(self.socket.recv())
            if reply["parent_header"].get("msg_id") != message:
                continue
            content = reply["content"]
            match reply["msg_type"]:
                case "stream":
                    printed.append(content["text"])
                case "execute_result":
                    printed.append(content["data"].get("text/plain", ""))
                case "error":
                    raise AssertionError("\n".join(content["traceback"]))
                case "status" if content["execution_state"] == "idle":
                    return "".join(printed)
        raise AssertionError(f"the cell did not end within {timeout_s} s")

    def send(self, code: str, message: str) -> None:
        header = {
            "msg_id": message,
            "msg_type": "execute_request",
            "username": "test",
            "session": uuid.uuid4().hex,
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        self.socket.send(
            json.dumps(
                {
                    "header": header,
                    "parent_header": {},
                    "metadata": {},
                    "content": {**content, "user_expressions": {}, "stop_on_error": True},
                    "channel": "shell",
                }
            )
        )

    def close(self) -> None:
        self.socket.close()
        self.client.call(f"/api/kernels/{self.ident}", "DELETE")
