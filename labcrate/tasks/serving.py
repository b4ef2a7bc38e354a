"""serve: the page that finds similar news, with the model that notebook 03 wrote."""

from __future__ import annotations

import time

from invoke import Context

from labcrate import output, process
from labcrate.clean.bound import bound_cache
from labcrate.clone.fresh import refresh_package_settings
from labcrate.errors import Code, LabError
from labcrate.lab.built import drop_superseded
from labcrate.lab.compose import SEARCH, Lab
from labcrate.lab.images import build_images
from labcrate.lab.lifecycle import last_logs, remove_services, start_services
from labcrate.lab.notices import unhealthy
from labcrate.lab.own_ports import settle_ports
from labcrate.lab.search import require_model
from labcrate.lab.snapshot import Snapshot
from labcrate.tasks.base import alone, lab_task, read_lab_and_engine
from labcrate.tasks.showing import report_links


@lab_task()
def serve(c: Context) -> None:  # noqa: ARG001
    """Start the page that finds similar news, and print its link."""
    with alone("serve") as settings:
        require_model(settings)
        snapshot = read_lab_and_engine(settings, (SEARCH,))[1]
        if SEARCH not in snapshot.model.services:
            raise LabError(
                "compose/ has no service named search",
                fix="copy it from the template's compose/compose.yaml and docker/Dockerfile",
                code=Code.SETTINGS,
            )
        snapshot = settle_ports(snapshot, SEARCH)
        built = build_search(snapshot)
        started = time.monotonic()
        start_search(snapshot.lab)
        if built:
            drop_superseded(snapshot.lab)
            bound_cache(snapshot)
    if not process.is_dry():
        output.seconds("up", time.monotonic() - started)
    report_links({SEARCH: snapshot.links()[SEARCH]})
    output.row("stop", "invoke down")


def build_search(snapshot: Snapshot) -> bool:
    """Build the page's image if something changed; whether it was built."""
    if SEARCH not in snapshot.stale():
        return False
    refresh_package_settings(snapshot.settings, quiet=True)
    taken = build_images(snapshot.lab, snapshot.model, [SEARCH])
    if not process.is_dry():
        output.seconds("built", taken)
    return True


def start_search(lab: Lab) -> None:
    """Start the page and wait until it answers. One that does not goes: `up` would wait for it.

    In a container of its own each time: the page reads its model once, as it starts.
    """
    done = start_services(lab, "--force-recreate", SEARCH)
    if not done.ok:
        logs = last_logs(lab, [SEARCH])
        remove_services(lab, SEARCH)
        raise unhealthy((), done.text, logs)
