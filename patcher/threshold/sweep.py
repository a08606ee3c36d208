"""The arithmetic of a sweep: which points to measure, what they lose, and which to recommend. Without torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import product
from typing import Literal

from patcher.constants import THRESHOLD
from patcher.threshold.messages import Interval, Point, Row

MIN_EMBEDDING_SPARSITY = 0.99
NDCG = "ndcg@10"
# Up to 3: under a cap of 30 no activation exceeds log(31) = 3.43.
GRID = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 2.5, 3.0)
SIDE = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of one side while the other has another one
QUERY_TOP_K, DOCUMENT_TOP_K = (8, 16, 32, 64), (32, 64, 128, 256, 512)
UNPRUNED = Point(0.0, 0.0)

Fit = Literal["with_cap", "without_cap", "undecided"]


def points(chosen: Point | None, *, sweep: bool, in_code: bool = False) -> tuple[Point, ...]:
    """The points to measure: nothing pruned first, then one threshold for both sides, ascending, then the others.

    The chosen point, or the usual threshold, is among them; a sweep adds one threshold for both sides, and unless it is
    built into the code, which knows no sides, one for each side, and a top k for each side.
    """
    wanted = [Point(THRESHOLD, THRESHOLD), *([chosen] if chosen else [])]
    if sweep:
        wanted += [Point(value, value) for value in GRID]
    if sweep and not in_code:
        wanted += [Point(query, document) for query, document in product(SIDE, SIDE)]
        wanted += [Point(GRID[0], GRID[0], query_top_k=k) for k in QUERY_TOP_K]
        wanted += [Point(GRID[0], GRID[0], document_top_k=k) for k in DOCUMENT_TOP_K]
    found = dict.fromkeys([UNPRUNED, *wanted])
    both = sorted(filter(is_common, found), key=lambda point: point.document)
    return (*both, *(point for point in found if not is_common(point)))


def is_common(point: Point) -> bool:
    """Whether a point is one threshold for both sides and no top k."""
    return point == Point(point.document, point.document)


def relative_losses(row: Row, reference: Row) -> dict[str, Interval]:
    """The losses of a point as shares of each metric without pruning; NaN where that is 0."""
    before = {NDCG: reference.ndcg, "mrr@10": reference.mrr, "recall@10": reference.recall}

    def share(loss: Interval, whole: float | None) -> Interval:
        return Interval(*((part / whole if whole else math.nan) for part in (loss.mean, loss.low, loss.high)))

    return {name: share(loss, before[name]) for name, loss in row.losses.items()}


def is_within(loss: Interval, tolerance: float) -> bool:
    """Whether a loss is small enough to be recommended."""
    return loss.mean <= tolerance


def is_no_worse(loss: Interval, tolerance: float) -> bool:
    """Whether a loss passes: it is within the tolerance, or the questions can't tell it from none."""
    return is_within(loss, tolerance) or loss.low <= 0


def is_sparse(row: Row, kinds: Collection[str]) -> bool:
    """Whether the embeddings of these kinds of text (query, document) reach the limit."""
    sparsity = {"query": row.query_sparsity, "document": row.document_sparsity}
    return all(sparsity[kind] >= MIN_EMBEDDING_SPARSITY for kind in kinds)


def recommend(found: Sequence[Row], kinds: Collection[str], tolerance: float) -> Row | None:
    """The cheapest point that reaches the sparsity limits and loses no metric beyond the tolerance.

    Cheapest is what multiplies least (FLOPS), then the smaller index, then the smaller thresholds. None where no point
    does, or where nothing was judged.
    """
    good = [
        row
        for row in found[1:]
        if row.losses
        and is_sparse(row, kinds)
        and all(is_within(loss, tolerance) for loss in relative_losses(row, found[0]).values())
    ]
    return min(good, key=lambda row: (row.flops, row.index_bytes, row.point.query + row.point.document), default=None)


def fit(without_cap: Row | None) -> Fit | None:
    """Which code the weights fit, by nDCG@10 on the same questions; None where that was not measured or not judged.

    Undecided where the interval of the paired difference contains 0.
    """
    if without_cap is None or not without_cap.losses:
        return None
    loss = without_cap.losses[NDCG]
    return "with_cap" if loss.low > 0 else "without_cap" if loss.high < 0 else "undecided"
