"""`invoke doctor`."""

from __future__ import annotations

import json
import time

from invoke import Context, Exit

from labcrate import output
from labcrate.clone.place import find_clone
from labcrate.doctor.examine import diagnose
from labcrate.doctor.findings import as_json, has_errors, show_findings, summarise
from labcrate.errors import Code
from labcrate.tasks.base import lab_task


@lab_task(json_="as JSON, for programs")
def doctor(c: Context, json_: bool = False) -> None:  # noqa: ARG001
    """Say what is wrong with machine, engine and lab, and the fix."""
    started = time.monotonic()
    findings = diagnose(find_clone())
    if json_:
        output.say(json.dumps(as_json(findings), indent=2))
    else:
        show_findings(findings)
        output.seconds(summarise(findings), time.monotonic() - started)
    if has_errors(findings):
        raise Exit(code=Code.FINDINGS)
