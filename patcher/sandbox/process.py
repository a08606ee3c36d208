"""How a process of this tool is interrupted and ends."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from typing import NoReturn

INTERRUPTED = ("Interrupted; nothing was left half written.", "Run the same command again.")


class Interrupted(BaseException):
    """Ctrl-C or a request to terminate; not an Exception, so that no handler on the way swallows it."""


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an interruption led to an error: in a library, an error of its cleanup can take the place of one."""
    if error is None or isinstance(error, (Interrupted, KeyboardInterrupt)):
        return error is not None
    return was_interrupted(error.__cause__) or was_interrupted(error.__context__)


def install_signal_handlers() -> None:
    """Make the signals that ask a process to end raise Interrupted in its main thread, so that cleanup code runs."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)
    sys.unraisablehook = _repeat_interruption


def _interrupt(*_: object) -> NoReturn:
    raise Interrupted


def _repeat_interruption(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal again that arrived inside a callback of the interpreter, such as a weak reference's.

    Whatever is raised there is printed and dropped; imports have such callbacks.
    """
    if not issubclass(lost.exc_type, Interrupted) or not hasattr(signal, "pthread_kill"):
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    again.daemon = True
    again.start()


def exit_now(code: int, *, tidy: bool = True) -> NoReturn:
    """Flush the output and end at once, without the interpreter's teardown of thousands of modules.

    With `tidy`, the exit handlers that libraries registered run first. Not in a child: model code may register some.
    """
    if tidy:
        atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by the caller
                stream.flush()
    except (OSError, ValueError):  # a full disk or a closed pipe: the interpreter reports it
        raise SystemExit(code) from None
    os._exit(code)
