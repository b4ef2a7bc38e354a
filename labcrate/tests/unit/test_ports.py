"""Ports of this machine, tried with real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from labcrate.clone.ports import free_port, is_loopback, port_is_free, process_on
from labcrate.errors import Code, LabError


@pytest.fixture
def held() -> Iterator[int]:
    """A port that this very process listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_in_use_is_passed_over(held: int) -> None:
    assert not port_is_free("127.0.0.1", held)
    assert free_port(held, set()) > held


def test_a_port_that_the_lab_gave_away_is_passed_over() -> None:
    first = free_port(20000, set())
    assert free_port(first, {first}) > first


def test_no_port_left_is_an_error() -> None:
    with pytest.raises(LabError) as caught:
        free_port(65535, {65535})
    assert caught.value.code is Code.PORT_TAKEN


def test_the_process_on_a_port_is_named(held: int) -> None:
    assert f"process {os.getpid()} (" in process_on(held)
    assert process_on(1) == "another process"


@pytest.mark.parametrize(
    ("address", "is_one"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("0.0.0.0", False), ("localhost", False)],
)
def test_what_is_a_loopback_address(address: str, is_one: bool) -> None:
    assert is_loopback(address) is is_one
