"""The lab's verbs: where each one is, and its line in `invoke --list`.

Only the module of a verb that was typed is imported. To import all of them took most of the time
of `invoke --list`, and a fifth of that of `invoke up`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from invoke import Argument

from labcrate.tasks.words import LabTask, typed_words

VERBS = {
    "setup": ("starting.setup", "Make this machine ready: .env, folders, engine, base image."),
    "build": ("starting.build", "Build the images, as far as something changed."),
    "up": ("starting.up", "Start the lab and wait until it answers."),
    "down": ("starting.down", "Stop the lab and its runs; your files, .env and caches stay."),
    "serve": ("serving.serve", "Start the page that finds similar news, and print its link."),
    "add-package": (
        "packages.add_package",
        "Add packages for good, live and in the image: invoke add-package timm einops",
    ),
    "remove-package": ("packages.remove_package", "Remove packages, with what only they needed."),
    "packages": ("packages.show_packages", "Show what is asked for, locked, built and running."),
    "capture": ("packages.capture", "Keep what was installed by hand in the running lab."),
    "lock": ("packages.lock", "Bring the locks up to date, and show what moved."),
    "clean": ("cleaning.clean", "Remove what this clone left on the engine; not your files."),
    "status": ("showing.status", "Show what runs, since when, and where."),
    "gpus": ("cards.gpus", "Show each GPU, how busy it is, and which labs and programs have it."),
    "doctor": ("examining.doctor", "Say what is wrong with machine, engine and lab, and the fix."),
    "url": ("showing.url", "Print the links, JupyterLab's with its token."),
    "open": ("showing.open_", "Open JupyterLab and the other services in the browser."),
    "tunnel": ("tunnel.tunnel", "Reach a lab on another machine by ssh: invoke tunnel user@host"),
    "logs": ("showing.logs", "Show the services' logs, or what a run prints."),
    "help": ("showing.help_", "List the tasks, or explain one: invoke help up"),
    "shell": ("running.shell", "Open a shell in a running service."),
    "run": ("running.run", "Run in the lab's image: invoke run python train.py"),
    "wait": (
        "running.wait",
        "Wait for runs to end, and end with the first exit code that is not 0.",
    ),
    "cluster": (
        "cluster.cluster",
        "The same lab on several machines: invoke cluster check|push|up|status|run|down",
    ),
}
"""Verb -> module and function in this room, and the first line of the function's docstring."""


class Unread(LabTask):
    """A verb that is not on the command line. Its module is imported when something calls it."""

    def __init__(self, verb: str, about: str) -> None:
        def body(*arguments: Any, **options: Any) -> Any:
            return read_verb(verb)(*arguments, **options)

        body.__doc__ = about
        super().__init__(body, name=verb)

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """None: nobody typed it, so nobody gave it any. A word that is no task is refused."""
        super().get_arguments(ignore_unknown_help)
        return []


def read_verb(verb: str) -> LabTask:
    """A verb of the lab, with its flags."""
    module, _, name = VERBS[verb][0].rpartition(".")
    made: LabTask = getattr(import_module(f"labcrate.tasks.{module}"), name)
    return made


def verb_or_its_line(verb: str) -> LabTask:
    """The verb, where it may be meant: `up`, `--help=up`, or in a program that is not Invoke."""
    typed = sys.argv[1:] if typed_words() else []
    unread = typed and not any(word.endswith(verb) for word in typed)
    return Unread(verb, VERBS[verb][1]) if unread else read_verb(verb)
