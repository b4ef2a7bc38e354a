"""The lab's verbs. tasks.py of a clone takes them all, and adds its owner's own:

namespace = lab_tasks(train, evaluate)
"""

from __future__ import annotations

import copy
from typing import Any

from invoke import Collection, Task

from labcrate.tasks.interpreter import refuse_another_invoke

refuse_another_invoke()
# ruff: noqa: E402 - these need what the line above looks for.
from labcrate import output
from labcrate.tasks.verbs import VERBS, verb_or_its_line


def lab_tasks(*own: Any) -> Collection:
    """All verbs of the lab, and tasks of the owner's; a task of a verb's name replaces it.

    Without a verb, `help` lists them.
    """
    output.accept_any_text()
    namespace = Collection()

    def known() -> dict[str, Task[Any]]:
        """All tasks by every name, those that the owner adds later, too."""
        found = {}
        for name, others in namespace.task_names.items():
            found.update(dict.fromkeys((name, *others), namespace[name]))
        return found

    for verb in VERBS:
        made = copy.copy(verb_or_its_line(verb))
        made.verb, made.known = verb, known
        namespace.add_task(made, name=verb, default=verb == "help")
    for body in own:
        name = body.name.replace("_", "-")
        namespace.tasks.pop(name, None)
        namespace.add_task(body)
    return namespace
