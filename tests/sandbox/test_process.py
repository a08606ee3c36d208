"""How a process ends: its output is flushed, its exit handlers run where they may, and signals reach its cleanup."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from patcher.sandbox.process import Interrupted, install_signal_handlers
from tests.conftest import ROOT

ENDING = """
import atexit, sys
from patcher.sandbox.process import exit_now
atexit.register(print, "handler")
sys.stdout.write("said\\n")
{before}
try:
    exit_now(3{tidy})
finally:
    print("never")
"""


def ended(tidy: str = "", before: str = "") -> subprocess.CompletedProcess[str]:
    """A process that ends with code 3."""
    code = ENDING.format(tidy=tidy, before=before)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=buffered, capture_output=True, text=True)


def test_what_was_said_is_flushed_and_exit_handlers_run() -> None:
    done = ended()
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\nhandler\n", "")


def test_a_child_runs_no_exit_handlers() -> None:
    done = ended(", tidy=False")
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "")


def test_a_stream_that_the_caller_closed_is_no_error() -> None:
    assert ended(before="sys.stdout.flush(); sys.stderr = None").returncode == 3


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_that_ask_a_process_to_end_raise_what_no_handler_of_errors_swallows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    assert threading.current_thread() is threading.main_thread()
    number = getattr(signal, name)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        install_signal_handlers()
        with pytest.raises(Interrupted), contextlib.suppress(Exception):
            os.kill(os.getpid(), number)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


LOST = """
import signal, sys, time, weakref
from patcher.sandbox.process import Interrupted, install_signal_handlers

install_signal_handlers()
thing = type("Thing", (), {})()
callback = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
try:
    del thing  # what a callback raises is dropped
    time.sleep(20)
except Interrupted:
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals one thread")
def test_an_interruption_inside_a_callback_of_the_interpreter_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")
