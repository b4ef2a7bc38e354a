"""Runs in a container on a host that is to join: what the host has and a cluster needs.

python - '{"ports": [6380], "write": "", "read": "nonce", "remove": ""}'   prints one line of JSON
"""

import fcntl
import json
import os
import socket
import struct
import sys
import time

RUNS = "/lab/runs"
SIOCGIFADDR = 0x8915
"""Linux: the IPv4 address of a network card."""


def address_of(card):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            got = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", card.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(got[20:24])


def is_taken(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind(("", port))
        except OSError:
            return True
    return False


def main(asked):
    try:
        if asked["write"]:
            open(os.path.join(RUNS, asked["write"]), "x").close()
        if asked["remove"]:
            os.unlink(os.path.join(RUNS, asked["remove"]))
        wrong = ""
    except OSError as error:
        wrong = str(error)
    answer = {
        "time": time.time(),
        "cards": {name: address_of(name) for _, name in socket.if_nameindex()},
        "taken": [port for port in asked["ports"] if is_taken(port)],
        "seen": bool(asked["read"]) and os.path.exists(os.path.join(RUNS, asked["read"])),
        "wrong": wrong,
    }
    print(json.dumps(answer))


main(json.loads(sys.argv[1]))
