"""The lab's verbs. tasks.py of a clone takes them all, and adds its owner's own:

namespace = lab_tasks(train, evaluate)
"""

from __future__ import annotations

from typing import Any

from invoke import Collection

from labcrate.tasks import cleaning, packages, running, showing, starting


def lab_tasks(*own: Any) -> Collection:
    """All verbs of the lab, and tasks of the owner's; a task of a verb's name replaces it."""
    namespace = Collection()
    for verb, body in VERBS.items():
        namespace.add_task(body, name=verb)
    for body in own:
        name = body.name.replace("_", "-")
        namespace.tasks.pop(name, None)
        namespace.add_task(body)
    return namespace


VERBS = {
    "setup": starting.setup,
    "build": starting.build,
    "up": starting.up,
    "down": starting.down,
    "add-package": packages.add_package,
    "remove-package": packages.remove_package,
    "packages": packages.show_packages,
    "capture": packages.capture,
    "lock": packages.lock,
    "clean": cleaning.clean,
    "status": showing.status,
    "doctor": showing.doctor,
    "url": showing.url,
    "open": showing.open_,
    "logs": showing.logs,
    "shell": running.shell,
    "run": running.run,
    "wait": running.wait,
}
