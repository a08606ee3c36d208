"""Tasks run side by side as long as they fit, end in their order, and stop with the command."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial

import pytest

from patcher.pipeline.jobs import Stop, Task, run_all
from patcher.sandbox.process import Interrupted


class Peak:
    """Counts how many tasks run at once, and the most memory that they need together."""

    def __init__(self) -> None:
        self.running: list[tuple[str, int]] = []
        self.most, self.memory, self.began = 0, 0, list[str]()
        self._lock = threading.Lock()

    def run(self, name: str, memory: int, seconds: float, _: Stop) -> str:
        with self._lock:
            self.began.append(name)
            self.running.append((name, memory))
            self.most = max(self.most, len(self.running))
            self.memory = max(self.memory, sum(size for _, size in self.running))
        time.sleep(seconds)
        with self._lock:
            self.running.remove((name, memory))
        return name

    def task(self, name: str, memory: int = 1, seconds: float = 0.05, uses: str | None = None) -> Task[str]:
        return Task(partial(self.run, name, memory, seconds), memory, uses)


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 2), (3, 3)])
def test_as_many_run_at_once_as_asked_for_and_results_keep_their_order(jobs: int, most: int) -> None:
    peak = Peak()
    tasks = [peak.task(name, seconds=seconds) for name, seconds in zip("abcd", (0.2, 0.1, 0.05, 0.05), strict=True)]
    assert run_all(tasks, jobs, 100) == ("a", "b", "c", "d")
    assert peak.most == most and peak.began == ["a", "b", "c", "d"]


def test_never_more_run_than_fit_into_memory_and_one_alone_always_does() -> None:
    peak = Peak()
    sizes = {"a": 4, "b": 4, "c": 3, "huge": 50, "d": 5, "e": 5}
    assert run_all([peak.task(*one) for one in sizes.items()], 4, 10) == tuple(sizes)
    assert peak.memory == 50 and peak.most == 2, "the huge one ran alone, and three never fitted"


def test_what_one_task_uses_no_other_one_uses_meanwhile() -> None:
    peak = Peak()
    assert run_all([peak.task(name, uses="one repository") for name in "ab"], 2, 10) == ("a", "b")
    assert peak.most == 1


def test_an_interrupt_of_the_main_thread_ends_the_tasks_of_the_others() -> None:
    def run(stop: Stop) -> None:
        for _ in range(600):
            stop.check()
            time.sleep(0.05)

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    started_at = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Interrupted):
            run_all([Task(run, 1)] * 3, 2, 10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started_at < 10
