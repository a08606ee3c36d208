"""How a process of this tool begins and ends: seconds are spent where the user is served and not on memory's order."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import NoReturn

_USUAL = gc.get_threshold()
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


def leave(code: int, tidy: bool = True) -> NoReturn:
    """End at once, everything printed, without taking thousands of modules apart.

    What libraries registered for the end is done where it is to be `tidy`, which model code has no say in.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by the caller
                stream.flush()
    except (OSError, ValueError):  # a full disk or a closed pipe: Python's own end says so
        raise SystemExit(code) from None
    if tidy:
        atexit._run_exitfuncs()
    os._exit(code)
