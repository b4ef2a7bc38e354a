"""`invoke open` shows nobody the token: a browser is started with the address of a private page."""

from __future__ import annotations

import html
import re
import stat
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from task_lab import TaskLab, context

from labcrate.clone.env_file import read_env
from labcrate.clone.page import private_page
from labcrate.clone.place import Clone
from labcrate.tasks.showing import open_


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", found.append)
    return found


def page_of(address: str) -> Path:
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("file", "")
    return Path(unquote(parts.path))


def test_no_argument_holds_the_token_and_the_page_leads_there(
    task_lab: TaskLab, opened: list[str]
) -> None:
    token = read_env(task_lab.clone.env_file)["JUPYTER_TOKEN"]
    open_(context())
    assert not [address for address in opened if token in address]
    page = page_of(opened[0])
    link = f"http://127.0.0.1:{task_lab.ports['jupyter']}/lab?token={token}"
    assert f"url={link}" in page.read_text()
    assert opened[1:] == [
        f"http://127.0.0.1:{task_lab.ports[name]}/" for name in ("tensorboard", "mlflow")
    ]
    assert not [argv for argv in task_lab.double.calls if token in " ".join(argv)]


def test_the_page_is_this_users_alone_whatever_was_there(
    task_lab: TaskLab, opened: list[str]
) -> None:
    page = task_lab.clone.state / "open.html"
    page.write_text("old")
    page.chmod(0o644)
    open_(context())
    assert page_of(opened[0]) == page
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "old" not in page.read_text()


@pytest.mark.parametrize("name", ["lab tést (1)", "it's #1 & co?", '100% "new"'])
def test_any_folder_and_any_link(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    (root / ".labcrate").mkdir(parents=True)
    link = 'http://127.0.0.1:1/lab?a=1&token="><script>'
    page = page_of(private_page(Clone(root=root, here=root), link))
    text = page.read_text()
    assert "<script>" not in text
    (found,) = re.findall(r'content="0; url=([^"]*)"', text)
    assert html.unescape(found) == link
