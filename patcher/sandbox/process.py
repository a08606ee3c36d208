"""How a process of this tool is interrupted and ends."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = ("Interrupted; nothing was left half written.", "Run the same command again.")


class Interrupted(BaseException):
    """Ctrl-C or a polite end from outside; not an Exception, so that nothing on the way swallows it."""


def heed_signals() -> None:
    """Let what asks the process to end raise Interrupted in its main thread, so that all it began is ended first."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise Interrupted


def leave(code: int, tidy: bool = True) -> NoReturn:
    """End at once, everything printed, without taking thousands of modules apart.

    What libraries registered for the end is done where it is to be `tidy`, which model code has no say in.
    """
    if tidy:
        atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by the caller
                stream.flush()
    except (OSError, ValueError):  # a full disk or a closed pipe: Python's own end says so
        raise SystemExit(code) from None
    os._exit(code)
