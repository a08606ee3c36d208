"""Faults on demand: which request goes wrong, and how."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

__all__ = ["Fault", "Faults"]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    `method` must match in full, `path` anywhere in `/path?query` (decoded). `nth` counts matching requests
    from 1; `times` is how many of them from there on are hit, 0 meaning all. `origin` is "hub", "storage" or
    None for both.

    `delay`           seconds to wait first; alone, the request is then answered normally
    `status`          answer with this status, `headers` and `body` instead of doing the work; `works`: after it
    `drop`            read the request, do nothing, close the connection
    `cut_request`     close the connection after this many bytes of the request's body
    `cut_answer`      do the work, send the headers and this many bytes of the body, close the connection
    `lose_answer`     do the work, then close the connection without an answer
    """

    method: str = ".*"
    path: str = ""
    nth: int = 1
    times: int = 1
    origin: str | None = None
    delay: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    drop: bool = False
    cut_request: int | None = None
    cut_answer: int | None = None
    lose_answer: bool = False
    works: bool = False

    def matches(self, origin: str, method: str, path: str) -> bool:
        return (
            self.origin in (None, origin)
            and re.fullmatch(self.method, method) is not None
            and re.search(self.path, path) is not None
        )


class Faults:
    """The faults of one Hub, in the order they were added; a request meets the first that applies to it."""

    def __init__(self) -> None:
        self._armed: list[tuple[Fault, count[int]]] = []
        self._lock = threading.Lock()
        self.fired: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._armed.append((fault, count(1)))
        return fault

    def status(self, method: str, path: str, status: int, **options: object) -> Fault:
        return self.add(Fault(method, path, status=status, **options))  # type: ignore[arg-type]

    def delay(self, method: str, path: str, seconds: float, **options: object) -> Fault:
        return self.add(Fault(method, path, delay=seconds, **options))  # type: ignore[arg-type]

    def drop(self, method: str, path: str, **options: object) -> Fault:
        return self.add(Fault(method, path, drop=True, **options))  # type: ignore[arg-type]

    def cut_answer(self, method: str, path: str, after: int, **options: object) -> Fault:
        return self.add(Fault(method, path, cut_answer=after, **options))  # type: ignore[arg-type]

    def cut_request(self, method: str, path: str, after: int, **options: object) -> Fault:
        return self.add(Fault(method, path, cut_request=after, **options))  # type: ignore[arg-type]

    def lose_answer(self, method: str, path: str, **options: object) -> Fault:
        return self.add(Fault(method, path, lose_answer=True, **options))  # type: ignore[arg-type]

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()
            self.fired.clear()

    def match(self, origin: str, method: str, path: str) -> Fault | None:
        """The fault that this request meets. Every matching fault counts it, whichever fires."""
        met: Fault | None = None
        with self._lock:
            for fault, seen in self._armed:
                if fault.matches(origin, method, path):
                    number = next(seen)
                    hit = number >= fault.nth and (fault.times == 0 or number < fault.nth + fault.times)
                    if hit and met is None:
                        met = fault
            if met is not None:
                self.fired.append(met)
        return met
