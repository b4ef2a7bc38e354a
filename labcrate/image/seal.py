"""The last step of the base: what it holds may be added to and not replaced. Run as root.

- constraints.txt names every version, for each later install by pip or uv, also a live one.
  Versions come from the installed metadata: torch.__version__ has a local tag that no index knows.
- site-packages and the folders that extensions write to are open but sticky, so that the lab's
  user can add packages by hand and cannot replace one of the base. So are folders without an
  __init__.py: packages share such a namespace (google, nvidia, cuda).
- Caches of compiled kernels, which importing torch makes, go to /tmp where the home is not
  writable: with another --user, or a read-only file system.
- /lab/src is importable everywhere. It comes last on the path, so that a file named random.py in
  there breaks nothing.
"""

import re
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

LAB = Path("/opt/lab")
OPEN_AND_STICKY = 0o1777
CACHES = """\
import os; os.access(os.environ.get("HOME") or "/", os.W_OK) or os.environ.update(\
{n: f"/tmp/lab-cache-{os.getuid()}" for n in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")})
"""
"""One line that every Python of the lab runs at its start; no import of ours costs time there."""


def main() -> None:
    site = Path(sysconfig.get_path("purelib"))
    found = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in distributions()}
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))
    (LAB / "constraints.txt").write_text(lines)
    (site / "lab-src.pth").write_text("/lab/src\n")
    (site / "lab-caches.pth").write_text(CACHES)
    for top in ("bin", "share", "etc"):
        open_folders(LAB / top)
    LAB.chmod(OPEN_AND_STICKY)
    site.chmod(OPEN_AND_STICKY)
    for folder in site.iterdir():
        if folder.is_dir() and not folder.name.endswith(".dist-info"):
            open_namespace(folder)


def open_folders(top: Path) -> None:
    for folder in (top, *top.rglob("*")):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(OPEN_AND_STICKY)


def open_namespace(folder: Path) -> None:
    """A folder that several packages share, and those below it that are shared, too."""
    if (folder / "__init__.py").exists():
        return
    folder.chmod(OPEN_AND_STICKY)
    for below in folder.iterdir():
        if below.is_dir() and not below.is_symlink():
            open_namespace(below)


if __name__ == "__main__":
    main()
