"""The fixtures that every unit test may use, each from the module that says what it is."""

from inside_script import inside
from jupyter_server import jupyter_server
from small_clone import bare_environment, clone, double, settings
from task_lab import task_lab

__all__ = [
    "bare_environment",
    "clone",
    "double",
    "inside",
    "jupyter_server",
    "settings",
    "task_lab",
]
