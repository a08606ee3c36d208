"""From the scores of documents to ranking metrics per query, and from these to losses with their uncertainty.

It knows nothing of models, thresholds or files: whatever scored the documents hands over the best of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patcher.threshold.messages import Interval

TOP = 10
METRICS = (f"ndcg@{TOP}", f"mrr@{TOP}", f"recall@{TOP}")
RESAMPLES, CONFIDENCE, SEED = 1000, 0.95, 0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The best documents of each query [queries, up to TOP], best first: their columns and their scores."""

    columns: NDArray[np.int64]
    scores: Floats

    def retrieved(self, query: int) -> list[int]:
        """The columns of one query without documents that score nothing: an inverted index does not return them."""
        found: list[int] = self.columns[query][self.scores[query] > 0].tolist()
        return found

    def leaders(self, query: int) -> set[int]:
        """The columns that share the best score of one query; none where nothing scores."""
        scores = self.scores[query]
        return set(self.columns[query][(scores == scores[0]) & (scores > 0)].tolist())


def ranking_metrics(best: Best, relevant: Mapping[int, Collection[int]]) -> dict[str, Floats]:
    """METRICS of each judged query, by name: [judged queries], in the order of `relevant`.

    `relevant` are columns of documents by row of the query. A document is relevant or not, as for the evaluators of
    sentence-transformers, with whose figures these agree.
    """
    discounts = 1 / np.log2(np.arange(TOP) + 2)
    found = np.zeros((len(METRICS), len(relevant)))
    for number, (query, documents) in enumerate(relevant.items()):
        hits = np.isin(best.columns[query], list(documents))
        ideal = discounts[: min(TOP, len(documents))].sum()
        first = 1 / (1 + int(hits.argmax())) if hits.any() else 0.0
        found[:, number] = (hits * discounts[: len(hits)]).sum() / ideal, first, hits.sum() / len(documents)
    return dict(zip(METRICS, found, strict=True))


def first_rank(best: Best, query: int, documents: Collection[int]) -> int | None:
    """The rank of the best relevant document, from 1; None where none is among the TOP."""
    hits = np.flatnonzero(np.isin(best.columns[query], list(documents)))
    return int(hits[0]) + 1 if len(hits) else None


def interval(values: Floats) -> Interval:
    """The mean over queries and its bootstrap interval (percentiles of resampled means, Efron 1979).

    The seed is fixed: the same values give the same interval. Differences of the same queries make it a paired one.
    """
    shares = np.full(len(values), 1 / len(values))
    draws = np.random.default_rng(SEED).multinomial(len(values), shares, size=RESAMPLES)
    low, high = np.quantile(draws @ values / len(values), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def kendall_tau(before: Floats, after: Floats) -> Floats:
    """Kendall's tau-b of the scores of the same documents, along the last axis.

    Pairs that tie in only one list lower it (Kendall 1945). It is 0 where one list has no order at all, 1 for fewer
    than two documents, and NaN where a score is NaN.
    """
    first, second = np.triu_indices(before.shape[-1], 1)
    if not len(first):
        return np.ones(before.shape[:-1])
    old, new = (np.sign(scores[..., first] - scores[..., second]) for scores in (before, after))
    weight = np.sqrt((old != 0).sum(-1) * (new != 0).sum(-1))
    taus: Floats = np.divide((old * new).sum(-1), weight, out=np.zeros_like(weight), where=weight > 0)
    return taus
