"""Protections taken out, one at a time, and the test that must then fail.

`nox -s mutations` runs it and writes docs/mutations.md. Each mutation is made in a copy of the
working tree; the same test must pass in a copy without it. A unit test checks that each one still
fits the source. None of them may remove what is not the lab's own, so those of `clean` that would
are tried against a stand-in of the engine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clone import ROOT, copy_tree

from labcrate.clone.env_file import read_env

PAGE = ROOT / "labcrate" / "docs" / "mutations.md"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """what: the protection. old occurs once in file; with new in its place, test must fail."""

    what: str
    file: str
    old: str
    new: str
    test: str


CONFIGURED = "labcrate/pyproject.toml"
CONFIG = "labcrate/image/jupyter_server_config.py"
COMPOSE = "compose/compose.yaml"
DOOR = "labcrate/tests/engine/test_door.py"
CLEAN = "labcrate/tests/engine/test_clean.py"

MUTATIONS = (
    Mutation(
        what="JupyterLab asks for the token",
        file=CONFIG,
        old="c.IdentityProvider.token = token",
        new='c.IdentityProvider.token = ""',
        test=f"{DOOR}::test_every_route_needs_the_token",
    ),
    Mutation(
        what="JupyterLab answers to this machine's names alone",
        file=CONFIG,
        old="c.ServerApp.allow_remote_access = not bound.is_loopback",
        new="c.ServerApp.allow_remote_access = True",
        test=f"{DOOR}::test_foreign_host_names_are_refused",
    ),
    Mutation(
        what="TensorBoard answers to this machine's names alone",
        file="labcrate/image/guard.py",
        old='if is_own(environ.get("HTTP_HOST", "")):',
        new="if True:",
        test=f"{DOOR}::test_foreign_host_names_are_refused",
    ),
    Mutation(
        what="another page in the browser cannot use the login",
        file=CONFIG,
        old="c.ServerApp.port_retries = 0",
        new='c.ServerApp.port_retries = 0\nc.ServerApp.allow_origin = "*"\n'
        "c.ServerApp.disable_check_xsrf = True",
        test=f"{DOOR}::test_another_page_cannot_use_the_login",
    ),
    Mutation(
        what="TensorBoard is published on the loopback",
        file=COMPOSE,
        old='"127.0.0.1:${TENSORBOARD_PORT',
        new='"0.0.0.0:${TENSORBOARD_PORT',
        test="labcrate/tests/engine/test_exposure.py::test_ports_are_on_the_loopback_only",
    ),
    Mutation(
        what="all capabilities are dropped",
        file=COMPOSE,
        old="cap_drop: [ALL]",
        new="cap_drop: []",
        test="labcrate/tests/engine/test_inside.py::test_a_notebook_has_no_privileges",
    ),
    Mutation(
        what="no-new-privileges",
        file=COMPOSE,
        old='security_opt: ["no-new-privileges:true"]',
        new="security_opt: []",
        test="labcrate/tests/engine/test_inside.py::test_a_notebook_has_no_privileges",
    ),
    Mutation(
        what="TensorBoard's file system is read-only",
        file=COMPOSE,
        old="    read_only: true\n    tmpfs",
        new="    tmpfs",
        test="labcrate/tests/engine/test_inside.py::test_nothing_can_be_written_outside_the_mounts",
    ),
    Mutation(
        what="the token travels as a secret",
        file=COMPOSE,
        old="      ROOT_DIR: /lab\n",
        new="      ROOT_DIR: /lab\n      JUPYTER_TOKEN: ${JUPYTER_TOKEN}\n",
        test="labcrate/tests/engine/test_token.py::test_the_token_shows_nowhere",
    ),
    Mutation(
        what="a server that ends is started again",
        file=COMPOSE,
        old="restart: always",
        new='restart: "no"',
        test="labcrate/tests/engine/test_killed.py::test_a_killed_server_comes_back",
    ),
    Mutation(
        what="one changing task at a time",
        file="labcrate/clone/lock.py",
        old="        lock.acquire(timeout=0.3)\n",
        new="        pass\n",
        test="labcrate/tests/engine/test_refusals.py::test_two_at_once_wait_for_each_other",
    ),
    Mutation(
        what="clean asks",
        file="labcrate/tasks/cleaning.py",
        old="        if not agreed(yes, f",
        new="        if False and not agreed(yes, f",
        test=f"{CLEAN}::test_nothing_goes_unasked",
    ),
    Mutation(
        what="clean --dry-run changes nothing",
        file="labcrate/tasks/cleaning.py",
        old="        if dry_run or not plan:\n",
        new="        if not plan:\n",
        test=f"{CLEAN}::test_nothing_goes_unasked",
    ),
    Mutation(
        what="clean spares containers made by hand",
        file="labcrate/clean/survey.py",
        old='made = ("--filter", lot.compose_label, "--filter", f"label={labels.ONEOFF}")',
        new="made = ()",
        test=f"{CLEAN}::test_a_container_made_by_hand_stays",
    ),
    Mutation(
        what="an engine without an answer is not an empty one",
        file="labcrate/clean/survey.py",
        old="    if not answer.ok:\n        raise refusal(answer.stderr)\n",
        new="",
        test=f"{CLEAN}::test_no_answer_is_not_nothing_there",
    ),
    Mutation(
        what="a rebuild removes the image before it",
        file="labcrate/lab/built.py",
        old="for image in sorted(set(process.ask((*nameless, *ours)).stdout.split()) & known)",
        new="for image in ()",
        test=f"{CLEAN}::test_superseded_images_go_as_a_rebuild_succeeds",
    ),
    Mutation(
        what="clean looks for this clone's label",
        file="labcrate/clean/survey.py",
        old='return f"label={labels.PROJECT}={self.project}"',
        new='return f"label={labels.PROJECT}"',
        test="labcrate/tests/unit/test_survey.py::test_every_listing_is_by_this_clones_label",
    ),
    Mutation(
        what="clean spares images that the user built on the lab's",
        file="labcrate/clean/survey.py",
        old="    return [thing for thing in listed if is_own(thing)]\n",
        new="    return listed\n",
        test="labcrate/tests/unit/test_survey.py::test_a_users_image_on_the_labs_is_the_users",
    ),
    Mutation(
        what="clean spares a build cache that another clone uses",
        file="labcrate/clean/survey.py",
        old="if other_clones(lot.project):",
        new="if False:",
        test="labcrate/tests/unit/test_survey.py::test_a_shared_build_cache_is_not_touched",
    ),
    Mutation(
        what="clean knows the lab's own build steps",
        file="labcrate/clean/records.py",
        old='"/bin/sh -c : labcrate"',
        new='": labcrate"',
        test="labcrate/tests/unit/test_records.py::test_steps_like_ours_are_not_ours",
    ),
    Mutation(
        what=".env that others can read is refused",
        file="labcrate/clone/settings.py",
        old="    if mode & 0o077:\n",
        new="    if False:\n",
        test="labcrate/tests/unit/test_settings.py::test_env_that_others_can_read_is_refused",
    ),
    Mutation(
        what="other machines are let in with a strong token only",
        file="labcrate/clone/rules.py",
        old="    return len(token) >= STRONG_TOKEN and len(set(token)) >= VARIED\n",
        new="    return True\n",
        test="labcrate/tests/unit/test_rules.py::test_other_machines_need_a_strong_token",
    ),
    Mutation(
        what="a shown index address has no password",
        file="labcrate/clone/index_logins.py",
        old='return re.sub(r"//[^/@\\s]*@", "//***@", address)',
        new="return address",
        test="labcrate/tests/unit/test_index_settings.py::test_a_shown_address_has_no_login",
    ),
    Mutation(
        what="an interrupted task ends its children",
        file="labcrate/starter.py",
        old="            child.send_signal(signal.SIGINT)\n",
        new="            pass\n",
        test="labcrate/tests/unit/test_process.py::test_an_interrupt_ends_the_child_too",
    ),
)


def tree(folder: Path) -> Path:
    """A copy that tests can run in: a repository, with the base image that this checkout has."""
    copy_tree(folder)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    own = read_env(ROOT / ".env").get("BASE_IMAGE", "") if (ROOT / ".env").exists() else ""
    (folder / ".env").touch(mode=0o600)
    (folder / ".env").write_text(f"BASE_IMAGE={own}\n" if own else "")
    return folder


def pytest_in(folder: Path, tests: Sequence[str]) -> str:
    """pytest's last line, such as `1 failed, 2 passed in 3.2s`."""
    plugins = ("-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", CONFIGURED, "-q", "-x", *plugins, *tests],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if re.search(r"\d+ error", done.stdout):
        print(done.stdout, flush=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr


def mutate(folder: Path, mutation: Mutation) -> None:
    path = folder / mutation.file
    text = path.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.what}: the source has changed"
    path.write_text(text.replace(mutation.old, mutation.new))


