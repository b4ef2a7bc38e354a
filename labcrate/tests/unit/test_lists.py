"""Requirements files as people have them: included ones, PowerShell's, options, other markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from labcrate.clone.place import Clone
from labcrate.errors import Code, LabError
from labcrate.packages.requested import parse_requirements

FROZEN = """\
# made by pip freeze
einops==0.8.1
colorama==0.4.6 ; sys_platform == "win32"
timm>=1.0 \\
    --hash=sha256:0011 \\
    --hash=sha256:2233  # two of them
"""


def lines_of(clone: Clone, *typed: str, files: tuple[str, ...] = ()) -> list[str]:
    return [one.line for one in parse_requirements(typed, clone, files)]


@pytest.mark.parametrize("typed", ["requirements.txt", "./requirements.txt", "{}/requirements.txt"])
def test_a_requirements_file_is_taken(
    clone: Clone, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (clone.root / "requirements.txt").write_text(FROZEN)
    path = typed.format(clone.root)
    wanted = ["einops==0.8.1", "timm>=1.0"]
    assert lines_of(clone, path) == wanted
    assert lines_of(clone, files=(path,)) == wanted
    assert lines_of(clone, "ftfy", path, "einops==0.8.1") == ["ftfy", *wanted]
    said = capsys.readouterr().out
    assert "requirements.txt, line 3: left out" in said
    assert "its hashes are not used" in said


def test_the_text_of_a_file_is_taken_too(clone: Clone) -> None:
    assert lines_of(clone, FROZEN.strip()) == ["einops==0.8.1", "timm>=1.0"]


def test_a_file_outside_of_the_clone_and_its_includes(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "all.txt").write_text("-r more/some.in\n--requirement=./all.txt\neinops\n")
    (tmp_path / "more" / "some.in").write_text("-r other.txt\ntimm\n")
    (tmp_path / "more" / "other.txt").write_text("ftfy\n")
    assert lines_of(clone, str(tmp_path / "all.txt")) == ["ftfy", "timm", "einops"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_another_system(clone: Clone, encoding: str) -> None:
    (clone.root / "list.txt").write_bytes("einops\r\ntimm # größer\r\n".encode(encoding))
    assert lines_of(clone, files=("list.txt",)) == ["einops", "timm"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("einops\n--extra-index-url https://host/simple\n", "extra-index-url https://host/simple"),
        ("-i https://host/simple\n", "pip config set global.index-url https://host/simple"),
        ("--no-index\n", "global.no-index true"),
        ("a\n\n-e ./mine\n", "list.txt, line 3: '-e ./mine' is an option"),
        ("-e ./mine\n", "invoke add-package -e ./mine"),
        ("-e git+https://host/x.git\n", "write NAME @ git+https://host/x.git there"),
        ("-c constraints.txt\n", "write its versions"),
        ("--pre\n", "remove the line"),
        ("-r gone.txt\n", "list.txt, line 1: 'gone.txt' is not a package"),
        ("a\na==1\n", "named twice"),
        ("sklearn\n", "list.txt, line 1: 'sklearn'"),
        ("a @ file:///home/me/a\n", "cannot fetch from file"),
        ("# nothing\n\n", "holds no requirement"),
        ("a \\\n==1 \\\n\nb!\n", "list.txt, line 4: 'b!'"),
    ],
)
def test_what_a_file_may_not_hold_is_named_with_its_line(
    clone: Clone, text: str, told: str
) -> None:
    (clone.root / "list.txt").write_text(text)
    with pytest.raises(LabError) as caught:
        parse_requirements((), clone, ("list.txt",))
    assert told in str(caught.value)
    assert caught.value.code is Code.PACKAGE_REFUSED


def test_a_file_that_cannot_be_read_is_refused(clone: Clone) -> None:
    (clone.root / "bad.txt").write_bytes(b"einops\n\xff\xfe\xff")
    (clone.root / "circle.txt").symlink_to("circle.txt")
    for typed in ("bad.txt", "notebooks/no.txt", "circle.txt"):
        with pytest.raises(LabError, match="cannot be read as a requirements file"):
            parse_requirements(typed, clone)


def test_a_name_that_is_a_file_is_never_asked_of_an_index(clone: Clone) -> None:
    for name in ("environment.yml", "train"):
        (clone.root / name).touch()
        with pytest.raises(LabError, match="it is a file here") as caught:
            parse_requirements(name, clone)
        assert "add-package -r FILE" in caught.value.fix
    (clone.root / "einops").mkdir()
    assert lines_of(clone, "einops") == ["einops"]
