"""Ranking metrics are those of the library's evaluator and of scipy; intervals are those of resampled queries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from patcher.threshold.metrics import (
    METRICS,
    Best,
    first_rank,
    interval,
    kendall_tau,
    ranking_metrics,
)
from tests.threshold.made_up import best_of

IDS = ["c", "a", "b", "d"]


def best(*scores: float) -> Best:
    return best_of(np.array([scores]), IDS)


def tau(before: list[float], after: list[float]) -> float:
    return float(kendall_tau(np.array(before), np.array(after)))


def test_equal_scores_are_ranked_by_id_as_the_library_does() -> None:
    assert best(1.0, 1.0, 2.0, 1.0).columns.tolist() == [[2, 1, 0, 3]]


def test_a_document_that_scores_nothing_is_not_retrieved() -> None:
    found = best(0.0, 3.0, 0.0, 1.0)
    assert found.retrieved(0) == [1, 3]
    assert found.scores.tolist() == [[3.0, 1.0, 0.0, 0.0]]


def test_all_documents_with_the_best_score_lead_and_nobody_where_nothing_scores() -> None:
    assert best(2.0, 3.0, 3.0, 1.0).leaders(0) == {1, 2}
    assert best(0.0, 0.0, 0.0, 0.0).leaders(0) == set()


def test_the_first_rank_is_that_of_the_best_right_document() -> None:
    found = best(2.0, 3.0, 1.0, 0.5)
    assert [first_rank(found, 0, right) for right in ({1}, {2, 3}, {9}, ())] == [1, 3, None, None]


def test_metrics_are_those_of_the_library_s_evaluator_ties_and_several_right_documents_included() -> None:
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    random = np.random.default_rng(1)
    queries, documents = random.integers(0, 3, (12, 6)) * 1.0, random.integers(0, 3, (40, 6)) * 1.0
    names = [f"d{number:02}" for number in random.permutation(40)]
    right = {row: set(random.choice(40, size=random.integers(1, 14), replace=False).tolist()) for row in range(10)}

    class Given(SparseInformationRetrievalEvaluator):
        def embed_inputs(self, model: Any, sentences: Any, encode_fn_name: str | None = None, **_: Any) -> Any:
            found = torch.tensor(queries[: len(right)] if encode_fn_name == "query" else documents)
            self._record_sparsity_stats(model, found, "query" if encode_fn_name == "query" else "corpus")
            return found

    class Model:
        similarity_fn_name, similarity = "dot", staticmethod(lambda a, b: a @ b.T)
        model_card_data = type("Card", (), {"set_evaluation_metrics": lambda *_, **__: None})()

        @staticmethod
        def sparsity(found: torch.Tensor) -> dict[str, float]:
            return {"active_dims": 1.0, "sparsity_ratio": 0.0}

    evaluator = Given(
        queries={str(row): "?" for row in range(12)},
        corpus=dict.fromkeys(names, "."),
        relevant_docs={str(row): {names[column] for column in columns} for row, columns in right.items()},
        precision_recall_at_k=[10],
        write_csv=False,
    )
    theirs = evaluator(Model())
    ours = ranking_metrics(best_of(queries @ documents.T, names), right)
    for name in METRICS:
        assert ours[name].mean() == pytest.approx(theirs[f"dot_{name}"], abs=1e-6), name


def test_an_interval_is_of_the_mean_over_queries_and_the_same_each_time() -> None:
    values = np.random.default_rng(3).normal(0.5, 0.2, 400)
    found = interval(values)
    error = 1.96 * values.std() / math.sqrt(400)
    assert found == interval(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, rel=0.02)
    assert found.high == pytest.approx(values.mean() + error, rel=0.02)


def test_queries_that_all_rank_the_same_have_no_uncertain_loss() -> None:
    assert interval(np.zeros(50)).high == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=10))
def test_kendalls_tau_is_that_of_scipy_ties_included(pairs: list[tuple[int, int]]) -> None:
    before, after = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    theirs = float(kendalltau(before, after).statistic)
    assert tau(before, after) == pytest.approx(0.0 if math.isnan(theirs) else theirs)


def test_a_threshold_that_makes_all_documents_equal_keeps_no_order_and_one_tie_costs_something() -> None:
    assert tau([3.0, 2.0, 1.0], [0.5, 0.5, 0.5]) == 0.0
    assert 0 < tau([3.0, 2.0, 1.0], [3.0, 1.0, 1.0]) < 1


def test_a_score_that_is_not_a_number_is_no_order_and_a_single_document_has_none_to_lose() -> None:
    assert math.isnan(tau([2.0, 1.0], [math.nan, 1.0]))
    assert tau([1.0], [2.0]) == 1.0
