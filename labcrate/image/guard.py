"""TensorBoard behind a check of the Host header, and reading what libraries write by default.

TensorBoard has no login. On the loopback that is enough, but for one trick: a web page in the
user's own browser whose name is made to point at 127.0.0.1 (DNS rebinding) may read what answers
there. Such a request names the page's host, the user's own names an address or `localhost`.

`SummaryWriter()`, Lightning and Transformers' Trainer write to `runs` or `lightning_logs` below
the folder that they were started in or told. TensorBoard reads one folder, so it gets one of links.
"""

import ipaddress
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from absl import app
from tensorboard import default, main_lib, program
from tensorboard.plugins import base_plugin

BOARD = Path("/tmp/runs")  # noqa: S108 - the container's own
"""The folder that TensorBoard reads: links to each run."""
LAB = Path("/lab")
SEARCHED = ("notebooks", "models")
"""Where below LAB default folders are looked for."""
DEFAULTS = {"runs", "lightning_logs"}
PAUSE_S = 5.0
"""Seconds between two looks, as between TensorBoard's own."""
SHARE = 20
"""A look that takes long, in a folder with a million files, takes this part of the time at most."""


def default_folders(tops):
    """The folders that libraries make by themselves, below these folders of the lab."""
    for top in tops:
        for folder, names, _ in os.walk(LAB / top):
            yield from (Path(folder, name) for name in sorted(DEFAULTS & set(names)))
            names[:] = [n for n in names if n not in DEFAULTS and not n.startswith(".")]


def link_runs(logs, linked):
    """Link what is in the log folder, under its own names, and each default folder.

    linked: the names of the last look, of which those go that lead nowhere now; the new names.
    """
    wanted = {child.name: child for child in logs.iterdir()} if logs.is_dir() else {}
    # A run that is itself named `notebooks` or `models` has precedence.
    tops = [top for top in SEARCHED if top not in wanted]
    for found in default_folders(tops):
        if not found.is_relative_to(logs):
            wanted[str(found.relative_to(LAB))] = found
    for name in linked - set(wanted):
        (BOARD / name).unlink(missing_ok=True)
    for name in set(wanted) - linked:
        # What is there from before the container's last restart, or in the way, stays.
        with suppress(FileExistsError):
            (BOARD / name).parent.mkdir(parents=True, exist_ok=True)
            (BOARD / name).symlink_to(wanted[name])
    return set(wanted)


def keep_linking(logs, linked):
    while True:
        started = time.monotonic()
        with suppress(OSError):
            linked = link_runs(logs, linked)
        time.sleep(max(PAUSE_S, SHARE * (time.monotonic() - started)))


def with_links(arguments):
    """The command line, with the folder of links in place of the log folder, if it names one."""
    if "--logdir" not in arguments[:-1]:
        return arguments
    place = arguments.index("--logdir") + 1
    logs = Path(arguments[place])
    BOARD.mkdir(exist_ok=True)
    linked = link_runs(logs, set())
    threading.Thread(target=keep_linking, args=(logs, linked), daemon=True).start()
    return [*arguments[:place], str(BOARD), *arguments[place + 1 :]]


def is_own(host: str) -> bool:
    """Whether a Host header names this machine by address, or as localhost."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class Guard:
    """The application, for requests that came by this machine's own name."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        if is_own(environ.get("HTTP_HOST", "")):
            return self.application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"TensorBoard answers to localhost and to addresses only.\n"]


def make_server(application, flags):
    """TensorBoard's own server behind the guard, without its first words: they name the address
    and port of the container, which lead nowhere outside."""
    server = program.WerkzeugServer(Guard(application), flags)
    server.print_serving_message = say_ready
    return server


def say_ready():
    print("TensorBoard is running; on the host, `invoke url` prints its link", file=sys.stderr)


def main():
    main_lib.global_init()
    board = program.TensorBoard(
        plugins=default.get_plugins(),
        server_class=make_server,
    )
    try:
        app.run(board.main, argv=with_links(sys.argv), flags_parser=board.configure)
    except base_plugin.FlagsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
