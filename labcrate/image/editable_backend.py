"""A build backend around a project's own: its wheel is an editable one of the mounted folder.

`invoke add-package --editable` packs the project into the folder `project` beside this file, with
`editable.json`: folder is where the lab mounts it, backend and path are the project's own, as its
pyproject.toml names them. All of this runs in a container.

The project's backend makes an editable wheel (PEP 660) of the packed copy, in which the copy's
paths are replaced by the mounted folder's.
"""

import base64
import csv
import functools
import hashlib
import importlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE / "project"


def get_requires_for_build_wheel(config_settings=None):
    hook = getattr(own_backend(), "get_requires_for_build_editable", None)
    return hook(config_settings) if hook else []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # noqa: ARG001
    own = own_backend()
    if not hasattr(own, "build_editable"):
        sys.exit(f"labcrate: {told()['backend']} cannot make editable wheels (PEP 660)")
    name = own.build_editable(wheel_directory, config_settings)
    if not name.endswith("-none-any.whl"):
        sys.exit("labcrate: the project has compiled parts, which cannot be editable")
    move_paths(Path(wheel_directory, name), str(PROJECT), told()["folder"])
    return name


def told():
    return json.loads((HERE / "editable.json").read_text(encoding="utf-8"))


def own_backend():
    """The project's backend, in the project's folder."""
    os.chdir(PROJECT)
    sys.path[:0] = [str(PROJECT / path) for path in told()["path"]]
    module, _, inner = told()["backend"].partition(":")
    names = inner.split(".") if inner else []
    return functools.reduce(getattr, names, importlib.import_module(module))


def move_paths(wheel, old, new):
    """Replace a folder's path in each file of a wheel, and bring its RECORD up to date."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    record = next(name for name in files if name.endswith(".dist-info/RECORD"))
    del files[record]
    files = {name: data.replace(old.encode(), new.encode()) for name, data in files.items()}
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
        rows.writerow((name, f"sha256={digest.decode()}", len(data)))
    rows.writerow((record, "", ""))
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in {**files, record: lines.getvalue().encode()}.items():
            archive.writestr(name, data)
