"""Questions to the running lab and to its image."""

from __future__ import annotations

from double import Double

from labcrate.clone.settings import Settings
from labcrate.lab.compose import Lab
from labcrate.lab.images import PARTS
from labcrate.lab.inside import ask_container, ask_image, ask_lab


def test_the_script_travels_as_input_and_runs_isolated(settings: Settings, double: Double) -> None:
    seen: list[str | None] = []
    double.expect("docker", stdout="{}", does=lambda _, stdin: seen.append(stdin))
    lab = Lab(settings=settings)
    assert ask_lab(lab, "installed").stdout == "{}"
    assert ask_container("c1", "work").stdout == "{}"
    assert ask_image(lab, "installed").stdout == "{}"
    assert seen == [(PARTS / "inside.py").read_text()] * 3
    in_lab, in_container, in_image = double.calls
    assert in_lab[-4:] == ("python", "-I", "-", "installed")
    assert in_container == ("docker", "exec", "--interactive", "c1", "python", "-I", "-", "work")
    assert in_image[:3] == ("docker", "run", "--rm")
    assert in_image[5:7] == ("--network", "none")
    assert "lab-test-1/jupyter" in in_image
