"""Free cards are taken one lab at a time: real processes, the real lock, a folder for an engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from clone import ROOT

WORKER = """
import json
import sys
import time
from pathlib import Path

from labcrate import labels, process
from labcrate.clone.place import Clone
from labcrate.clone.settings import make_settings
from labcrate.engine.engine import Engine
from labcrate.errors import LabError
from labcrate.gpu import card_lock
from labcrate.gpu.cards import Host
from labcrate.gpu.decide import Decision
from labcrate.gpu.free import claimed
from labcrate.gpu.offer import Choice
from labcrate.gpu.pool import wanted_cards
from labcrate.gpu.torch_build import Build
from labcrate.lab.compose import Lab
from labcrate.lab.containers import COLUMNS
from labcrate.process import Result

folder, name, setting = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
containers = folder / "containers"
card_lock.PLACES = (folder / "shared",)


class FakeEngine:
    '''Answers as an engine does whose containers are files.'''

    def run(self, argv, **_):
        if argv[:2] == ("docker", "ps"):
            rows = [listed(one.name) for one in containers.iterdir()]
            return Result(argv=argv, stdout="".join(rows))
        assert argv[:3] == ("docker", "container", "inspect"), argv
        found = [containers / one for one in argv[3:]]
        rows = [inspected(one) for one in found if one.exists()]
        return Result(argv=argv, stdout=json.dumps(rows))


def listed(lab):
    known = {"{{.ID}}": lab, "{{.State}}": "running", labels.column(labels.PROJECT): lab}
    return "\\t".join(known.get(column, "") for column in COLUMNS) + "\\n"


def inspected(path):
    told = {
        labels.COMPOSE_PROJECT: path.name,
        labels.ONEOFF: "False",
        labels.GPU: path.read_text(),
    }
    state = {"Status": "running", "ExitCode": 0, "StartedAt": "2026-11-26T08:15:30Z"}
    return {"Id": path.name, "State": state, "Config": {"Labels": told}}


root = folder / name
(root / ".labcrate").mkdir(parents=True, exist_ok=True)
values = {
    "COMPOSE_PROJECT_NAME": name, "JUPYTER_PORT": "1", "JUPYTER_TOKEN": "t",
    "TENSORBOARD_PORT": "2", "LAB_UID": "1", "LAB_GID": "1", "GPU_DEVICES": setting,
}
settings = make_settings(values, Clone(root=root, here=root))
engine = Engine(cdi_devices=tuple(f"nvidia.com/gpu={n}" for n in (0, 1, 2, "all")))
decision = Decision(
    mode="auto",
    choice=Choice(overlay="gpu-cdi", reason=""),
    build=Build(backend="pypi", reason=""),
    stamp="",
    lab=Lab(settings=settings),
    wanted=wanted_cards(setting, "gpu-cdi", engine, Host()),
)
(folder / "ready" / name).touch()
while not (folder / "go").exists():
    time.sleep(0.005)
try:
    with process.using(FakeEngine()), claimed(decision) as (chosen, _):
        # As long as a container takes to start: without the lock, all choose in this time.
        time.sleep(0.1)
        (containers / name).write_text(chosen.choice.label)
        assert json.loads((root / chosen.lab.overlays[0]).read_text())
except LabError as error:
    print(error, file=sys.stderr)
    sys.exit(int(error.code))
"""


class Machine:
    """The folder that plays the engine, and the labs that come up on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("containers", "ready"):
            (folder / name).mkdir()
        (folder / "shared").mkdir()
        (folder / "shared").chmod(0o1777)

    def up(self, *names: str, setting: str = "free") -> dict[str, int]:
        """All at once; their exit codes."""
        workers = {
            name: subprocess.Popen(
                (sys.executable, "-c", WORKER, str(self.folder), name, setting),
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in names
        }
        ready = self.folder / "ready"
        try:
            while {one.name for one in ready.iterdir()} < set(names):
                assert all(one.poll() is None for one in workers.values())
            (self.folder / "go").touch()
            self.said = {name: one.communicate(timeout=60)[1] for name, one in workers.items()}
        finally:
            for one in workers.values():
                one.kill()
        return {name: one.returncode for name, one in workers.items()}

    @property
    def cards(self) -> dict[str, str]:
        """Who has what."""
        found = sorted((self.folder / "containers").iterdir())
        return {one.name: one.read_text().removeprefix("gpu-cdi nvidia.com/gpu=") for one in found}

    def kill(self, name: str) -> None:
        (self.folder / "containers" / name).unlink()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_of_ten_labs_at_once_three_get_a_card_each_and_a_killed_one_gives_its_back(
    machine: Machine,
) -> None:
    names = [f"lab-{n}" for n in range(10)]
    codes = machine.up(*names)
    assert sorted(codes.values()) == [0] * 3 + [42] * 7
    assert sorted(machine.cards.values()) == ["0", "1", "2"]
    assert set(machine.cards) == {name for name, code in codes.items() if code == 0}
    loser = next(name for name, code in codes.items() if code)
    assert "no card is free" in machine.said[loser]
    assert all(
        f": {name}, since 2026-11-26 08:15 UTC" in machine.said[loser] for name in machine.cards
    )
    # Nothing is left of a lab that was killed.
    killed, card = next(iter(machine.cards.items()))
    machine.kill(killed)
    assert machine.up(loser) == {loser: 0}
    assert machine.cards[loser] == card
    # Up again: nothing moves.
    before = machine.cards
    assert set(machine.up(*before).values()) == {0}
    assert machine.cards == before


def test_two_cards_for_one_lab(machine: Machine) -> None:
    codes = machine.up("lab-a", "lab-b", setting="free:2")
    assert sorted(codes.values()) == [0, 42]
    (labels,) = machine.cards.values()
    assert labels == "0,nvidia.com/gpu=1"
    assert json.dumps(machine.said).count("2 cards are wanted, and 1 of 3 is free") == 1
