"""Exact counts of values on a fixed grid, from which every share, histogram and shift of a report is computed."""

from __future__ import annotations

import torch

from patcher.verify.messages import Bins, ShiftPoint

LOW, HIGH = -256, 256  # values outside are counted in the outermost bins
FINE = 64  # bins of the grid per unit; 1/64 is exact in every floating dtype
PER_UNIT = 4  # bins of a report's histogram per unit
# Every value falls on an edge of the grid (even) or between two (odd): so "below" and "up to" an edge are both exact.
_CELLS = 2 * FINE * (HIGH - LOW)
_ZERO = -2 * FINE * LOW


class Histogram:
    """Counts of finite values, computed on their device and kept on the CPU. Takes 512 kB."""

    def __init__(self) -> None:
        self.cells = torch.zeros(_CELLS, dtype=torch.int64)

    def add(self, values: torch.Tensor) -> None:
        """Count float32 values of any shape, all of them finite."""
        scaled = values * FINE
        cells = scaled.floor().add_(scaled.ceil_()).add_(_ZERO).clamp_(0, _CELLS - 1).to(torch.int32)
        self.cells += torch.bincount(cells.view(-1), minlength=_CELLS).cpu()

    def merge(self, other: Histogram) -> None:
        """Add the counts of another one."""
        self.cells += other.cells

    @property
    def count(self) -> int:
        """How many values were counted."""
        return int(self.cells.sum())

    @property
    def negative(self) -> int:
        """How many values are below zero."""
        return int(self.cells[:_ZERO].sum())

    def up_to(self, steps: int) -> int:
        """How many values are at most steps / 64; `steps` from 0."""
        return int(self.cells[: _ZERO + 2 * steps + 1].sum())

    def bins(self) -> Bins | None:
        """Counts in bins of a quarter, from the first to the last that is not empty; None if nothing was counted."""
        bins = self.cells.view(-1, 2 * FINE // PER_UNIT).sum(1)
        filled = bins.nonzero().flatten()
        if not len(filled):
            return None
        first, last = int(filled[0]), int(filled[-1])
        return Bins(LOW + first / PER_UNIT, 1 / PER_UNIT, tuple(bins[first : last + 1].tolist()))


def shift_beyond(logits: Histogram, target: float) -> float | None:
    """The smallest multiple of 1/64 that, subtracted from every value, leaves a share above `target` not positive.

    None if no shift on the grid does.
    """
    enough = (_up_to_each(logits) > target * logits.count).nonzero().flatten()
    return int(enough[0]) / FINE if len(enough) else None


def curve(logits: Histogram, pooled: Histogram, target: float = 0.9999, points: int = 40) -> tuple[ShiftPoint, ...]:
    """Both sparsities as they would be with `shift` subtracted from every logit.

    Exact at its shifts, which are multiples of 1/64: 0, and on to the first that reaches `target` logit sparsity, at
    most `points` in all.
    """
    if not logits.count or not pooled.count:
        return ()
    reached = _up_to_each(logits)
    enough = (reached >= target * logits.count).nonzero().flatten()
    last = int(enough[0]) if len(enough) else len(reached) - 1
    stride = max(1, -(-last // (points - 1)))
    steps = [*range(0, last, stride), last]
    return tuple(
        ShiftPoint(step / FINE, logits.up_to(step) / logits.count, pooled.up_to(step) / pooled.count) for step in steps
    )


def _up_to_each(values: Histogram) -> torch.Tensor:
    """How many values are at most 0, 1/64, 2/64 and so on [steps]."""
    return values.cells.cumsum(0)[_ZERO::2]
