"""TensorBoard behind a check of the Host header.

TensorBoard has no login. On the loopback that is enough, but for one trick: a web page in the
user's own browser whose name is made to point at 127.0.0.1 (DNS rebinding) may read what answers
there. Such a request names the page's host, the user's own names an address or `localhost`.
"""

import ipaddress
import sys

from absl import app
from tensorboard import default, main_lib, program
from tensorboard.plugins import base_plugin


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


def main():
    main_lib.global_init()
    board = program.TensorBoard(
        plugins=default.get_plugins(),
        server_class=lambda application, flags: program.WerkzeugServer(Guard(application), flags),
    )
    try:
        app.run(board.main, flags_parser=board.configure)
    except base_plugin.FlagsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
