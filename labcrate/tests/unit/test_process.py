"""Starting processes: the contract that the real starter and the tests' double share, and what
process.py makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from double import Double

from labcrate import process
from labcrate import starter as starter_room
from labcrate.starter import NOT_FOUND, TIMED_OUT, RealStarter, Starter

PYTHON = sys.executable
SPEAK = "import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr); sys.exit(3)"
ECHO = "import sys; sys.stdout.write(sys.stdin.read().upper())"
PLACE = "import os; print(os.getcwd(), os.environ['A'])"


@pytest.fixture(params=["real", "double"])
def starter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Starter]:
    """Both starters; the double is told to answer as the programs of these tests do."""
    made: Starter = RealStarter()
    if request.param == "double":
        made = (
            Double()
            .expect(SPEAK, stdout="out\n", stderr="err\n", returncode=3)
            .expect(ECHO, stdout="SAID")
            .expect(PLACE, stdout=f"{tmp_path.resolve()} b\n")
        )
    with process.using(made):
        yield made


@pytest.mark.usefixtures("starter")
class TestContract:
    """The same for both."""

    def test_an_answer_is_kept_apart_and_its_status_too(self) -> None:
        done = process.ask((PYTHON, "-c", SPEAK))
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
        assert (done.ok, done.text, done.argv) == (False, "out\nerr\n", (PYTHON, "-c", SPEAK))

    def test_a_change_answers_as_a_question_does(self) -> None:
        done = process.change((PYTHON, "-c", SPEAK), quiet=True)
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")

    def test_input_reaches_the_program(self) -> None:
        assert process.ask((PYTHON, "-c", ECHO), stdin="said").stdout == "SAID"

    def test_folder_and_variables_reach_the_program(self, tmp_path: Path) -> None:
        done = process.ask((PYTHON, "-c", PLACE), cwd=tmp_path, extra_env={"A": "b"})
        assert done.stdout == f"{tmp_path.resolve()} b\n"

    def test_a_stream_is_one_text_without_its_last_line_break(self) -> None:
        seen: list[str] = []
        done = process.stream((PYTHON, "-c", SPEAK), line=seen.append, quiet=True)
        assert seen == ["out", "err"]
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\nerr", "")

    def test_attach_returns_the_status(self) -> None:
        assert process.attach((PYTHON, "-c", SPEAK), quiet=True) == 3

    @pytest.mark.parametrize("call", [process.ask, process.change, process.stream, process.attach])
    def test_a_dry_run_asks_and_changes_nothing(
        self, starter: Starter, call: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with process.in_mode(process.Mode(dry=True)):
            done = call((PYTHON, "-c", SPEAK))  # type: ignore[operator]
        asked = call is process.ask
        status = done if isinstance(done, int) else done.returncode
        assert status == (3 if asked else 0)
        assert ("$ " in capsys.readouterr().out) is not asked
        if isinstance(starter, Double):
            assert len(starter.calls) == asked


def test_a_program_that_is_not_there_is_the_one_difference() -> None:
    """The real one says so like a shell; the double fails the test that did not expect it."""
    for call in (process.ask, process.stream):
        with process.using(RealStarter()):
            assert call(("no-such-tool-here",)).returncode == NOT_FOUND
        double = Double()
        with process.using(double), pytest.raises(AssertionError, match="nobody expected"):
            call(("no-such-tool-here",))
        assert double.calls == [("no-such-tool-here",)]


def test_the_double_answers_by_words_in_order_and_the_last_expectation_first() -> None:
    double = Double().expect("a", "c", stdout="old").expect("b", stdout="b")
    double.expect("a", "c", stdout="new")
    with process.using(double):
        assert process.ask(("a", "b", "c")).stdout == "new"
        assert process.ask(("c", "b", "a")).stdout == "b"
    assert double.called("b", "c") == [("a", "b", "c")]


def test_an_answer_over_its_time_limit() -> None:
    slow = process.ask((PYTHON, "-c", "import time; time.sleep(9)"), timeout_s=0.2)
    assert (slow.returncode, "0.2 s" in slow.stderr) == (TIMED_OUT, True)


def test_no_shell_reads_an_argument() -> None:
    nasty = "$(id) `id` ; id | id > x"
    done = process.ask((PYTHON, "-c", "import sys; print(sys.argv[1])", nasty))
    assert done.stdout == nasty + "\n"


WAITS = """
import sys, time
from pathlib import Path
print("asks", flush=True)
for _ in range(600):
    if Path(sys.argv[1]).exists():
        print("answered")
        sys.exit()
    time.sleep(0.05)
