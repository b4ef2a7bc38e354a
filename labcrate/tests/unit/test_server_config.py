"""JupyterLab's settings in the image, read as the server reads them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from labcrate.lab.images import PARTS

CONFIG = PARTS / "jupyter_server_config.py"
PARTS_OF_IT = ("ServerApp", "IdentityProvider", "FileContentsManager", "LabApp")


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the file sets, with a token and an address."""
    utils = ModuleType("jupyter_server.utils")
    utils.JupyterServerAuthWarning = UserWarning  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jupyter_server", ModuleType("jupyter_server"))
    monkeypatch.setitem(sys.modules, "jupyter_server.utils", utils)
    monkeypatch.setenv("JUPYTER_DIR", "/lab/notebooks")

    def run(token: str | None, address: str = "127.0.0.1") -> SimpleNamespace:
        monkeypatch.setenv("BIND_ADDRESS", address)
        secret = tmp_path / "token"
        if token is not None:
            secret.write_text(token)
        text = CONFIG.read_text().replace("/run/secrets/jupyter_token", str(secret))
        found = SimpleNamespace(**{name: SimpleNamespace() for name in PARTS_OF_IT})
        exec(compile(text, CONFIG.name, "exec"), {"get_config": lambda: found})
        return found

    return run


@pytest.mark.parametrize("token", ["", "\n", None])
def test_without_a_token_it_never_starts(read: Any, token: str | None) -> None:
    """Jupyter takes an empty one to mean that everybody may come in."""
    with pytest.raises(SystemExit, match="invoke setup"):
        read(token)


def test_the_token_is_asked_for_everywhere(read: Any) -> None:
    found = read("secret\n")
    assert found.IdentityProvider.token == "secret"
    assert found.ServerApp.allow_unauthenticated_access is False
    assert not hasattr(found.ServerApp, "allow_origin")
    assert not hasattr(found.ServerApp, "disable_check_xsrf")


@pytest.mark.parametrize(("address", "any_name"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_on_the_loopback_this_machines_names_alone_are_answered(
    read: Any, address: str, any_name: bool
) -> None:
    assert read("secret", address).ServerApp.allow_remote_access is any_name


def test_nothing_is_installed_or_fetched_from_a_menu(read: Any) -> None:
    app = read("secret").LabApp
    assert app.extension_manager == "readonly"
    assert app.news_url is None
    assert app.check_for_updates_class == "jupyterlab.NeverCheckForUpdate"
