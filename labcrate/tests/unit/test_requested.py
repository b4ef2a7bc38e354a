"""What may be typed after add-package, and what is refused before anything starts."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labcrate.clone.place import Clone, find_clone
from labcrate.errors import Code, LabError
from labcrate.packages.names import IN_BASE, MODULES
from labcrate.packages.requested import debian_names, names_to_remove, parse_requirements

ROOT = find_clone(Path(__file__).parent).root
CLONE = Clone(root=ROOT, here=ROOT)


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
        ("a\n", ["a"]),
        ("a==1  # why\n\n# b\nc>=2,\\\n  <3 \r\na==1\n", ["a==1", "c<3,>=2"]),
        ("a\na\ncolorama; sys_platform == 'win32'\n", ["a"]),
        ("a==1 --hash=sha256:00 \\\n   --hash=sha256:11", ["a==1"]),
    ],
)
def test_requirements(typed: str, lines: list[str]) -> None:
    assert [one.line for one in parse_requirements(typed, CLONE)] == lines


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "nothing was named"),
        (" \t ", "nothing was named"),
        ("--index-url=https://elsewhere", "an option"),
        ("a --extra-index-url x", "an option"),
        ("-r other", "add-package -r FILE"),
        ("; rm -rf /", "expected package name"),
        ("a; rm -rf /", "not a package"),
        ("$(touch x)", "not a package"),
        ("`id`", "not a package"),
        ("a|b", "not a package"),
        ("x" * 300, "300 characters"),
        ("a\x00b", "control characters"),
        ("a\x1b[31m", "control characters"),
        ("a\u202eb", "control characters"),
        ("a\x0bb", "control characters"),
        ("a\nb\x07", "the text, line 2: 'b\N{REPLACEMENT CHARACTER}'"),
        ("a\n-e ./mine", "the text, line 2: '-e ./mine' is an option"),
        ("README.md", "a file here"),
        ("no-such.txt", "No such file"),
        ("./labcrate/docs.in", "No such file"),
        ("ünïcode", "not a package"),
        ("ü" * 200, "not a package"),
        ("ü" * 200 + ".txt", "cannot be read as a requirements file"),
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
        ("./labcrate/docs", "no Python project"),
        ("./README.md", "not the name of a wheel"),
        ("./" + "\u00fc" * 240, "too long"),
        ("https:///x-1.0-py3-none-any.whl", "names no host"),
        ("pytorch", "did you mean torch? The base has it"),
        ('colorama; sys_platform == "win32"', "nothing would be installed"),
        ("tomli; python_version < '3.11'", "nothing would be installed"),
    ],
)
def test_refusals(typed: str, told: str) -> None:
    with pytest.raises(LabError) as caught:
        parse_requirements(typed, CLONE)
    assert told in str(caught.value)
    assert caught.value.code is Code.PACKAGE_REFUSED
    assert caught.value.fix
    assert "secret" not in str(caught.value)


def test_the_fix_of_a_git_address_can_be_typed() -> None:
    with pytest.raises(LabError) as caught:
        parse_requirements("git+https://host/thing.git@main", CLONE)
    typed = caught.value.fix.partition("'")[2].rstrip("'")
    assert parse_requirements(typed, CLONE)[0].name == "thing"


def test_the_fix_of_a_marker_that_does_not_apply_can_be_typed() -> None:
    with pytest.raises(LabError) as caught:
        parse_requirements("colorama>=1; sys_platform == 'win32'", CLONE)
    assert caught.value.fix.endswith("invoke add-package 'colorama>=1'")


def test_a_project_in_the_clone(clone: Clone) -> None:
    (clone.root / "mine").mkdir()
    (clone.root / "mine" / "pyproject.toml").touch()
    (clone.root / "x-1.0-py3-none-any.whl").touch()
    folder, wheel = parse_requirements("./mine x-1.0-py3-none-any.whl", clone)
    assert (folder.path, folder.name) == (clone.root / "mine", "")
    assert (wheel.path, wheel.name) == (clone.root / "x-1.0-py3-none-any.whl", "x")


def test_a_path_starts_where_the_user_stands(clone: Clone) -> None:
    here = clone.root / "notebooks"
    for folder in (here, clone.root):
        (folder / "x-1.0-py3-none-any.whl").touch()
    (clone.root / "y-1.0-py3-none-any.whl").touch()
    standing = Clone(root=clone.root, here=here)
    typed = ("./x-1.0-py3-none-any.whl", "./y-1.0-py3-none-any.whl", "../y-1.0-py3-none-any.whl")
    found = [parse_requirements(one, standing)[0].path for one in typed]
    top = clone.root / "y-1.0-py3-none-any.whl"
    assert found == [here / "x-1.0-py3-none-any.whl", top, top]


def test_several_arguments_and_a_path_with_spaces(clone: Clone) -> None:
    (clone.root / "my own").mkdir()
    (clone.root / "my own" / "pyproject.toml").touch()
    typed = ["a>=1", "b >= 2", "./my own", "c", ">=", "3"]
    found = parse_requirements(typed, clone)
    assert [one.line for one in found] == ["a>=1", "b>=2", "", "c>=3"]
    assert found[2].path == clone.root / "my own"
    (alone,) = parse_requirements("./my own", clone)
    assert alone.path == clone.root / "my own"


def test_a_path_that_cannot_be_followed_is_refused(clone: Clone) -> None:
    (clone.root / "circle").symlink_to(clone.root / "circle")
    with pytest.raises(LabError) as caught:
        parse_requirements("./circle", clone)
    assert caught.value.code is Code.PACKAGE_REFUSED


def test_a_file_that_is_no_project_is_refused_where_a_space_is_in_its_name(clone: Clone) -> None:
    with pytest.raises(LabError, match="no such file"):
        parse_requirements(["./no such"], clone)
    with pytest.raises(LabError):
        parse_requirements(["./" + "\u00fc " * 120], clone)


@pytest.mark.parametrize("typed", ["ffmpeg", "libgl1 libglib2.0-0t64", "g++ g++"])
def test_debian_names(typed: str) -> None:
    assert set(debian_names(typed)) == set(typed.split())


@pytest.mark.parametrize("typed", ["", "-y", "ffmpeg;id", "FFmpeg", "a=1", "$(id)", "a/b", "x"])
def test_debian_refusals(typed: str) -> None:
    with pytest.raises(LabError) as caught:
        debian_names(typed)
    assert caught.value.code is Code.PACKAGE_REFUSED


@pytest.mark.parametrize("typed", ["", "a>=1", "-x", "a;b", "a" * 300, "../a"])
def test_names_to_remove_are_plain(typed: str) -> None:
    with pytest.raises(LabError):
        names_to_remove(typed)
    assert names_to_remove("Foo_Bar baz") == ("foo-bar", "baz")
    assert names_to_remove(["Foo_Bar", "baz foo-bar"]) == ("foo-bar", "baz")


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
    refusal: LabError | None = None
    try:
        found = parse_requirements(typed, CLONE)
    except LabError as error:
        found, refusal = (), error
    assert bool(found) is (refusal is None)
    assert refusal is None or (refusal.code, bool(refusal.fix)) == (Code.PACKAGE_REFUSED, True)
    for one in found:
        if one.path:
            assert one.path.is_relative_to(ROOT)
            continue
        parsed = Requirement(one.line)
        assert parsed.url is None or parsed.url.startswith(("http", "git+http"))
        assert not one.line.startswith("-")
        assert not set(one.line) & set("\n\r\x00\x1b`|&")


@given(NAMES, st.lists(VERSIONS, max_size=2))
def test_what_is_valid_comes_through(name: str, versions: list[str]) -> None:
    typed = name + ",".join(versions)
    if canonicalize_name(name) in {*MODULES, *IN_BASE}:
        return
    try:
        wanted = Requirement(typed)
    except Exception:
        return
    (found,) = parse_requirements(typed, CLONE)
    assert Requirement(found.line).specifier == wanted.specifier