sys.exit(3)
"""
"""It goes on only once somebody has read its first line."""


def test_stream_hands_on_lines_as_they_come(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer, seen = tmp_path / "answer", list[str]()

    def read(line: str) -> None:
        seen.append(line)
        answer.touch()

    done = process.stream((PYTHON, "-c", WAITS, str(answer)), line=read)
    assert done.ok
    assert seen == ["asks", "answered"] == done.stdout.split()
    assert capsys.readouterr().out.startswith("$ ")


def test_echo_can_be_copied_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    process.echo((PYTHON, "-c", "import os; print(os.environ['A'])"), {"A": "x y'z"})
    line = capsys.readouterr().out.removeprefix("$ ")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "x y'z\n"


@pytest.mark.parametrize(
    ("mode", "quiet", "shown"),
    [
        (process.Mode(), True, 0),
        (process.Mode(), False, 1),
        (process.Mode(echo=True), True, 2),
        (process.Mode(dry=True), True, 1),
    ],
)
def test_what_is_shown(
    double: Double,
    capsys: pytest.CaptureFixture[str],
    mode: process.Mode,
    quiet: bool,
    shown: int,
) -> None:
    """Questions with --echo alone; changes unless they are quiet, and with --dry and --echo."""
    double.expect("x")
    with process.in_mode(mode):
        process.ask(("x",))
        process.change(("x",), quiet=quiet)
        assert process.is_dry() is mode.dry
    assert not process.is_dry()
    assert capsys.readouterr().out.count("$ x") == shown


def test_a_daemon_outlives_its_task_and_writes_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os; print(os.getsid(0) == os.getpid(), os.getcwd())"
    process.detach((PYTHON, "-c", code), log=log)
    deadline = time.monotonic() + 5
    while not log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert log.read_text() == "True /\n"
    with process.in_mode(process.Mode(dry=True)):
        process.detach(("no-such-tool-here",), log=None)


def test_a_starter_is_in_force_for_its_block_alone(double: Double) -> None:
    assert process.current_starter() is double
    with process.using(Double()):
        assert process.current_starter() is not double
    assert process.current_starter() is double


@pytest.fixture
def heeding() -> None:
    """No signal is ignored, as in the background of a shell or under nohup: children inherit it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.usefixtures("heeding")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_child_too(sent: signal.Signals) -> None:
    code = (
        "from labcrate import process\n"
        "import sys\n"
        "try:\n"
        "    with process.terminable():\n"
        "        process.attach((sys.executable, '-c', 'import os, time; "
        "print(os.getpid(), flush=True); time.sleep(60)'), quiet=True)\n"
        "except process.Terminated as error: sys.exit(128 + error.signum)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    parent = subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(sent)
    assert parent.wait(10) == 128 + sent
    parent.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.usefixtures("heeding")
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_cut_short_what_the_first_began(first: signal.Signals) -> None:
    done = []

    def task() -> None:
        try:
            os.kill(os.getpid(), first)
        finally:
            for again in (signal.SIGHUP, signal.SIGTERM):
                os.kill(os.getpid(), again)
            done.append("put back")

    with process.terminable(), pytest.raises(process.Terminated) as caught:
        task()
    assert (done, caught.value.signum) == (["put back"], first)


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.terminable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


LOUD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
until = time.monotonic() + 1
while time.monotonic() < until: print("x" * 200)
"""


def test_ctrl_c_while_a_command_talks_fast_is_one_clean_line() -> None:
    """The command ends in its own time, and nothing more of it is shown meanwhile."""
    code = (
        "import sys\n"
        "from labcrate import process\n"
        f"try: process.stream((sys.executable, '-c', {LOUD!r}), quiet=True)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    task = subprocess.Popen(
        [PYTHON, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert task.stdout is not None
    assert task.stdout.readline() == "ready\n"
    task.send_signal(signal.SIGINT)
    time.sleep(0.3)
    # What was shown before Ctrl-C is still in the pipe; afterwards nothing comes.
    rest, errors = task.communicate(timeout=20)
    assert rest.splitlines()[-1] == "interrupted"
    assert len(rest) < 200_000
    assert errors == ""


def test_what_is_to_be_done_at_once_comes_before_the_command_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that does not heed Ctrl-C may wait for it."""
    monkeypatch.setattr(starter_room, "GRACE_S", 5)
    seen: list[BaseException] = []
    code = "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    children: list[subprocess.Popen[bytes]] = []

    def wait(child: subprocess.Popen[bytes], *_: object, **__: object) -> int:
        if not children:
            children.append(child)
            raise process.Terminated
        return real(child, *_, **__)  # type: ignore[arg-type]

    def at_once(error: BaseException) -> None:
        seen.append(error)
        children[0].terminate()

    real = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    with pytest.raises(process.Terminated) as caught:
        process.attach((PYTHON, "-S", "-c", code), quiet=True, at_once=at_once)
    assert seen == [caught.value]
    assert children[0].returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("heeds", "status"), [(True, -signal.SIGINT), (False, -signal.SIGKILL)], ids=["heeds", "deaf"]
)
def test_whatever_ends_the_wait_ends_the_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, heeds: bool, status: int
) -> None:
    """Asked first, and killed where it does not listen."""
    ready = tmp_path / "ready"
    monkeypatch.setattr(starter_room, "GRACE_S", 0.2)
    action = "SIG_DFL" if heeds else "SIG_IGN"
    code = (
        f"import signal, time; signal.signal(signal.SIGINT, signal.{action}); "
        f"open({str(ready)!r}, 'w'); time.sleep(60)"
    )
    children: list[subprocess.Popen[bytes]] = []

    def wait(child: subprocess.Popen[bytes], *_: object, **__: object) -> int:
        if not children:
            children.append(child)
            while not ready.exists():
                time.sleep(0.01)
            raise process.Terminated
        return real(child, *_, **__)  # type: ignore[arg-type]

    real = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    with pytest.raises(process.Terminated):
        process.attach((PYTHON, "-S", "-c", code), quiet=True)
    assert children[0].returncode == status
