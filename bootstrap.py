#!/usr/bin/env python3
"""Make .venv with the pinned tools, then run a command in it: python3 bootstrap.py invoke up

Only the standard library, and syntax that an old Python still reads, so that it can say what it
needs instead of failing on a line of its own.
"""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
LOCK = os.path.join(ROOT, "requirements.lock")
STAMP = os.path.join(VENV, "labcrate.stamp")
PYTHON = os.path.join(VENV, "bin", "python")
LABCRATE = os.path.join(ROOT, "labcrate")


def fail(problem, fix):
    sys.stderr.write("error: %s\n  fix: %s\n" % (problem, fix))
    sys.exit(25)


def wheels():
    """The newest wheel of vendor/, in a list: a clone without labcrate/ has it as a wheel."""
    if os.path.isdir(LABCRATE):
        return []
    found = glob.glob(os.path.join(ROOT, "vendor", "labcrate-*.whl"))
    # By number: 0.10.0 is newer than 0.9.0.
    return sorted(found, key=lambda name: list(map(int, re.findall("[0-9]+", name))))[-1:]


def wanted():
    """What .venv must have been made from: the lock, the wheel, this interpreter, this place."""
    made_from = sys.version.encode() + VENV.encode()
    for name in [LOCK] + wheels():
        with open(name, "rb") as file:
            made_from += file.read()
    return hashlib.sha256(made_from).hexdigest()


def is_current():
    """Half a .venv, or one of an earlier lock, would end in a traceback."""
    if not os.path.exists(STAMP) or not os.access(PYTHON, os.X_OK):
        return False
    with open(STAMP) as stamp:
        lines = stamp.read().split("\n")
    return lines[0] == wanted() and all(map(os.path.exists, lines[1:]))


def apt_venv():
    """Debian splits venv's pip off into a package of its own."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "python3-venv"]
    agreed = "--yes" in sys.argv or os.environ.get("CI")
    if not shutil.which("apt-get") or os.geteuid() != 0 or not agreed:
        fail(
            "this Python has no ensurepip, so it cannot make a virtual environment",
            "sudo %s, then the same command again" % " ".join(command),
        )
    print("$ " + " ".join(command))
    subprocess.check_call(["apt-get", "update", "--quiet=2"])
    subprocess.check_call(command)


def make_venv():
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        apt_venv()
    if os.pathsep in ROOT:
        fail("no virtual environment works below a `:`, as in " + ROOT, "move or rename the folder")
    print("Making .venv with the pinned tools ...")
    sys.stdout.flush()
    shutil.rmtree(VENV, ignore_errors=True)
    if os.path.exists(VENV) and not os.access(VENV, os.W_OK):
        fail("%s is not this user's" % VENV, "sudo rm -r '%s', then the same command again" % VENV)
    # --quiet twice: a warning about each index that lacks a package helps nobody.
    install = [PYTHON, "-m", "pip", "install", "--quiet", "--quiet"]
    install += ["--disable-pip-version-check", "--no-deps"]
    try:
        # In an activated .venv this Python is the one that was just removed.
        base = getattr(sys, "_base_executable", None) or sys.executable
        subprocess.check_call([base, "-m", "venv", VENV])
        subprocess.check_call(install + ["--require-hashes", "--requirement", LOCK])
        for wheel in wheels():
            subprocess.check_call(install + [wheel])
    except subprocess.CalledProcessError as error:
        fail(
            "making .venv failed (exit %d)" % error.returncode,
            "read the lines above (network? package index?), then the same command again",
        )
    # tasks.py and noxfile.py import labcrate/ of this clone, wherever they are started from.
    for site in glob.glob(os.path.join(VENV, "lib", "python3*", "site-packages")):
        with open(os.path.join(site, "clone.pth"), "w") as path:
            path.write(ROOT + "\n")
    installed = glob.glob(os.path.join(VENV, "lib", "python3*", "site-packages", "[a-z]*"))
    with open(STAMP, "w") as stamp:
        stamp.write("\n".join([wanted()] + installed))


def main():
    if sys.version_info < (3, 11):
        fail(
            "this is Python %d.%d; 3.11 or newer is needed" % sys.version_info[:2],
            "install a newer Python and run it with this script",
        )
    if sys.argv[1:2] not in (["invoke"], ["nox"]):
        fail("name invoke or nox, then what it is to do", "python3 bootstrap.py invoke --list")
    if not os.path.isdir(LABCRATE) and not wheels():
        fail(
            "there is neither labcrate/ nor a wheel of it in vendor/",
            "git checkout HEAD -- labcrate, or put labcrate-VERSION.whl into vendor/",
        )
    if not is_current():
        # Two at once would delete each other's .venv. The last line ends the lock.
        fcntl.flock(os.open(LOCK, os.O_RDWR), fcntl.LOCK_EX)
    if not is_current():
        make_venv()
    os.environ["PATH"] = os.path.join(VENV, "bin") + os.pathsep + os.environ.get("PATH", "")
    # Invoke and Nox look for their files from here on up, wherever this script was called from.
    os.chdir(ROOT)
    # The next line replaces this process: what was printed must be out before it.
    sys.stdout.flush()
    # By module: pip writes scripts that break in a folder with a quote in its name.
    os.execv(PYTHON, [PYTHON, "-m"] + sys.argv[1:])


if __name__ == "__main__":
    main()
