"""Why a package cannot be added, in plain words, and what would help."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from labcrate import known, output
from labcrate.errors import Code, LabError
from labcrate.lab.images import build_failure
from labcrate.packages.locks import Pin
from labcrate.packages.names import (
    DRIVER,
    LIBRARIES,
    PROVIDERS,
    TOGETHER,
    WITHOUT_FILE,
    nearest_names,
)

OLD_SETUPTOOLS = "pkg_resources"
"""A module of setuptools, until version 82 dropped it. The base has a newer one, which stays."""


SHADOW = re.compile(
    r"`(?P<name>\S+)` was found on (?P<here>\S+), but not at the requested version "
    r"\((?P<wanted>[^)]+)\)\. A compatible version may be available on a subsequent index "
    r"\(e\.g\., (?P<there>[^)\s]+)\)"
)
"""uv's hint, which is below its reasons."""


def resolution_failure(
    what: str, said: str, base: Mapping[str, Pin], keep: Mapping[str, Pin]
) -> LabError:
    """What the resolver's words mean. what: the requirements asked for; said: all uv printed."""
    cause = resolver_reasons(said)
    if of_an_index := _of_an_index(said, cause):
        return of_an_index
    if unknown := re.search(r"(\S+) was not found in the package registry", cause):
        return _not_found(unknown[1], base, keep)
    if "No solution found" not in said or "`build-system.requires`" in said:
        return build_failure(said.strip())
    if damaged := re.search(r"(\S+) has an invalid package format", cause):
        return LabError(
            f"the package index broke off, or sent a broken file: {damaged[1]}",
            fix="check the network and the index, then run the same command again",
            code=Code.NETWORK,
            why=cause,
        )
    if version := re.search(r"there is no version of (\S+?)( and|,|$)", cause):
        return LabError(
            f"no index has {version[1]}",
            fix=f"ask for a version that exists, or for none: {_bare(version[1])}",
            code=Code.PACKAGE_UNKNOWN,
            why=cause,
        )
    return _conflict(what, cause, base, keep)


def _of_an_index(said: str, cause: str) -> LabError | None:
    """What an index did: it refuses the login, or hides what another one has."""
    refused = known.recognise(said, "build")
    if refused and refused.code is Code.INDEX_LOGIN:
        return LabError(refused.problem, fix=refused.fix, code=refused.code, why=cause)
    shadow = SHADOW.search(re.sub(r"\s+", " ", said))
    return _shadowed(shadow) if shadow else None


def _shadowed(shadow: re.Match[str]) -> LabError:
    """One index hides another's versions: uv takes a project from the first index that has it."""
    name, here, there = shadow["name"], shadow["here"], shadow["there"]
    return LabError(
        f"{here} has {name}, and not as {shadow['wanted']}; it hides the versions of {there}",
        fix=f"the choice is yours: take {here} out of pip's settings on this host (pip config "
        f"list), then: invoke setup; or ask for a version that it has; or name the file: invoke "
        f"add-package '{name} @ https://.../{name}-VERSION-py3-none-any.whl'",
        code=Code.PACKAGE_UNKNOWN,
        why="a project is taken from the first index that has it, and extra indexes come first: "
        "nobody else can then offer a package under the name of one of yours",
    )


def resolver_reasons(said: str) -> str:
    """The resolver's reasons, as one line of text."""
    found = re.search(r"(?:cause|╰─▶)[: ]\s*(Because .*)", said, re.DOTALL)
    text = found[1] if found else said
    text = re.split(r"\n\s*\n|\n\s*hint", text)[0]
    return re.sub(r"\s+", " ", text).replace(", we can conclude that", ", so").strip()


