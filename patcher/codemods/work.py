"""A bound on the work of an analysis, in steps that are the same on every machine."""

from __future__ import annotations

import libcst as cst

# The largest file of transformers takes fewer than 1,000 of them.
MAX_STEPS = 300_000


class TooComplex(Exception):
    """The code takes more work than any model of people; `function` is where the last of it was."""

    def __init__(self, function: cst.CSTNode | None = None) -> None:
        super().__init__("more work than the limit")
        self.function = function


class Work:
    """Counts steps until there are too many."""

    def __init__(self, limit: int = MAX_STEPS) -> None:
        self.limit = limit
        self.done = 0

    def spend(self, steps: int = 1, function: cst.CSTNode | None = None) -> None:
        """Count steps. Raises TooComplex beyond the limit."""
        self.done += steps
        if self.done > self.limit:
            raise TooComplex(function)
