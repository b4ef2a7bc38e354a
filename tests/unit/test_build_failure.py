"""What a failed build's own words mean, from words that real builds ended with."""

from __future__ import annotations

import pytest

from labcrate import stack
from labcrate.errors import Code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("write /root/.cache/uv/x: no space left on device", Code.DISK_FULL),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", Code.DISK_FULL),
        (
            "failed to receive status: rpc error: code = Unavailable desc = error reading from "
            "server: read unix @->/var/run/docker.sock: read: connection reset by peer",
            Code.ENGINE_DOWN,
        ),
        ("rpc error: code = Unavailable desc = error reading from server: EOF", Code.ENGINE_DOWN),
        (
            "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            Code.ENGINE_DOWN,
        ),
        ("error: Failed to fetch: `http://172.17.0.1:1/down/x/`", Code.NETWORK),
        ("Connection reset by peer while reading the index: connection broken", Code.NETWORK),
        ("debian:gone: failed to resolve source metadata for x: not found", Code.BASE_IMAGE),
        ("pull access denied, repository does not exist", Code.BASE_IMAGE),
        ("gcc: error: unrecognized command-line option", Code.BUILD),
    ],
)
def test_the_words_of_a_failed_build(text: str, code: Code) -> None:
    error = stack.build_failure(f"#12 3.4 {text}\n")
    assert error.code is code
    assert error.fix
    assert text in error.problem
