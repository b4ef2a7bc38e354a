"""image/jupyter_server_config.py, without JupyterLab: what its log says of addresses."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

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


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The server's log, as the configuration leaves it."""
    utils = types.ModuleType("jupyter_server.utils")
    utils.JupyterServerAuthWarning = UserWarning  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jupyter_server", types.ModuleType("jupyter_server"))
    monkeypatch.setitem(sys.modules, "jupyter_server.utils", utils)
    monkeypatch.setenv("JUPYTER_DIR", "/lab/notebooks")
    source = (PARTS / "jupyter_server_config.py").read_text()
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: "t" * 48)
    logger = logging.getLogger("ServerApp")
    exec(compile(source, "config", "exec"), {"get_config": MagicMock()})
    yield logger
    logger.filters.clear()


def test_the_log_has_no_address_that_leads_nowhere(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
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
