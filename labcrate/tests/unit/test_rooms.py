"""The rooms of the machinery and what they may import; read from the sources, not at run time."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from clone import ROOT

PACKAGE = ROOT / "labcrate"
APART = ("tests/", "docs/", "image/", "smoke/suite/", "cluster/inside/")
"""Not part of the machinery: its tests, its docs, and what runs in the image."""

LEVELS = (
    {"errors", "labels", "environment", "output", "known"},
    {"starter"},
    {"process"},
    {"clone"},
    {"engine"},
    {"lab"},
    {"gpu"},
    {"packages", "doctor", "clean", "cluster"},
    {"smoke"},
    {"tasks"},
    {"sessions"},
)
"""A room imports rooms of lower levels alone; those of one level do not know each other."""

SAME_LEVEL = {("known", "errors")}
"""The base is no ladder: known failures are errors."""

LONGEST = 250
"""Lines of a module."""

MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.relative_to(PACKAGE).as_posix().startswith(APART)
}


def room_of(path: str) -> str:
    """`clone` of clone/lock.py, `errors` of errors.py."""
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def level_of(room: str) -> int:
    (found,) = (index for index, rooms in enumerate(LEVELS) if room in rooms)
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


IMPORTS = {path: set(imports(tree)) for path, tree in MODULES.items()}


def rooms_in(names: Iterable[str]) -> set[str]:
    """The rooms of labcrate among dotted names."""
    parts = (name.split(".") for name in names)
    return {part[1] for part in parts if part[0] == "labcrate" and len(part) > 1}


def attributes(tree: ast.Module) -> set[str]:
    """Uses of a module's names, such as os.environ."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def importers(name: str) -> list[str]:
    """The modules that import this package, or something of it."""
    return [
        path
        for path, found in IMPORTS.items()
        if any(one == name or one.startswith(f"{name}.") for one in found)
    ]


def public_functions(tree: ast.Module) -> list[str]:
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def test_every_room_has_its_level() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms == set().union(*LEVELS)


@pytest.mark.parametrize("path", MODULES)
def test_arrows_go_one_way(path: str) -> None:
    room = room_of(path)
    if room == "__init__":
        assert rooms_in(IMPORTS[path]) == set()
        return
    wrong = [
        other
        for other in rooms_in(IMPORTS[path]) - {room}
        if level_of(other) >= level_of(room) and (room, other) not in SAME_LEVEL
    ]
    assert wrong == []


def test_no_module_reaches_into_another_rooms_private_names() -> None:
    found = [
        f"{path}: {name}"
        for path, names in IMPORTS.items()
        for name in names
        if name.startswith("labcrate.") and name.split(".")[-1].startswith("_")
    ]
    assert found == []


def test_one_module_starts_processes() -> None:
    assert importers("subprocess") == ["starter.py"]


def test_one_module_reads_the_environment() -> None:
    names = {"os.environ", "os.getenv", "os.environb", "os.putenv"}
    found = [path for path, tree in MODULES.items() if names & (attributes(tree) | IMPORTS[path])]
    assert found == ["environment.py"]


def is_main(node: ast.stmt) -> bool:
    """Whether this is `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)


def prints(tree: ast.Module) -> bool:
    """Whether a module prints when it is imported or called, and not only as a program."""
    rest = ast.Module(body=[node for node in tree.body if not is_main(node)], type_ignores=[])
    for node in ast.walk(rest):
        if isinstance(node, ast.Name) and node.id == "print":
            return True
        writes = isinstance(node, ast.Attribute) and node.attr == "write"
        if writes and ast.unparse(node) in ("sys.stdout.write", "sys.stderr.write"):
            return True
    return False


def test_one_module_prints() -> None:
    assert [path for path, tree in MODULES.items() if prints(tree)] == ["output.py"]
    assert importers("rich.console") == ["output.py"]
    assert importers("rich.table") == ["output.py"]


def test_one_module_spells_labels() -> None:
    spelling = [
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and ("dev.labcrate." in node.value or "com.docker.compose." in node.value)
    ]
    assert set(spelling) == {"labels.py"}


@pytest.mark.parametrize("name", ["pip", "docker", "yaml", "requests"])
def test_nothing_private_or_unpinned_is_imported(name: str) -> None:
    """pip's modules are private; the others would be more tools to install on the host."""
    assert importers(name) == []


@pytest.mark.parametrize("path", MODULES)
def test_no_module_is_long(path: str) -> None:
    assert len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_no_two_public_functions_share_a_name() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for path, tree in MODULES.items():
        for name in public_functions(tree):
            where[name].append(path)
    twice = {name: paths for name, paths in where.items() if len(paths) > 1 and name != "main"}
    assert twice == {}


def test_what_runs_in_the_image_knows_nothing_of_the_machinery() -> None:
    """It lies in the image without the rest, with the standard library and pytest at most."""
    folders = ("image", "smoke/suite", "cluster/inside")
    inside = [path for folder in folders for path in (PACKAGE / folder).glob("*.py")]
    assert len(inside) > 4
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in inside}
    assert [name for name, tree in trees.items() if rooms_in(imports(tree))] == []


def test_every_module_says_what_it_is() -> None:
    assert [path for path, tree in MODULES.items() if not ast.get_docstring(tree)] == []


def test_the_rules_can_fail() -> None:
    """Each reader of the sources sees what it is there to see."""
    text = """
import os, subprocess
from labcrate.tasks import base
from labcrate.lab.images import _hidden
print(os.environ["X"])
sys.stdout.write("x")
if __name__ == "__main__":
    print("fine")
"""
    tree = ast.parse(text)
    assert {"subprocess", "labcrate.tasks.base", "labcrate.lab.images._hidden"} <= set(
        imports(tree)
    )
    assert rooms_in(imports(tree)) == {"tasks", "lab"}
    assert "os.environ" in attributes(tree)
    assert prints(tree)
    written = text.replace('print(os.environ["X"])', "")
    assert prints(ast.parse(written))
    assert not prints(ast.parse(written.replace('sys.stdout.write("x")', "")))
    assert level_of("clean") == level_of("doctor") < level_of("smoke")


def test_the_paths_are_where_these_tests_look() -> None:
    assert {"errors.py", "tasks/starting.py", "lab/compose.py"} <= set(MODULES)
    assert [path for path in MODULES if Path(path).name.startswith("test_")] == []
