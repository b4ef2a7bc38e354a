"""The text of .env: read, filled in, quoted, and written so that nobody else can read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from labcrate.clone.env_file import (
    fill,
    parse_env,
    parse_size,
    quote,
    read_env,
    read_text,
    writable,
    write_private,
)
from labcrate.errors import Code, LabError


def test_a_name_without_a_value_is_empty() -> None:
    assert parse_env("A=1\nB=\nC\n# D=4\n") == {"A": "1", "B": "", "C": ""}


def test_nothing_is_interpolated() -> None:
    assert parse_env("A='$HOME'\nB=${A}\n") == {"A": "$HOME", "B": "${A}"}


def test_fill_keeps_comments_and_order() -> None:
    text = "# one\nA=\n# two\nB=2\n"
    assert fill(text, {"A": "x y", "C": "3"}) == "# one\nA='x y'\n# two\nB=2\nC=3\n"


def test_fill_keeps_backslashes() -> None:
    assert fill("A=\n", {"A": r"/data\1"}) == "A='/data\\1'\n"


def test_a_single_quote_is_refused_not_mangled() -> None:
    with pytest.raises(LabError) as caught:
        quote("/home/o'brien")
    assert caught.value.code is Code.FOLDER


def test_text_that_is_not_utf8_names_the_byte_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(LabError, match="byte 0xff in line 2") as caught:
        read_text(path)
    assert caught.value.code is Code.SETTINGS


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_private_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_private(tmp_path / ".env", "A=1\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert read_env(tmp_path / ".env") == {"A": "1"}


def test_a_folder_that_cannot_be_written_to_is_named() -> None:
    with pytest.raises(LabError, match=r"cannot write /proc/\.env") as caught:
        write_private(Path("/proc/.env"), "A=1\n")
    assert caught.value.code is Code.FOLDER


def test_a_folder_is_tried_and_not_asked(tmp_path: Path) -> None:
    assert writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not writable(Path("/proc"))


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("512", 512), ("7b", 7), ("2k", 2048), ("256m", 2**28), ("8G", 2**33)],
)
def test_sizes_as_compose_reads_them(text: str, bytes_: int) -> None:
    assert parse_size(text) == bytes_
