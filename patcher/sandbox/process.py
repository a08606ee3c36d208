"""How a process of this tool begins, is interrupted, and ends: time goes to the user and not to memory's order."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import NoReturn

_USUAL = gc.get_threshold()
INTERRUPTED = ("Interrupted; nothing was left half written.", "Run the same command again.")
_SELDOM = 50_000  # objects more than before; Python's own is in the hundreds


def hurry() -> None:
    """Look for cyclic garbage seldom: until `settle`, or in a short process to its end.

    Importing makes little garbage, for modules and their classes stay. Looking as often as Python does walks through
    all of them again and again: of the imports that a model needs, a fifth of the time.
    """
    gc.set_threshold(_SELDOM)


def settle() -> None:
    """What has been made up to here stays (`gc.freeze`); look for garbage as usual in what comes now."""
    gc.freeze()
    gc.set_threshold(*_USUAL)


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
