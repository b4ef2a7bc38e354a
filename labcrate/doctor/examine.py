"""`invoke doctor`: what is wrong with machine, engine and lab, and the command that fixes it.

Read only. One list of small checks over facts that were gathered once; a check that crashes costs
its own line and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from labcrate.clone.place import Clone
from labcrate.doctor import (
    check_engine,
    check_folders,
    check_gpu,
    check_lab,
    check_machine,
    check_torch,
)
from labcrate.doctor.facts import Facts
from labcrate.doctor.findings import SEVERITIES, Finding
from labcrate.doctor.gather import gather_facts

Check = Callable[[Facts], Iterator[Finding]]

ENGINE_CHECKS: tuple[Check, ...] = (
    check_engine.check_unanswered,
    check_engine.check_engine,
    check_engine.check_kind,
    check_engine.check_user,
    check_engine.check_limiting,
    check_engine.check_where,
)
GPU_CHECKS: tuple[Check, ...] = (
    check_gpu.check_card,
    check_gpu.check_driver,
    check_gpu.check_uvm,
    check_gpu.check_fabric,
    check_gpu.check_mig,
    check_gpu.check_cdi,
    check_gpu.check_way,
    check_gpu.check_cgroups,
    check_torch.check_build,
    check_gpu.check_lost,
)
CHECKS: tuple[Check, ...] = (
    check_machine.check_env,
    check_machine.check_clone,
    check_folders.check_folders,
    *ENGINE_CHECKS,
    check_engine.check_compose,
    check_machine.check_ports,
    check_machine.check_disk,
    check_machine.check_memory,
    check_machine.check_clock,
    check_machine.check_proxy,
    *GPU_CHECKS,
    check_lab.check_images,
    check_lab.check_health,
    check_lab.check_writable,
    check_lab.check_limits,
    check_lab.check_moved,
    check_folders.check_links,
    check_folders.check_mounted,
    check_lab.check_orphans,
    check_lab.check_logs,
)


def diagnose(clone: Clone) -> list[Finding]:
    """Ask the machine, and judge the answers."""
    return examine(gather_facts(clone))


def examine(facts: Facts, wanted: Sequence[Check] = CHECKS) -> list[Finding]:
    """All findings, errors first, else in the order of the checks."""
    found = [_crash(part, error) for part, error in facts.crashed]
    for check in wanted:
        try:
            found += check(facts)
        except Exception as error:
            found.append(_crash(subject(check), f"{type(error).__name__}: {error}"))
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def subject(check: Check) -> str:
    """A check's short name, as its findings have it."""
    return check.__name__.removeprefix("check_")


def _crash(check: str, error: str) -> Finding:
    return Finding(
        severity="warning",
        check=check,
        problem=f"the doctor could not look at this ({check}): {error}",
        fix="please report this line as a bug of the doctor; its other findings are valid",
    )


def gpu_reasons(facts: Facts) -> list[Finding]:
    """Why no GPU works, for whoever expected one: what is broken, or else how things are."""
    found = examine(facts, (*ENGINE_CHECKS, *GPU_CHECKS))
    wrong = [finding for finding in found if finding.severity != "info"]
    return wrong or [finding for finding in found if finding.check in ("card", "way")]
