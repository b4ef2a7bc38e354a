#!/usr/bin/env python3
"""Make .venv with the pinned tools, then run a command in it: python3 bootstrap.py invoke up

Only the standard library, and syntax that an old Python still reads, so that it can say what it
needs instead of failing on a line of its own.
"""

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
LOCK = os.path.join(ROOT, "requirements.lock")
STAMP = os.path.join(VENV, "labcrate.stamp")


def fail(problem, fix):
    sys.stderr.write("error: %s\n  fix: %s\n" % (problem, fix))
    sys.exit(25)


def wanted():
    """What the venv must have been made from: the lock, this interpreter, and this place.

    Its scripts name the folder that they were made in, so a moved clone needs new ones.
    """
    with open(LOCK, "rb") as lock:
        made_from = lock.read() + sys.version.encode() + VENV.encode()
    return hashlib.sha256(made_from).hexdigest()


def is_current():
    if not os.path.exists(STAMP):
        return False
    with open(STAMP) as stamp:
        return stamp.read() == wanted()


def apt_venv():
    """Debian splits venv's pip off into a package of its own."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "python3-venv"]
    shown = " ".join(command)
    agreed = "--yes" in sys.argv or os.environ.get("CI")
    if not shutil.which("apt-get") or os.geteuid() != 0 or not agreed:
        fail(
            "this Python has no ensurepip, so it cannot make a virtual environment",
            "sudo %s, then the same command again" % shown,
        )
    print("$ " + shown)
    subprocess.check_call(["apt-get", "update", "--quiet=2"])
    subprocess.check_call(command)


def make_venv():
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        apt_venv()
    print("Making .venv with the pinned tools ...")
    sys.stdout.flush()
    shutil.rmtree(VENV, ignore_errors=True)
    python = os.path.join(VENV, "bin", "python")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--quiet",  # twice: a warning about each index that lacks a package helps nobody
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--requirement",
        LOCK,
    ]
    try:
        subprocess.check_call([sys.executable, "-m", "venv", VENV])
        subprocess.check_call(install)
    except subprocess.CalledProcessError as error:
        fail(
            "making .venv failed (exit %d)" % error.returncode,
            "read the lines above (network? package index?), then the same command again",
        )
    with open(STAMP, "w") as stamp:
        stamp.write(wanted())


def main():
    if sys.version_info < (3, 11):
        fail(
            "this is Python %d.%d; 3.11 or newer is needed" % sys.version_info[:2],
            "install a newer Python and run it with this script",
        )
    if len(sys.argv) < 2:
        fail("no command given", "python3 bootstrap.py invoke setup --yes up")
    if sys.argv[1] not in ("invoke", "nox"):
        fail(
            "%s is not one of the lab's tools" % sys.argv[1],
            "use invoke or nox: python3 bootstrap.py invoke --list",
        )
    if not is_current():
        make_venv()
    os.environ["PATH"] = os.path.join(VENV, "bin") + os.pathsep + os.environ.get("PATH", "")
    # Invoke and Nox look for their files from here on up, wherever this script was called from.
    os.chdir(ROOT)
    # The next line replaces this process: what was printed must be out before it.
    sys.stdout.flush()
    # By module: pip writes scripts that break in a folder with a quote in its name.
    python = os.path.join(VENV, "bin", "python")
    os.execv(python, [python, "-m"] + sys.argv[1:])


if __name__ == "__main__":
    main()
