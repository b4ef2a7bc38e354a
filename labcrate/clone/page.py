"""A private page that leads on to a link with a secret in it."""

from __future__ import annotations

import html

from labcrate.clone.env_file import write_private
from labcrate.clone.place import Clone

PAGE = "open.html"
"""The page's name in the clone's state."""


def private_page(clone: Clone, link: str) -> str:
    """The address of a page, readable for this user alone, that leads on to a link.

    What opens a browser gets the address as an argument, and every user of this machine can read
    the arguments of every process.
    """
    path = clone.state / PAGE
    target = html.escape(link)
    write_private(
        path,
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">\n'
        f'<meta http-equiv="refresh" content="0; url={target}">\n'
        f'<a href="{target}">JupyterLab</a>\n',
    )
    return path.as_uri()
