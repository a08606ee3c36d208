"""A child waits for its request, enters the sandbox, works, and writes an answer or none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def serve(scratch: Path, request: str | None = None) -> subprocess.CompletedProcess[str]:
    """Start a child as its parent does, with a request or without one, and wait for its end."""
    if request is not None:
        (scratch / "request.json").write_text(request)
    command = [sys.executable, "-m", "patcher.sandbox.child", "tests.sandbox.steps", str(scratch)]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def test_the_sandbox_is_entered_between_the_request_and_the_answer(scratch: Path) -> None:
    assert serve(scratch, '{"name": "x"}').returncode == 0
    answer = json.loads((scratch / "answer.json").read_text())
    assert answer == ["imported", "entered scratch for x", "answered x"]


def test_without_a_request_it_ends_without_an_answer(scratch: Path) -> None:
    done = serve(scratch)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (scratch / "answer.json").exists()


def test_a_request_that_cannot_be_read_is_an_error_and_no_answer(scratch: Path) -> None:
    assert "Unreadable" in serve(scratch, "[]").stderr
    assert not (scratch / "answer.json").exists()


def test_an_error_leaves_no_answer(scratch: Path) -> None:
    done = serve(scratch, '{"name": "crash"}')
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "ValueError: no answer"
    assert not (scratch / "answer.json").exists()
