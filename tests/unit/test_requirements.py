"""What may be typed after add-package, and what is refused before anything starts."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from labcrate import requirements
from labcrate.errors import Code, LabError

CLONE = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        ("transformers", ["transformers"]),
        ("  peft>=0.10,<1 ", ["peft<1,>=0.10"]),
        ("a b>=2", ["a", "b>=2"]),
        ("a >= 1 b", ["a>=1", "b"]),
        ("a>=1, <2 b[x, y]", ["a<2,>=1", "b[x,y]"]),
        ("Sentence_Transformers", ["Sentence_Transformers"]),
        ("datasets[audio,vision]~=3.0", ["datasets[audio,vision]~=3.0"]),
        ("x @ https://host/x-1-py3-none-any.whl", ["x @ https://host/x-1-py3-none-any.whl"]),
        ("https://host/x-1.0-py3-none-any.whl", ["x @ https://host/x-1.0-py3-none-any.whl"]),
        ("x @ git+https://host/x.git@v1", ["x @ git+https://host/x.git@v1"]),
        ("a ; python_version >= '3.9'", ['a; python_version >= "3.9"']),
    ],
)
def test_requirements(typed: str, lines: list[str]) -> None:
    assert [one.line for one in requirements.parse(typed, CLONE)] == lines


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "empty"),
        (" \t ", "empty"),
        ("--index-url=https://elsewhere", "an option"),
        ("a --extra-index-url x", "an option"),
        ("-r other.txt", "an option"),
        ("; rm -rf /", "expected package name"),
        ("a; rm -rf /", "not a package"),
        ("$(touch x)", "not a package"),
        ("`id`", "not a package"),
        ("a|b", "not a package"),
        ("x" * 300, "300 characters"),
        ("a\x00b", "control characters"),
        ("a\x1b[31m", "control characters"),
        ("a\u202eb", "control characters"),
        ("a\nb", "control characters"),
        ("ünïcode", "not a package"),
        ("a==", "not a package"),
        ("a==1 a==2", "named twice"),
        ("sklearn", "the package is scikit-learn"),
        ("cv2", "opencv-python-headless"),
        ("PIL", "the package is pillow"),
        ("git+https://host/thing.git@main", "needs a name"),
        ("x @ git+ssh://git@host/x", "cannot fetch from git+ssh"),
        ("x @ ftp://host/x.whl", "cannot fetch from ftp"),
        ("x @ https://user:secret@host/x-1-py3-none-any.whl", "a user or a password"),
        ("https://host/archive.zip", "not the name of a wheel"),
        ("./no-such-folder", "no such file"),
        ("/etc/passwd", "outside this clone"),
        ("../elsewhere.whl", "outside this clone"),
        ("./docs", "no Python project"),
        ("./README.md", "not the name of a wheel"),
    ],
)
def test_refusals(typed: str, told: str) -> None:
    with pytest.raises(LabError, match=re.escape(told)) as caught:
        requirements.parse(typed, CLONE)
    assert caught.value.code is Code.PACKAGE_REFUSED
    assert caught.value.fix
    assert "secret" not in str(caught.value)


def test_the_fix_of_a_git_address_can_be_typed() -> None:
    with pytest.raises(LabError) as caught:
        requirements.parse("git+https://host/thing.git@main", CLONE)
    typed = caught.value.fix.partition("'")[2].rstrip("'")
    assert requirements.parse(typed, CLONE)[0].name == "thing"


def test_a_project_in_the_clone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pyproject.toml").touch()
    (tmp_path / "x-1.0-py3-none-any.whl").touch()
    folder, wheel = requirements.parse("./mine x-1.0-py3-none-any.whl", tmp_path)
    assert (folder.path, folder.name) == (tmp_path / "mine", "")
    assert (wheel.path, wheel.name) == (tmp_path / "x-1.0-py3-none-any.whl", "x")


@pytest.mark.parametrize("typed", ["ffmpeg", "libgl1 libglib2.0-0t64", "g++ g++"])
def test_debian_names(typed: str) -> None:
    assert set(requirements.debian_names(typed)) == set(typed.split())


@pytest.mark.parametrize("typed", ["", "-y", "ffmpeg;id", "FFmpeg", "a=1", "$(id)", "a/b", "x"])
def test_debian_refusals(typed: str) -> None:
    with pytest.raises(LabError) as caught:
        requirements.debian_names(typed)
    assert caught.value.code is Code.PACKAGE_REFUSED


@pytest.mark.parametrize("typed", ["", "a>=1", "-x", "a;b", "a" * 300, "../a"])
def test_names_to_remove_are_plain(typed: str) -> None:
    with pytest.raises(LabError):
        requirements.names(typed)
    assert requirements.names("Foo_Bar baz") == ("foo-bar", "baz")


NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"(==|>=|<=|~=|!=|>|<)[0-9]{1,3}(\.[0-9]{1,3}){1,2}", fullmatch=True)
SHELL = st.text(alphabet=string.printable + "ünï\u202e\x00\x1b", max_size=400)
ALMOST = st.builds(
    lambda *parts: "".join(parts),
    NAMES,
    st.sampled_from(["", " ", "[", "[x]", " @ ", ";", "$(", "`", "|", "&&", "\n", "://", "--"]),
    st.one_of(VERSIONS, NAMES, SHELL),
)


@given(st.one_of(SHELL, ALMOST))
@example("a @ file:///etc/passwd")
@example("a @ https://[bad")
@example("https://[bad")
@example("~nobody-here/x.whl")
def test_only_a_requirement_or_a_refusal_comes_out(typed: str) -> None:
    """No traceback, and nothing that an installer would take for an option, a path or a command."""
    try:
        found = requirements.parse(typed, CLONE)
    except LabError as error:
        assert error.code is Code.PACKAGE_REFUSED
        assert error.fix
        return
    assert found
    for one in found:
        if one.path:
            assert one.path.is_relative_to(CLONE)
            continue
        parsed = Requirement(one.line)
        assert parsed.url is None or parsed.url.startswith(("http", "git+http"))
        assert not one.line.startswith("-")
        assert not set(one.line) & set("\n\r\x00\x1b`|&")


@given(NAMES, st.lists(VERSIONS, max_size=2))
def test_what_is_valid_comes_through(name: str, versions: list[str]) -> None:
    typed = name + ",".join(versions)
    if name.lower() in requirements.MODULES:
        return
    try:
        wanted = Requirement(typed)
    except Exception:
        return
    (found,) = requirements.parse(typed, CLONE)
    assert Requirement(found.line).specifier == wanted.specifier
