"""The row of a point: what was lost against the unpruned vectors, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from patcher.threshold.messages import Point, Row, Sparsity
from patcher.threshold.rows import Measurement, Questions
from patcher.verify.costs import Counts
from tests.threshold.made_up import best_of

SPARSE = {"query": Sparsity(2.0, 0.5), "document": Sparsity(3.0, 0.25)}
COUNTS = {"query": Counts(np.array([1, 0]), 1, 0, 1), "document": Counts(np.array([2, 1]), 2, 0, 2)}


def row(
    before: list[list[float]], after: list[list[float]], relevant: Mapping[str, tuple[str, ...]], *queries: str
) -> Row:
    """The row of queries (one, "q", by default) over the documents a, b, ..."""
    documents = [chr(ord("a") + column) for column in range(len(before[0]))]
    questions = Questions.of(queries or ("q",), documents, relevant, tuple(relevant))

    unpruned, now = (best_of(np.array(scores), documents) for scores in (before, after))
    followed = np.take_along_axis(np.array(after), unpruned.columns, axis=1)
    return questions.row(
        Point(0.1, 0.2), SPARSE, COUNTS, Measurement(now, followed), Measurement(unpruned, unpruned.scores)
    )


def test_a_tie_for_the_first_place_loses_the_right_document() -> None:
    found = row([[2.0, 1.0]], [[1.0, 1.0]], {"q": ("a",)})
    assert (found.right_first, found.lost) == (0, 1)
    assert found.exact == 1.0  # the same list, by id
    assert found.tau.mean == 0.0  # and yet no order


def test_a_query_that_was_wrong_before_is_not_lost() -> None:
    found = row([[1.0, 2.0]], [[0.5, 1.0]], {"q": ("a",)})
    assert (found.right_first, found.lost) == (0, 0)


def test_losses_are_paired_differences_of_each_metric_and_ranks_those_of_the_right_document() -> None:
    found = row([[2.0, 1.0], [2.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], {"q": ("a",), "r": ("a",)}, "q", "r")
    lost = 1 - 1 / np.log2(3)
    assert found.losses["ndcg@10"].mean == pytest.approx(lost / 2)
    assert (found.losses["ndcg@10"].low, found.losses["ndcg@10"].high) == (0, pytest.approx(lost))
    assert found.losses["mrr@10"].mean == 0.25 and found.losses["recall@10"].mean == 0
    assert (found.mrr, found.recall, found.ranks) == (0.75, 1.0, {"q": 2, "r": 1})
    assert found.ndcg_interval is not None and found.ndcg == found.ndcg_interval.mean == pytest.approx(1 - lost / 2)


def test_queries_without_a_judgement_are_ranked_and_not_counted() -> None:
    found = row([[2.0, 1.0]] * 2, [[2.0, 1.0], [1.0, 2.0]], {"q": ("a",)}, "q", "other")
    assert (found.right_first, found.ndcg, found.exact) == (1, 1.0, 0.5)


def test_without_any_judgement_no_metric_is_made_up() -> None:
    found = row([[2.0, 0.1]], [[2.0, 0.0]], {})
    assert (found.ndcg, found.mrr, found.recall, found.right_first, found.losses) == (None, None, None, None, {})
    assert found.exact == 0.0, "a list that lost its last document is not the same"


def test_costs_and_sparsity_are_those_of_the_pruned_vectors() -> None:
    found = row([[1.0]], [[1.0]], {})
    assert (found.flops, found.postings_per_query, found.index_bytes) == (1.0, 2.0, 3 * 8 + 2 * 8)
    assert (found.query_sparsity, found.document_active_dims, found.threshold) == (0.5, 3.0, 0.2)
