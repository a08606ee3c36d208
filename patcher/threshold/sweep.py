"""The arithmetic of rankings under a threshold: what is preserved, and which threshold to recommend. Without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile

from patcher.codec import json_field
from patcher.threshold.messages import Ranking, ThresholdFigures

TOP = 10
# Rankings count as preserved from here on: half of the top 10 lists are identical, and on average at most one pair of
# neighbours is swapped (tau 0.956 over ten documents).
MIN_EXACT = 0.5
MIN_TAU = 0.95
# nDCG@10 and MRR@10 may fall by the rounding with which they are usually reported.
MAX_LOSS = 0.001
# Up to 3: under a cap of 30 no activation exceeds log(31) = 3.43.
GRID = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 2.5, 3.0)


@dataclass(frozen=True)
class Row:
    """One threshold: embedding sparsity (means over texts) and its effect on the rankings.

    `right_first` counts judged queries for which only relevant documents share the best score, `lost` those that were
    right without a threshold and are not now; None without judgements. `exact` is the share of queries whose top 10 is
    the same list, `tau` Kendall's tau-b between the scores of the old top 10 before and after (mean and least).
    `ndcg` and `mrr` are nDCG@10 and MRR@10 of the library's own evaluator.
    """

    json_properties = ("kendall_tau",)

    threshold: float
    query_sparsity: float = json_field(key="query_embedding_sparsity")
    query_active_dims: float = json_field()
    document_sparsity: float = json_field(key="document_embedding_sparsity")
    document_active_dims: float = json_field()
    right_first: int | None = json_field()
    lost: int | None = json_field()
    exact: float = json_field(key="exact_top_10")
    tau: float = json_field(omit=True)
    tau_min: float = json_field(omit=True)
    ndcg: float | None = json_field(key="ndcg@10")
    mrr: float | None = json_field(key="mrr@10")

    @property
    def kendall_tau(self) -> dict[str, float]:
        """Mean and minimum of tau, as in JSON."""
        return {"mean": self.tau, "min": self.tau_min}


def grid(threshold: float, *, sweep: bool) -> tuple[float, ...]:
    """The thresholds to measure, ascending: 0 as the reference, the chosen one, and with `sweep` those of GRID."""
    return tuple(sorted({0.0, threshold, *(GRID if sweep else ())}))


def rows(
    measured: Sequence[ThresholdFigures], queries: Sequence[str], relevant: Mapping[str, Sequence[str]]
) -> tuple[Row, ...]:
    """The rows of what the child measured; the first one is threshold 0, the reference."""

    def right(rankings: Sequence[Ranking]) -> list[bool]:
        return [
            query in relevant and bool(one.leaders) and set(one.leaders) <= set(relevant[query])
            for query, one in zip(queries, rankings, strict=True)
        ]

    found = []
    for figures in measured:
        pairs = list(zip(measured[0].rankings, figures.rankings, strict=True))
        taus = [kendall_tau(old.scores, new.scores) for old, new in pairs]
        was_right, now_right = right(measured[0].rankings), right(figures.rankings)
        row = Row(
            threshold=figures.threshold,
            query_sparsity=figures.query.sparsity_ratio,
            query_active_dims=figures.query.active_dims,
            document_sparsity=figures.document.sparsity_ratio,
            document_active_dims=figures.document.active_dims,
            right_first=sum(now_right) if relevant else None,
            lost=sum(was > now for was, now in zip(was_right, now_right, strict=True)) if relevant else None,
            exact=sum(old.top == new.top for old, new in pairs) / len(queries),
            tau=sum(taus) / len(taus),
            tau_min=math.nan if any(math.isnan(tau) for tau in taus) else min(taus),
            ndcg=figures.ndcg,
            mrr=figures.mrr,
        )
        found.append(row)
    return tuple(found)


def kept(row: Row, reference: Row) -> bool:
    """Whether a threshold keeps the rankings.

    No right document lost its first place, mean tau and the share of equal top tens reach MIN_TAU and MIN_EXACT, and
    neither nDCG@10 nor MRR@10 fell by more than MAX_LOSS.
    """
    metrics = ((reference.ndcg, row.ndcg), (reference.mrr, row.mrr))
    falls = (before - after for before, after in metrics if before is not None and after is not None)
    return not row.lost and preserved(row) and all(fall <= MAX_LOSS for fall in falls)


def preserved(row: Row) -> bool:
    """Whether the top ten kept their documents and their order."""
    return row.tau >= MIN_TAU and row.exact >= MIN_EXACT


def recommend(found: Sequence[Row]) -> float | None:
    """The largest threshold that keeps the rankings and below which every measured threshold keeps them too.

    None where even the smallest one changes them.
    """
    good = list(takewhile(lambda row: kept(row, found[0]), found[1:]))
    return good[-1].threshold if good else None


def kendall_tau(before: Sequence[float], after: Sequence[float]) -> float:
    """Kendall's tau-b of two lists of scores of the same documents.

    Pairs that tie in only one list lower it (Kendall 1945). It is 0 where one list has no order at all, 1 for fewer
    than two documents, and NaN where a score is NaN.
    """
    if any(math.isnan(score) for score in (*before, *after)):
        return math.nan
    if len(before) < 2:
        return 1.0
    pairs = combinations(zip(before, after, strict=True), 2)
    signs = [[(a > b) - (a < b) for a, b in zip(one, other, strict=True)] for one, other in pairs]
    weight = math.sqrt(sum(old != 0 for old, _ in signs) * sum(new != 0 for _, new in signs))
    return sum(old * new for old, new in signs) / weight if weight else 0.0
