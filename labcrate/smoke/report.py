"""The results of tests that ran in the container: read, shown, and as a page for a CI job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labcrate import output


def read_results(path: Path) -> dict[str, Any]:
    """What the tests left behind; nothing where the container did not come that far."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def show_results(results: dict[str, Any]) -> None:
    """The GPU's results as a table, a row for each test."""
    rows = [
        (
            row["test"],
            row["outcome"],
            f"{row['seconds']:.2f}",
            "\n".join(figures_of(results, row["test"])),
        )
        for row in results.get("results", ())
    ]
    output.table(("test", "outcome", "s", "figures"), rows, title=results_title(results))


def results_page(results: dict[str, Any]) -> str:
    """The same as a Markdown page, for the summary of a CI job, with what failed tests said."""
    if not results.get("results"):
        return "**No results**: the proof did not come so far that a test ran.\n"
    lines = [
        f"## {results_title(results)}",
        "",
        "| test | outcome | s | figures |",
        "|---|---|---|---|",
    ]
    for row in results["results"]:
        said = figures_of(results, row["test"]) + row.get("message", "").splitlines()[:1]
        cells = (row["test"], row["outcome"], f"{row['seconds']:.2f}", "\n".join(said))
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """A text that stays in one cell of a Markdown table, and is no HTML."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return safe.replace("\n", "<br>")


def results_title(results: dict[str, Any]) -> str:
    devices = ", ".join(device["name"] for device in results.get("devices", ())) or "no GPU"
    versions = f"driver {results.get('driver')}, CUDA {results.get('cuda')}"
    return f"{devices} ({versions}, torch {results.get('torch')})"


def figures_of(results: dict[str, Any], test: str) -> list[str]:
    return [figure_line(f) for f in results.get("figures", ()) if f["test"] == test]


def figure_line(figure: dict[str, Any]) -> str:
    return "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in figure.items()
        if name != "test"
    )


def proof_failure(results: dict[str, Any], said: str) -> str:
    """One line on a proof that failed: the first test's, else the last that the container said."""
    failures = [row["message"] for row in results.get("results", ()) if row["message"]]
    lines = (failures[0] if failures else said).strip().splitlines()
    if not lines:
        return "the proof ended without a word"
    return lines[0] if failures else lines[-1]
