"""In the child: scores documents at every point, a chunk at a time, and keeps the best of each query.

Vectors of a capped head have no zeros before they are pruned, so that only those of the queries and of one chunk of
documents are held: memory does not grow with the number of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from patcher.threshold.messages import KINDS, Point
from patcher.threshold.metrics import TOP, Best, Floats
from patcher.threshold.rows import Measurement
from patcher.threshold.sparse_threshold import prune
from patcher.verify.costs import Counts

SPARSE = 0.25  # share of active dims up to which a compressed matrix is smaller and its products are faster
Vectors: TypeAlias = "NDArray[np.float32] | csr_array"  # [texts, dimensions]
Side = tuple[float, int | None]  # threshold and top k
ALL: Side = (0.0, None)
Score = Callable[[Vectors, Vectors], NDArray[np.float32]]


class Scorer:
    """Takes chunks of documents and measures each point; `queries` are the vectors of all queries, unpruned.

    The first point prunes nothing; its best documents are followed through the other ones. `follow` are the columns
    [queries, up to TOP] of documents to follow instead. `uncapped` kinds of text are never pruned. If `in_code`, what a
    threshold leaves is lowered too (see `lowered`).
    """

    def __init__(
        self,
        queries: NDArray[np.float32],
        points: Sequence[Point],
        uncapped: Sequence[str],
        score: Score,
        follow: NDArray[np.int64] | None = None,
        *,
        in_code: bool = False,
    ) -> None:
        self._in_code = in_code
        self._sides = {kind: [ALL if kind in uncapped else one.side(kind) for one in points] for kind in KINDS}
        self._score, self._follow, self._seen = score, follow, 0
        self._queries, self._pruned = queries, dict[Side, Vectors]()
        self._counts: dict[str, dict[Side, Counts]] = {"query": {}, "document": {}}
        for side, vectors in in_turn(queries, self._sides["query"], in_code=in_code):
            self._counts["query"][side] = count(vectors)
            if not isinstance(vectors, np.ndarray):  # the others would need as much memory as the queries, each
                self._pruned[side] = vectors
        self._columns = np.full((len(points), len(queries), TOP), -1, np.int64)
        self._scores = np.full(self._columns.shape, -np.inf)
        self._followed = np.zeros(self._columns.shape)

    def add(self, documents: NDArray[np.float32]) -> None:
        """Score the next documents [documents, dimensions]; of equal scores the earlier document is the better one."""
        counts, sides = self._counts["document"], self._sides["document"]
        for side, vectors in in_turn(documents, sides, in_code=self._in_code):
            found = count(vectors)
            counts[side] = counts[side] + found if side in counts else found
            for number in (number for number, one in enumerate(sides) if one == side):
                self._rank(number, self._score(self._query(self._sides["query"][number]), vectors))
        self._seen += len(documents)

    def counts(self, number: int) -> Mapping[str, Counts]:
        """In how many texts of each kind each dimension is active at a point."""
        return {kind: self._counts[kind][sides[number]] for kind, sides in self._sides.items()}

    def measurement(self, number: int) -> Measurement:
        """The best documents at a point, and the scores of those that are followed."""
        top = min(TOP, self._seen)
        best = Best(self._columns[number, :, :top], self._scores[number, :, :top])
        followed = best.scores if number == 0 and self._follow is None else self._followed[number, :, :top]
        return Measurement(best, followed)

    def _query(self, side: Side) -> Vectors:
        if side in self._pruned:
            return self._pruned[side]
        found = pruned(self._queries, side)
        return lowered(found, side[0]) if self._in_code else found

    def _rank(self, number: int, scores: NDArray[np.float32]) -> None:
        """Let the scores of a chunk [queries, documents] into the best of a point, where they belong there."""
        best, columns = self._scores[number], self._columns[number]
        new = np.arange(self._seen, self._seen + scores.shape[1])
        rows = np.flatnonzero(scores.max(axis=1) > best[:, -1])
        both = np.concatenate([best[rows], scores[rows]], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :TOP]
        named = np.concatenate([columns[rows], np.broadcast_to(new, (len(rows), len(new)))], axis=1)
        best[rows], columns[rows] = _take(both, order), _take(named, order)
        if self._follow is not None:
            row, place = np.nonzero((self._follow >= new[0]) & (self._follow <= new[-1]))
            self._followed[number, row, place] = scores[row, self._follow[row, place] - new[0]]
            return
        if number == 0:
            self._order = rows, order
        rows, order = self._order
        both = np.concatenate([self._followed[number][rows], scores[rows]], axis=1)
        self._followed[number][rows] = _take(both, order)


def in_turn(
    vectors: NDArray[np.float32], sides: Sequence[Side], *, in_code: bool = False
) -> Iterator[tuple[Side, Vectors]]:
    """The vectors as each side prunes them, each from those of the next lower threshold; the unpruned ones first."""
    last: Vectors = vectors
    for side in sorted(set(sides), key=lambda one: (one[0], one[1] or 0)):
        found = pruned(last, side)
        last = found if side[1] is None else last
        yield side, lowered(found, side[0]) if in_code else found


def pruned(vectors: Vectors, side: Side) -> Vectors:
    """What is left of vectors by `sparse_threshold.prune`, compressed where that is few."""
    threshold, top_k = side
    if side == ALL:
        return vectors
    if isinstance(vectors, np.ndarray):
        left = prune(torch.from_numpy(vectors).clone(), threshold, top_k).numpy()
        return csr_array(left) if np.count_nonzero(left) <= SPARSE * left.size else left
    kept = vectors.copy()
    kept.data[kept.data < threshold] = 0
    kept.eliminate_zeros()
    if top_k is not None:
        for start, stop in pairwise(kept.indptr):
            row = kept.data[start:stop]
            row[np.argsort(-row)[top_k:]] = 0
        kept.eliminate_zeros()
    return kept


def lowered(vectors: Vectors, threshold: float) -> Vectors:
    """Activations w = log(1 + logit) as they are once the code subtracts expm1(threshold) from the logits.

    Those of up to the threshold become 0. A row that the code puts in front of the logits afterwards, the bos token's
    alone, is lowered here as well: that takes the same from every score.
    """
    constant = np.float32(np.expm1(threshold))

    def lower(values: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = np.maximum(np.expm1(values) - constant, 0)
        return np.log1p(logits)

    if isinstance(vectors, np.ndarray):
        return lower(vectors)
    found = vectors.copy()
    found.data = lower(found.data)
    found.eliminate_zeros()
    return found


def dot(queries: Vectors, documents: Vectors) -> NDArray[np.float32]:
    """Every dot product [queries, documents]."""
    found = queries @ documents.T
    return found if isinstance(found, np.ndarray) else found.toarray()


def count(vectors: Vectors) -> Counts:
    """In how many texts each dimension is active."""
    if isinstance(vectors, np.ndarray):
        active, lengths = np.count_nonzero(vectors, axis=0), np.count_nonzero(vectors, axis=1)
    else:
        active, lengths = np.bincount(vectors.indices, minlength=vectors.shape[1]), np.diff(vectors.indptr)
    return Counts(active.astype(np.int64), len(lengths), int((lengths == 0).sum()), int(lengths.max(initial=0)))


def _take(values: NDArray[np.float64], order: NDArray[np.int64]) -> Floats:
    return np.take_along_axis(values, order, axis=1)