def _bare(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
    return found[0] if found else requirement


def _not_found(name: str, base: Mapping[str, Pin], keep: Mapping[str, Pin]) -> LabError:
    near = nearest_names(name, [*base, *keep])
    hint = f"did you mean {' or '.join(near)}?" if near else "check the spelling"
    return LabError(
        f"no index has a package named {name}",
        fix=f"{hint} (a private index goes into pip's settings on this host)",
        code=Code.PACKAGE_UNKNOWN,
    )


def _conflict(what: str, cause: str, base: Mapping[str, Pin], keep: Mapping[str, Pin]) -> LabError:
    """Two requirements that no set of versions meets: name the one that is held, and by whom."""
    named = set(re.findall(r"([A-Za-z0-9][\w.-]*)(?:[=<>!~]=?|\[)", cause))
    problem = f"{what}: no set of versions meets all that is asked for"
    fix = "ask for another version of it"
    if by_base := sorted(named & set(base)):
        held = ", ".join(f"{name} {base[name].where}" for name in by_base)
        problem = f"{what} does not go with {held}, which the base holds and nothing may move"
        fix = (
            "ask for another version of it, one made for these; or change docker/torch.in or "
            "docker/base.in on purpose, and run: invoke lock --all"
        )
    elif by_lock := sorted(named & set(keep)):
        held = ", ".join(f"{name} {keep[name].where}" for name in by_lock)
        problem = f"{what} does not go with {held}, which you added before"
        fix = "the same command with --upgrade (lets what was added before move)"
    return LabError(problem, fix=fix, code=Code.PACKAGE_CONFLICT, why=cause)


def stale_lock_failure(problems: Sequence[str]) -> LabError:
    """The error for locks that are stale. problems: one line each."""
    return LabError(
        "a lock does not match what is asked for:\n    - " + "\n    - ".join(problems),
        fix="invoke lock (what you added), or invoke lock --all (the base and the tools, too)",
        code=Code.LOCK_STALE,
    )


def check_verified(seen: Mapping[str, Any]) -> None:
    """Refuse an image that is not what it has to be. seen: the answer of inside.py verify."""
    for what, code in (("moved", Code.PACKAGE_CONFLICT), ("missing", Code.BUILD)):
        if seen[what]:
            rows = ", ".join(f"{n} {v[0]} -> {v[1] or 'gone'}" for n, v in seen[what].items())
            raise LabError(
                f"the new image is not as locked: {rows}",
                fix="run the same command again; if it fails again, report it as a bug of labcrate",
                code=code,
            )
    absent = [*seen["absent"], *seen["system"]]
    if absent:
        raise LabError(
            f"not in the new image: {', '.join(absent)}",
            fix="check the name",
            code=Code.PACKAGE_BROKEN,
        )
    for name, error in seen["broken"].items():
        if DRIVER.search(error.partition("\n")[0]):
            output.say_always(
                f"  {name} needs the GPU's driver to import; on a GPU the lab has it."
            )
        else:
            raise import_failure(name, error)
    for name in seen["plugins"]:
        output.say_always(
            f"  {name} has a plugin for TensorBoard. The TensorBoard service is another image and "
            "will not have it. In a notebook it is there: %load_ext tensorboard, then "
            "%tensorboard --logdir /lab/runs"
        )


def import_failure(name: str, error: str) -> LabError:
    """Why a package that installs does not import, and what would help.

    error: the message, and below its first line all that the package printed.
    """
    fix = "look for the message among the package's own issues, or ask for another version"
    files = [one.rstrip(".") for one in re.findall(r"lib[\w.+-]+\.so[.\d]*", error)]
    known = next((LIBRARIES[one] for one in files if one in LIBRARIES), "")
    if package := _without_file(error) or known:
        fix = _system_fix(name, package)
    elif files:
        fix = (
            f"find the system package with {files[0]} (apt-file search {files[0]}), then: "
            "invoke add-package --system THAT"
        )
    elif module := re.search(r"No module named '([\w.]+)'", error):
        fix = _module_fix(name, module[1])
    told = error.partition("\n")[0]
    return LabError(
        f"{name} installs and does not import: {told}", fix=fix, code=Code.PACKAGE_BROKEN
    )


def _without_file(error: str) -> str:
    """Debian's package, where the text says what is missing without the file of the library."""
    return next((name for text, name in WITHOUT_FILE.items() if re.search(text, error)), "")


def _system_fix(name: str, package: str) -> str:
    """The system packages to add first. The running lab gets them when it starts anew."""
    packages = next((more for one, more in TOGETHER.items() if name.startswith(one)), package)
    fix = f"invoke add-package --system {packages} up, then the same command again"
    if name.startswith("opencv-"):
        headless = name if name.endswith("headless") else f"{name}-headless"
        fix += f"; or take the build without windows: invoke add-package {headless}"
    return fix


def _module_fix(name: str, module: str) -> str:
    """Only known providers are named: a package with the module's name may be anybody's."""
    top = module.partition(".")[0]
    if top == OLD_SETUPTOOLS:
        return (
            f"ask for a newer version of {name}: it needs {OLD_SETUPTOOLS}, which setuptools "
            "dropped in version 82, and the base has a newer setuptools"
        )
    if provider := PROVIDERS.get(top.lower()):
        return f"it needs {provider}, and does not say so: invoke add-package '{name} {provider}'"
    return (
        f"it needs the module {module}, and does not say so. Look up which project provides it "
        f"(the name may differ), then: invoke add-package '{name} PROJECT'"
    )
