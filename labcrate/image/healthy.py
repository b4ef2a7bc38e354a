"""Whether a service of the lab answers: healthy.py PORT PATH. Run isolated (python -I -S).

Isolated, because the working folder is full of the owner's files, and one named random.py or
http.py would be imported in place of the standard library's.

JupyterLab writes down how it listens. An own `base_url` is followed. Settings with which the lab's
links would lead nowhere are refused. What the tasks must know is printed as one line of JSON, which
the engine keeps beside the result:

base_url       where JupyterLab is, if not at the top
refused        the setting with which it cannot be reached as the lab publishes it
wrong          else why it does not answer
cannot_write   the folders in which the lab's user cannot make files
"""

import json
import os
import socket
import sys
from pathlib import Path

ANSWER_S = 4
"""Seconds; Compose gives the whole check five."""
TOKEN = Path("/run/secrets/jupyter_token")
LAB = Path("/lab")
FOLDERS = ("notebooks", "src", "runs", "data", "models")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main():
    port, path = int(sys.argv[1]), sys.argv[2]
    runtime = os.environ.get("JUPYTER_RUNTIME_DIR", "")
    server = read_server(Path(runtime), port) if runtime else {}
    base = server.get("base_url", "/")
    told = {"base_url": base if base != "/" else "", "refused": refused_setting(server, port)}
    if not told["refused"]:
        told["wrong"] = problem_of(port, base.rstrip("/") + path)
    told["cannot_write"] = closed_folders() if runtime else []
    told = {name: value for name, value in told.items() if value}
    if told:
        print(json.dumps(told))
    return int("refused" in told or "wrong" in told)


def read_server(folder, port):
    """What the JupyterLab that runs wrote down; nothing before it has started.

    Notes of servers that were killed stay, and people start servers of their own in a terminal.
    """
    found = [json.loads(note.read_text()) for note in folder.glob("jpserver-*.json")]
    alive = [one for one in found if Path(f"/proc/{one['pid']}").exists()]
    return min(alive, key=lambda one: (one["port"] != port, one["pid"]), default={})


def refused_setting(server, port):
    """The first setting that the published port, http or the token of .env contradicts."""
    if not server:
        return ""
    own, host = server["port"], server["hostname"]
    token = TOKEN.read_text().strip() if TOKEN.exists() else server.get("token")
    found = {
        "name a socket (ServerApp.sock), and the lab publishes a port": server.get("sock"),
        f"name port {own}, and the lab publishes port {port}": own != port,
        f"name the address {host} (ServerApp.ip), which is closed to the outside": host in LOOPBACK,
        "name a certificate (ServerApp.certfile), and the lab's links are http": server["secure"],
        "name another token than .env": server.get("token") != token,
    }
    return next((f"its settings {text}" for text, is_so in found.items() if is_so), "")


def problem_of(port, path):
    """Why a service does not answer as it should; "" where it does."""
    question = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    try:
        # Not http.client: its import takes three times as long as all the rest of this check, which
        # runs twice a second while JupyterLab starts.
        with socket.create_connection(("127.0.0.1", port), ANSWER_S) as connection:
            connection.sendall(question.encode())
            words = connection.makefile(encoding="latin-1").readline().split()
    except OSError as error:
        return f"nothing answers on port {port}: {error or type(error).__name__}"
    status = words[1] if len(words) > 1 else "nothing"
    return "" if status == "200" else f"{path} answers {status}"


def closed_folders():
    """The home and the mounted folders that cannot be written, unless they are mounted so."""
    folders = (Path(os.environ.get("HOME", "/")), *(LAB / name for name in FOLDERS))
    return [str(one) for one in folders if one.is_dir() and is_closed(one)]


def is_closed(folder):
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    return not read_only and not os.access(folder, os.W_OK | os.X_OK)


if __name__ == "__main__":
    sys.exit(main())
