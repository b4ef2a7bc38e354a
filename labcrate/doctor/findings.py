"""What the doctor reports: findings, as a table, as JSON and in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.text import Text

from labcrate import output

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
COLOURS: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "dim"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the doctor reports. check: the subject of the check that found it."""

    severity: Severity
    check: str
    problem: str
    fix: str


def has_errors(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def show_findings(findings: Sequence[Finding], title: str = "doctor") -> None:
    rows = [
        (
            Text(finding.severity, COLOURS[finding.severity]),
            finding.check,
            Text.assemble(finding.problem, "\n", ("fix: ", "bold"), finding.fix),
        )
        for finding in findings
    ]
    output.table(("", "check", "what is wrong, and the fix"), rows, title=title, lines=True)


def summarise(findings: Sequence[Finding]) -> str:
    """`1 error, 2 warnings`, or that nothing is wrong."""
    counts = {s: sum(f.severity == s for f in findings) for s in SEVERITIES[:2]}
    parts = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n]
    return ", ".join(parts) or "nothing is wrong"
