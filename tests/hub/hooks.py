"""Watching requests as they come, and killing a client at a chosen one."""

from __future__ import annotations

import os
import signal
import threading
from typing import Literal, Protocol

from .traffic import RequestRecord

__all__ = ["Hook", "KillAt", "Phase"]

Phase = Literal["before", "after"]
PATIENCE = 10.0


class Hook(Protocol):
    """Called in a worker thread: "before" anything is done, and "after" the work, with the answer unsent.

    Where it returns True the connection is closed instead: nothing more is done, or the answer is lost.
    """

    def __call__(self, record: RequestRecord, phase: Phase) -> bool | None: ...


class KillAt:
    """A hook that ends a client with SIGKILL at request `number`.

    Killed "before" request n, the world is as request n-1 left it; killed "after", as request n left it. Call
    `aim` with the process id once the client runs; `fired` says whether it came so far.
    """

    def __init__(self, number: int, phase: Phase) -> None:
        self._number = number
        self._phase = phase
        self._pid: int | None = None
        self._aimed = threading.Event()
        self.fired = False

    def aim(self, pid: int) -> None:
        self._pid = pid
        self._aimed.set()

    def __call__(self, record: RequestRecord, phase: Phase) -> bool:
        if (record.number, phase) != (self._number, self._phase):
            return False
        if not self._aimed.wait(PATIENCE) or self._pid is None:
            raise TimeoutError("KillAt was never aimed at a process")
        os.kill(self._pid, signal.SIGKILL)
        self.fired = True
        return True
