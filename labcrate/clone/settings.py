""".env and the environment -> one frozen Settings, or every problem at once.

Compose reads the same .env, so nothing here is passed on as a re-serialised copy. As in Compose, a
variable of the environment wins over the file; which lab it is says the file alone.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labcrate import environment
from labcrate.clone.env_file import parse_env, parse_size, read_text
from labcrate.clone.lab_env import lab_env_problems
from labcrate.clone.place import Clone
from labcrate.clone.rules import FOLDERS, KNOWN, OPTIONAL, Problem, check, check_quoting
from labcrate.errors import Code, LabError

BUILT_HERE = "localhost/labcrate/"
"""How base images are named that `setup` built, one a machine. No registry of the world can have
such a name, so nobody can offer an image for it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one lab is made of. Paths are the host's, *_dir but root_dir are the container's.

    compose_file_set: whether Compose finds its files by COMPOSE_FILE, too. memory_limit: of
    JupyterLab, in bytes; 0: none.
    """

    clone: Clone
    project: str
    root_dir: Path
    jupyter_port: int
    jupyter_token: str = field(repr=False)
    jupyter_dir: str
    tensorboard_port: int
    tensorboard_dir: str
    uid: int
    gid: int
    base_image: str
    torch_backend: str
    gpu: str
    gpu_devices: str
    bind_address: str
    host_wheels: str
    shared_models: str
    memory_limit: int = 0
    compose_files: tuple[str, ...] = ("compose/compose.yaml",)
    compose_file_set: bool = True

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(self.root_dir / name for name in FOLDERS)

    @property
    def base_is_built_here(self) -> bool:
        """Whether `setup` built the base image. Older releases named it for the clone."""
        return self.base_image.startswith((BUILT_HERE, f"{self.project}/"))


def load(clone: Clone) -> Settings:
    """The validated settings of a clone."""
    path = clone.env_file
    if not path.exists():
        raise LabError(
            f"there is no {path.name} in this clone",
            fix="invoke setup (writes it from .env.example, with a random token and free ports)",
            code=Code.NO_ENV,
        )
    refuse_readable(path)
    text = read_text(path)
    values = merged(parse_env(text), environment.variables())
    raise_problems([*check(values, clone), *check_quoting(text)], path.name)
    raise_problems(list(lab_env_problems(clone)), "lab.env")
    return make_settings(values, clone)


def refuse_lost_root(clone: Clone) -> None:
    """A folder of .env that is no good is said before anything is installed or asked."""
    if clone.env_file.exists():
        values = merged(parse_env(read_text(clone.env_file)), environment.variables())
        raise_problems([one for one in check(values, clone) if one.code is Code.FOLDER])


def merged(values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The file's values, overridden by known names of the environment, as Compose does it.

    But for Compose's own: a name exported for another project would make this lab that project,
    and `invoke down` would take it away.
    """
    own = [name for name in KNOWN if not name.startswith("COMPOSE_")]
    return {**values, **{name: environ[name] for name in own if name in environ}}


def refuse_readable(path: Path) -> None:
    """The token is in there: on a shared server other users must not read it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise LabError(
            f"other users can read {path.name} (mode {mode:03o}), and it holds the token",
            fix=f"chmod 600 {path.name}",
            code=Code.ENV_READABLE,
        )


def raise_problems(problems: Sequence[Problem], source: str = ".env") -> None:
    """Report all problems as one error; its code is theirs where they agree."""
    if not problems:
        return
    codes = {problem.code for problem in problems}
    lines = [f"{p.text}\n      fix: {p.fix}" for p in problems]
    if len(problems) == 1:
        raise LabError(problems[0].text, fix=problems[0].fix, code=problems[0].code)
    raise LabError(
        f"{len(problems)} problems with {source}:\n    - " + "\n    - ".join(lines),
        fix=f"fix them in {source}, then run the same command again",
        code=codes.pop() if len(codes) == 1 else Code.SETTINGS,
    )


def make_settings(values: Mapping[str, str], clone: Clone) -> Settings:
    """Settings from values that passed `check`."""
    get = {name: values.get(name) or default for name, default in OPTIONAL.items()}
    return Settings(
        clone=clone,
        project=values["COMPOSE_PROJECT_NAME"],
        root_dir=Path(get["ROOT_DIR"]) if get["ROOT_DIR"] else clone.root,
        jupyter_port=int(values["JUPYTER_PORT"]),
        jupyter_token=values["JUPYTER_TOKEN"],
        jupyter_dir=get["JUPYTER_DIR"],
        tensorboard_port=int(values["TENSORBOARD_PORT"]),
        tensorboard_dir=get["TENSORBOARD_DIR"],
        uid=int(values["LAB_UID"]),
        gid=int(values["LAB_GID"]),
        base_image=get["BASE_IMAGE"],
        torch_backend=get["TORCH_BACKEND"],
        gpu=get["GPU"],
        gpu_devices=get["GPU_DEVICES"],
        bind_address=get["BIND_ADDRESS"],
        host_wheels=get["HOST_WHEELS"],
        shared_models=get["SHARED_MODELS"],
        memory_limit=parse_size(get["MEMORY_LIMIT"]),
        compose_files=tuple(get["COMPOSE_FILE"].split(":")),
        compose_file_set=bool(values.get("COMPOSE_FILE")),
    )
