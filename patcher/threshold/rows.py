"""Sums up one point of a sweep: from the scores of its pruned vectors to its row. Without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from patcher.threshold.messages import Point, Row, Sparsity, Tau
from patcher.threshold.metrics import METRICS, Best, Floats, first_rank, interval, kendall_tau, ranking_metrics
from patcher.verify.costs import Counts, flops, index_bytes, postings_per_query


@dataclass(frozen=True)
class Measurement:
    """The best documents of each query, and the scores [queries, up to TOP] of those that are the best unpruned."""

    best: Best
    followed: Floats


@dataclass(frozen=True)
class Questions:
    """What is asked and judged: ids of queries and documents, and the right columns by row of the judged queries."""

    queries: Sequence[str]
    documents: Sequence[str]
    relevant: Mapping[int, Collection[int]]
    expected: Sequence[str]

    @classmethod
    def of(
        cls,
        queries: Sequence[str],
        documents: Sequence[str],
        relevant: Mapping[str, Collection[str]],
        expected: Sequence[str] = (),
    ) -> Questions:
        """The same by rows and columns."""
        rows, columns = ({key: number for number, key in enumerate(keys)} for keys in (queries, documents))
        right = {rows[query]: {columns[one] for one in found} for query, found in relevant.items()}
        return cls(queries, documents, right, expected)

    def row(
        self,
        point: Point,
        sparsity: Mapping[str, Sparsity],
        counts: Mapping[str, Counts],
        now: Measurement,
        unpruned: Measurement,
    ) -> Row:
        """The row of a point, compared with the unpruned vectors."""
        old, new = (ranking_metrics(one.best, self.relevant) for one in (unpruned, now))
        judged = {name: float(new[name].mean()) if self.relevant else None for name in METRICS}
        was_right, is_right = self._right_first(unpruned.best), self._right_first(now.best)
        ndcg, mrr, recall = judged.values()
        return Row(
            point=point,
            query_sparsity=sparsity["query"].sparsity_ratio,
            query_active_dims=sparsity["query"].active_dims,
            document_sparsity=sparsity["document"].sparsity_ratio,
            document_active_dims=sparsity["document"].active_dims,
            flops=flops(counts["query"], counts["document"]),
            postings_per_query=postings_per_query(counts["query"], counts["document"]),
            index_bytes=index_bytes(counts["document"]),
            right_first=len(is_right) if self.relevant else None,
            lost=len(was_right - is_right) if self.relevant else None,
            exact=self._exact(unpruned.best, now.best),
            tau=_tau(unpruned, now),
            ndcg=ndcg,
            ndcg_interval=interval(new[METRICS[0]]) if self.relevant else None,
            mrr=mrr,
            recall=recall,
            losses={name: interval(old[name] - new[name]) for name in METRICS} if self.relevant else {},
            ranks=self._ranks(now.best),
        )

    def _right_first(self, best: Best) -> set[int]:
        """The judged queries for which only relevant documents share the best score."""
        leaders = {query: best.leaders(query) for query in self.relevant}
        return {query for query, found in leaders.items() if found and found <= set(self.relevant[query])}

    def _exact(self, before: Best, after: Best) -> float:
        rows = range(len(self.queries))
        return sum(before.retrieved(row) == after.retrieved(row) for row in rows) / len(self.queries)

    def _ranks(self, best: Best) -> dict[str, int | None]:
        rows = {query: self.queries.index(query) for query in self.expected}
        return {query: first_rank(best, row, self.relevant.get(row, ())) for query, row in rows.items()}


def _tau(before: Measurement, after: Measurement) -> Tau:
    """Kendall's tau-b between the scores of the unpruned top ten, before and after."""
    taus = kendall_tau(before.best.scores, after.followed)
    return Tau(float(taus.mean()), float(taus.min()))
