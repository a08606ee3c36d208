"""The process of the command: its streams, and an interruption before the command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.sandbox.process import INTERRUPTED
from tests.conftest import MINI, ROOT, Run


def test_a_terminal_without_utf_8_still_gets_the_diff(cli: Run) -> None:
    done = cli("plan", MINI, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "torch.sigmoid" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="closes its streams in a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_a_stream_that_is_closed_is_no_failure(closed: str, mini: Path) -> None:
    command = shlex.join([sys.executable, "-m", "patcher", "plan", str(mini), "--quiet"])
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="closes its streams in a shell")
def test_a_reader_that_has_seen_enough_is_no_failed_check(mini: Path) -> None:
    command = shlex.join([sys.executable, "-m", "patcher", "plan", str(mini)])
    script = f"{{ {command}; echo $? >&2; }} | true"
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1:] == ["3"] and "Error" not in done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_before_the_command_is_told_as_one_in_it_is(name: str) -> None:
    raised = f"signal.raise_signal(signal.{name})"
    code = f"import signal; from patcher import __main__ as m; m._prepare_streams = lambda: {raised}; m.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == [f"Error: {INTERRUPTED[0]}", f"Hint: {INTERRUPTED[1]}"]
