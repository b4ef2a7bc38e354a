"""The one module that starts processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from labcrate import shell

PYTHON = sys.executable


def test_capture_answers_whatever_happens() -> None:
    assert shell.capture((PYTHON, "-c", "print(1)")).stdout == "1\n"
    assert shell.capture(("no-such-tool-here",)).returncode == 127
    slow = shell.capture((PYTHON, "-c", "import time; time.sleep(9)"), timeout_s=0.2)
    assert (slow.returncode, "0.2 s" in slow.stderr) == (124, True)


def test_no_shell_reads_an_argument() -> None:
    nasty = "$(id) `id` ; id | id > x"
    done = shell.capture((PYTHON, "-c", "import sys; print(sys.argv[1])", nasty))
    assert done.stdout == nasty + "\n"


def test_stream_hands_on_lines_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[float, str]] = []
    code = "import time\nfor i in range(3): print(i, flush=True); time.sleep(0.2)"
    done = shell.stream((PYTHON, "-c", code), line=lambda t: seen.append((time.monotonic(), t)))
    assert [text for _, text in seen] == ["0", "1", "2"] == done.stdout.split()
    assert seen[2][0] - seen[0][0] > 0.3
    assert capsys.readouterr().out.startswith("$ ")


def test_echo_can_be_copied_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    shell.echo((PYTHON, "-c", "import os; print(os.environ['A'])"), {"A": "x y'z"})
    line = capsys.readouterr().out.removeprefix("$ ")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "x y'z\n"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_child_too(sent: signal.Signals) -> None:
    code = (
        "from labcrate import shell\n"
        "import sys\n"
        "try:\n"
        "    with shell.terminable():\n"
        "        shell.attach((sys.executable, '-c', 'import os, time; "
        "print(os.getpid(), flush=True); time.sleep(60)'), quiet=True)\n"
        "except shell.Terminated: sys.exit(143)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    # Not ignored, as it is in the background of a shell: children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(sent)
    assert parent.wait(10) == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent]
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
