"""The lab's sessions, and yours: `nox --list` shows them."""

import nox

from labcrate.sessions import gpu_smoke, smoke, tests

__all__ = ["gpu_smoke", "smoke", "tests"]


@nox.session(default=False)
def mine(session: nox.Session) -> None:
    """An example of a session of your own: the tests whose names hold `moving`, in the image."""
    session.run("python", "-m", "labcrate.smoke.prove", "cpu", "-k", "moving")
