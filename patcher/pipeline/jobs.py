"""Runs tasks side by side, as many as fit into memory, and begins them in their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Generic, TypeVar

from patcher.sandbox.process import Interrupted

T = TypeVar("T")


class Stop:
    """Says to tasks in other threads that the command was interrupted, which only the main thread is told."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """End every task at its next `check`."""
        self._event.set()

    def check(self, *_: object) -> None:
        """Raise Interrupted if the command was interrupted."""
        if self._event.is_set():
            raise Interrupted


@dataclass(frozen=True)
class Task(Generic[T]):
    """What to run, the bytes of memory that it needs, and what no other task may use meanwhile, if anything."""

    run: Callable[[Stop], T]
    memory: int
    uses: str | None = None


def run_all(tasks: Sequence[Task[T]], jobs: int, memory: int) -> tuple[T, ...]:
    """The results, in the order of the tasks.

    At most `jobs` run at once, which together need no more than `memory`; one alone may need more. A task begins after
    all before it have begun. One job runs in this thread.
    """
    stop = Stop()
    if jobs == 1:
        return tuple(task.run(stop) for task in tasks)
    futures: list[Future[T]] = []
    running: dict[Future[T], Task[T]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for task in tasks:
                while not _fits(task, running.values(), jobs, memory):
                    for ended in wait(running, return_when=FIRST_COMPLETED).done:
                        del running[ended]
                futures.append(pool.submit(task.run, stop))
                running[futures[-1]] = task
            return tuple(future.result() for future in futures)
        except BaseException:
            stop.set()
            raise


def _fits(task: Task[T], running: Collection[Task[T]], jobs: int, memory: int) -> bool:
    if not running:
        return True
    used = {one.uses for one in running} - {None}
    return len(running) < jobs and task.uses not in used and sum(one.memory for one in running) + task.memory <= memory