def tried(mutation: Mutation) -> tuple[bool, float]:
    """Whether the test noticed, and how long it took in seconds."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="labcrate-mutation-") as name:
        folder = tree(Path(name) / "tree")
        mutate(folder, mutation)
        last = pytest_in(folder, [mutation.test])
    print(f"{mutation.what}: {last}", flush=True)
    # An error before the test, or none run at all, would be no proof.
    return bool(re.search(r"\d+ failed", last)), time.monotonic() - started


def page(rows: Sequence[tuple[Mutation, float]]) -> str:
    lines = [
        "# Protections taken out",
        "",
        "Written by `nox -s mutations`: each change was made in a copy of the tree, and the test "
        "named failed; without it, the same test passed.",
        "",
        "| protection | in | what was changed | test that failed | s |",
        "|---|---|---|---|--:|",
    ]
    for mutation, seconds in rows:
        change = f"{shown(mutation.old)} → {shown(mutation.new) or 'nothing'}"
        cells = (mutation.what, f"`{mutation.file}`", change, f"`{mutation.test}`")
        lines.append("| " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join([*lines, ""])


def shown(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"`{flat}`" if flat else ""


def main(only: str = "") -> int:
    chosen = [m for m in MUTATIONS if only in m.what]
    with tempfile.TemporaryDirectory(prefix="labcrate-mutation-") as name:
        folder = tree(Path(name) / "tree")
        last = pytest_in(folder, sorted({m.test for m in chosen}))
    print(f"without any: {last}", flush=True)
    if "passed" not in last or re.search(r"failed|error", last):
        return 1
    results = [(mutation, *tried(mutation)) for mutation in chosen]
    survived = [mutation.what for mutation, noticed, _ in results if not noticed]
    if survived:
        print("No test noticed: " + "; ".join(survived))
        return 1
    if not only:
        PAGE.write_text(page([(mutation, seconds) for mutation, _, seconds in results]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
