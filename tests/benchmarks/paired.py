"""Measures two processes in turns, A B B A, after one round that is thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.processes import Run, run

Command = Sequence[str | Path]


def alternate(ours: Command, floor: Command, pairs: int, home: Path, warm_up: bool = True) -> list[tuple[Run, Run]]:
    """Run both `pairs` times. Each side has a home of its own, so that neither warms the other's caches.

    The first round fills the page cache and writes bytecode. Which of the two goes first changes from pair to pair:
    what a process leaves behind (a warm processor, a full page cache) favours its successor.
    """
    sides = ((ours, home / "ours"), (floor, home / "floor"))
    if warm_up:
        for command, place in sides:
            run(command, place)
    found = []
    for number in range(pairs):
        order = sides if number % 2 == 0 else sides[::-1]
        runs = [run(command, place) for command, place in order]
        first, second = runs if number % 2 == 0 else runs[::-1]
        found.append((first, second))
    return found
