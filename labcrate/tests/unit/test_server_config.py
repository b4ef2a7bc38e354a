"""JupyterLab's settings in the image, read as the server reads them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from labcrate.lab.images import PARTS

STARTED = (
    "Serving notebooks from local directory: /lab",
    "Jupyter Server 2.21.1 is running at:",
    "http://5d41402abc4b:8888/lab?token=...",
    "    http://127.0.0.1:8888/lab?token=...",
    "Use Control-C to stop this server and shut down all kernels",
    "302 GET /lab?x=http://127.0.0.1:8888/ (@172.18.0.1) 1.00ms",
)
"""What Jupyter Server 2.21 logs as it starts, and a request."""

CONFIG = PARTS / "jupyter_server_config.py"
PARTS_OF_IT = ("ServerApp", "IdentityProvider", "FileContentsManager", "LabApp")
KERNELS = "MappingKernelManager"


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What the file sets, with a token and an address; and the server's log, as it leaves it."""
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
        found = SimpleNamespace(**{name: SimpleNamespace() for name in (*PARTS_OF_IT, KERNELS)})
        exec(compile(text, CONFIG.name, "exec"), {"get_config": lambda: found})
        return found

    yield run
    logging.getLogger("ServerApp").filters.clear()


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


def test_the_log_has_no_address_that_leads_nowhere(
    read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    read("secret")
    log = logging.getLogger("ServerApp")
    with caplog.at_level(logging.INFO, logger="ServerApp"):
        for line in STARTED:
            log.info(line)
        log.info("Jupyter Server %s is running at:", "3")
    assert caplog.messages == [
        STARTED[0],
        "Jupyter Server 2.21.1 is running; on the host, `invoke url` prints its link",
        *STARTED[4:],
        "Jupyter Server 3 is running; on the host, `invoke url` prints its link",
    ]


@pytest.mark.parametrize("hours", ["", "0", "0.0", None])
def test_kernels_are_never_ended_where_nobody_asked_for_it(
    read: Any, monkeypatch: pytest.MonkeyPatch, hours: str | None
) -> None:
    monkeypatch.delenv("IDLE_HOURS", raising=False)
    if hours is not None:
        monkeypatch.setenv("IDLE_HOURS", hours)
    assert vars(read("secret").MappingKernelManager) == {}


def test_idle_kernels_are_ended_and_busy_ones_are_not(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDLE_HOURS", "1.5")
    assert vars(read("secret").MappingKernelManager) == {
        "cull_idle_timeout": 5400,
        "cull_interval": 60,
        "cull_connected": True,
        "cull_busy": False,
    }
