"""Acts on the files that are plainly the owner's: notebooks, code, tests, tasks, sessions, CI."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from owner import Owner, append, replace

from acts.register import act

QUICKSTART = Path("notebooks", "01-quickstart.ipynb")


@act
def delete_quickstart(own: Owner) -> Iterator[None]:
    (own.root / QUICKSTART).unlink()
    yield
    assert not (own.root / QUICKSTART).exists()


@act
def run_quickstart(own: Owner) -> Iterator[None]:
    own.invoke("run", "--", "jupyter", "execute", "--inplace", QUICKSTART.name)
    yield
    cells = json.loads((own.root / QUICKSTART).read_text())["cells"]
    assert "test accuracy 0.9" in json.dumps(cells[-1]["outputs"])
    assert list((own.root / "runs").glob("quickstart-*/events*"))


@act
def own_readme(own: Owner) -> Iterator[None]:
    (own.root / "README.md").write_text("# My paper\n")
    yield
    assert (own.root / "README.md").read_text() == "# My paper\n"


TASK = '''
@task(help={"epochs": "how often it sees the data"})
def train(c: Context, epochs: int = 3) -> None:
    """Train the model in the lab."""
    c.run(f"invoke run -- python /lab/src/train.py --epochs {epochs}")


namespace = lab_tasks(example, train)
'''


@act
def own_task(own: Owner) -> Iterator[None]:
    replace(own.root / "tasks.py", "\nnamespace = lab_tasks(example)\n", TASK)
    (own.root / "src" / "train.py").write_text("import sys; print('trained', *sys.argv[1:])\n")
    yield
    assert "trained --epochs 5" in own.invoke("train", "--epochs", "5").stdout
    assert "Train the model in the lab." in own.invoke("--list").stdout


SESSION = '''

@nox.session(default=False)
def paper(session: nox.Session) -> None:
    """The figures of the paper."""
    session.run("python", "-c", "print('figure', *range(3))")
'''


@act
def own_session(own: Owner) -> Iterator[None]:
    append(own.root / "noxfile.py", SESSION)
    yield
    assert "figure 0 1 2" in own.nox("-s", "paper")
    assert "The figures of the paper." in own.nox("--list")


@act
def own_package_in_src(own: Owner) -> Iterator[None]:
    from web import client

    append(own.root / "src" / "mine" / "__init__.py", "def twice(x):\n    return 2 * x\n")
    test = "import mine\n\n\ndef test_twice():\n    assert mine.twice(21) == 42\n"
    append(own.root / "tests" / "test_twice.py", test)
    yield
    assert outcome(own, "test_twice") == "passed"
    code = "import mine; print(mine.twice(21))"
    assert own.in_image("python", "-c", code) == "42"
    own.invoke("up")
    kernel = client(own).kernel()
    assert kernel.run(code) == "42\n"
    kernel.close()


@act
def own_tests(own: Owner) -> Iterator[None]:
    test = own.root / "tests" / "test_mine.py"
    test.write_text("def test_mine():\n    assert 6 * 9 == 42\n")
    assert "assert (6 * 9) == 42" in own.nox(fails=True)
    assert outcome(own, "test_mine") == "failed"
    test.write_text("def test_mine():\n    assert 6 * 7 == 42\n")
    yield
    assert outcome(own, "test_mine") == "passed"


def outcome(own: Owner, test: str) -> str:
    """How one test of the last run in the image ended."""
    report = json.loads((own.root / "reports" / "cpu_smoke.json").read_text())
    return str(next(row["outcome"] for row in report["results"] if row["test"] == test))


@act
def own_workflow(own: Owner) -> Iterator[None]:
    path = own.root / ".github" / "workflows" / "mine.yml"
    append(path, "on: [push]\njobs: {mine: {runs-on: ubuntu-24.04, steps: [{run: 'true'}]}}\n")
    yield
    assert path.exists()


@act
def own_ci(own: Owner) -> Iterator[None]:
    shutil.rmtree(own.root / ".github")
    yield
    assert not (own.root / ".github").exists()
