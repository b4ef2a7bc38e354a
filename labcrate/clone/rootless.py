"""A rootless engine: who the lab's user must be in its containers, and who that is outside."""

from __future__ import annotations

from labcrate.errors import Code, LabError

ROOT = (0, 0)
"""uid and gid. Root of a rootless engine's containers is, outside, the user whose engine it is. Any
other user of a container is a sub-uid, which cannot write that user's folders (user_namespaces(7)).
"""


def refuse_other_user(rootless: bool, ids: tuple[int, int]) -> None:
    """Refuse a lab whose user could not write the folders: a .env from another kind of engine.

    rootless: whether the engine is. ids: LAB_UID and LAB_GID.
    """
    if rootless and ids != ROOT:
        raise LabError(
            f"the engine is rootless, and .env says LAB_UID={ids[0]} and LAB_GID={ids[1]}",
            fix="set LAB_UID=0 and LAB_GID=0 in .env, then the same command again",
            code=Code.SETTINGS,
            why="in its containers you are user 0, and no other user there can write your folders",
        )


def owner_here(rootless: bool, ids: tuple[int, int], caller: tuple[int, int]) -> tuple[int, int]:
    """Whom files of the lab belong to on this machine. ids: of the lab's user in its container."""
    return caller if rootless and ids == ROOT else ids
