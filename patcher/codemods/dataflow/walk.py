"""Walks backwards from the logits: what is left to follow, what was seen, and the paths that came to an end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import libcst as cst

from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.steps import End, LogitPath, Position

_MAX_VISITS, _MAX_PATHS = 4000, 200  # far beyond any known head; they bound the work on hostile code


class Walk:
    """The paths so far. They are followed depth first, without recursion: code may be longer than Python's stack."""

    def __init__(self, frame: Frame) -> None:
        self.paths: list[LogitPath] = []
        self.ends: list[End] = []
        self.divisors: list[End] = []
        self.unknown: list[tuple[Frame, cst.CSTNode]] = []
        self.masks: list[tuple[Frame, cst.BaseExpression, cst.CSTNode]] = []
        self.statements: set[int] = set()
        self.layers: set[str] = set()
        self.frames: list[Frame] = [frame]
        self.used: set[int] = set()  # the names that carry the logits, where they are read
        self.unfinished = False  # there are more paths than the limits allow to follow
        self._visits_left = _MAX_VISITS
        self._seen: set[tuple[int, ...]] = set()
        self._next: list[Callable[[], None]] = []

    def follow(self, step: Callable[..., None], *arguments: Any) -> None:
        """Go on with a step after the present one."""
        self._next.append(partial(step, *arguments))

    def run(self) -> None:
        """Follow everything, depth first and in the order in which the steps name it."""
        waiting = self._next[::-1]
        while waiting:
            self._next = []
            waiting.pop()()
            waiting += self._next[::-1]

    def visit(self, node: cst.CSTNode, here: Position, mode: int) -> bool:
        """Whether to follow this node: not seen in the same state before, and within the limits."""
        frame, taken = here.frame, here.steps
        frame.package.work.spend(1 + len(taken), frame.function)
        turn = next((step for step in taken if step.node is node and step.frame is frame), None)
        if turn is not None:  # a loop: a second turn shows all that it does
            again = here.path[here.path.index(turn) :]
            self.end(here.then(*again), node, "unbound")  # the other turns show where the path begins
            return False
        parts = (id(part) for step in taken for part in (step.node, step.frame))
        key = (mode, here.is_divisor, id(node), id(frame), *parts)
        if key in self._seen:
            return False
        if self._visits_left <= 0 or len(self.paths) >= _MAX_PATHS:
            self.unfinished = True
            return False
        self._seen.add(key)
        self._visits_left -= 1
        return True

    def end(self, here: Position, node: cst.CSTNode, kind: str = "unknown") -> None:
        """A path begins here."""
        self.follow(self._end, here, node, kind)

    def _end(self, here: Position, node: cst.CSTNode, kind: str) -> None:
        end = End(here.frame, node, kind)
        if kind == "unknown":
            self.cannot_follow(here, node)
        if here.is_divisor:
            self.divisors.append(end)
        else:
            self.paths.append(here.path)
            self.ends.append(end)

    def cannot_follow(self, here: Position, node: cst.CSTNode) -> None:
        """Remember what may do anything to the logits."""
        self.unknown.append((here.frame, node))
