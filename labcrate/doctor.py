"""`invoke doctor`: what is wrong with machine, engine and lab, and the command that mends it.

Read only. One list of small checks over facts that were gathered once; a check that crashes costs
its own line and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labcrate import checks, enginechecks, gpuchecks, labchecks
from labcrate.checks import Finding
from labcrate.facts import Facts
from labcrate.gather import gather

Check = Callable[[Facts], Iterator[Finding]]

ENGINE_CHECKS: tuple[Check, ...] = (enginechecks.engine, enginechecks.kind, enginechecks.where)
GPU_CHECKS: tuple[Check, ...] = (
    gpuchecks.card,
    gpuchecks.driver,
    gpuchecks.uvm,
    gpuchecks.fabric,
    gpuchecks.mig,
    gpuchecks.cdi,
    gpuchecks.way,
    gpuchecks.cgroups,
    gpuchecks.build,
    gpuchecks.lost,
)
CHECKS: tuple[Check, ...] = (
    checks.env,
    checks.clone,
    checks.folders,
    *ENGINE_CHECKS,
    checks.ports,
    checks.disk,
    checks.memory,
    checks.clock,
    checks.proxy,
    *GPU_CHECKS,
    labchecks.images,
    labchecks.health,
    labchecks.limits,
    labchecks.moved,
    labchecks.orphans,
    labchecks.logs,
)
SEVERITIES = ("error", "warning", "info")
COLOURS = {"error": "bold red", "warning": "yellow", "info": "dim"}


def examine(facts: Facts, wanted: Sequence[Check] = CHECKS) -> list[Finding]:
    """All findings, errors first, else in the order of the checks."""
    found = [_crash(part, error) for part, error in facts.crashed]
    for check in wanted:
        try:
            found += check(facts)
        except Exception as error:
            found.append(_crash(check.__name__, f"{type(error).__name__}: {error}"))
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _crash(check: str, error: str) -> Finding:
    return Finding(
        severity="warning",
        check=check,
        problem=f"the doctor could not look at this ({check}): {error}",
        fix="please report this line as a bug of the doctor; its other findings stand",
    )


def gpu_reasons(facts: Facts) -> list[Finding]:
    """Why there is no working GPU, for whoever expected one: what is broken, else what is so."""
    found = examine(
        facts, (enginechecks.engine, enginechecks.kind, enginechecks.where, *GPU_CHECKS)
    )
    wrong = [finding for finding in found if finding.severity != "info"]
    return wrong or [finding for finding in found if finding.check in ("card", "way")]


def failed(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def show(findings: Sequence[Finding], title: str = "doctor") -> None:
    table = Table(title=title, show_lines=True)
    for heading in ("", "check", "what is wrong, and the fix"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        colour = COLOURS[finding.severity]
        said = Text.assemble(finding.problem, "\n", ("fix: ", "bold"), finding.fix)
        table.add_row(Text(finding.severity, colour), finding.check, said)
    Console().print(table)


def summary(findings: Sequence[Finding]) -> str:
    """`1 error, 2 warnings` or that all is well."""
    counts = {s: sum(f.severity == s for f in findings) for s in ("error", "warning")}
    told = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n]
    return ", ".join(told) or "nothing is wrong"


def diagnose() -> list[Finding]:
    return examine(gather())
