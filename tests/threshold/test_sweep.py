"""Which points a sweep measures, which one it recommends, and which code the weights fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patcher.threshold.messages import Interval, Point, Row
from patcher.threshold.sweep import GRID, fit, is_common, is_no_worse, points, recommend, relative_losses
from tests.threshold.made_up import NO_LOSS, ROW, losing, row

BOTH = ("query", "document")


def test_the_points_begin_with_the_unpruned_one_and_hold_the_chosen_and_the_usual_one_once() -> None:
    chosen = Point(0.02, 0.3, document_top_k=64)
    assert points(None, sweep=False) == (Point(0, 0), Point(0.05, 0.05))
    assert [one.document for one in points(None, sweep=True, in_code=True)] == [0.0, *GRID]
    assert all(is_common(one) for one in points(None, sweep=True, in_code=True)), "the code knows no sides"
    assert points(Point(0.05, 0.05), sweep=False) == (Point(0, 0), Point(0.05, 0.05))
    assert points(chosen, sweep=False) == (Point(0, 0), Point(0.05, 0.05), chosen)


def test_a_sweep_varies_both_sides_each_side_and_each_top_k() -> None:
    found = points(None, sweep=True)
    assert [point.document for point in found if is_common(point)] == [0.0, *GRID]
    assert len(set(found)) == len(found)
    one_side = [point for point in found if point.query == 0.05 and not is_common(point)]
    assert len({point.document for point in one_side}) == 5
    assert {point.query_top_k for point in found} > {8, 64} and {point.document_top_k for point in found} > {32, 512}


def recommended(*rows: Row, kinds: tuple[str, ...] = BOTH) -> float | None:
    found = recommend([ROW, *rows], kinds, 0.01)
    return found.threshold if found else None


def test_the_cheapest_good_point_is_recommended_and_not_the_largest() -> None:
    assert recommended(row(0.05, flops=3.0), row(0.1, flops=1.0), row(0.2, flops=2.0)) == 0.1


def test_where_the_costs_are_equal_the_smaller_index_and_then_the_smaller_threshold_decide() -> None:
    assert recommended(row(0.05, index_bytes=9), row(0.1, index_bytes=8), row(0.2, index_bytes=8)) == 0.1


@pytest.mark.parametrize(
    "change",
    [losing(0.02), {"query_sparsity": 0.98999}, {"document_sparsity": 0.5}, {"losses": {}}],
    ids=["loss beyond the tolerance", "queries not sparse", "documents not sparse", "not judged"],
)
def test_a_point_that_misses_one_condition_is_not_recommended_however_cheap(change: dict[str, Any]) -> None:
    cheap = row(0.3, flops=0.1)
    assert recommended(row(0.05), cheap) == 0.3
    assert recommended(row(0.05), replace(cheap, **change)) == 0.05
    assert recommended(replace(cheap, **change)) is None


def test_queries_that_pass_no_capped_head_need_not_be_sparse() -> None:
    assert recommended(row(0.05, query_sparsity=0.5), kinds=("document",)) == 0.05


def test_any_of_the_three_metrics_can_rule_a_point_out() -> None:
    for name in NO_LOSS:
        assert recommended(row(0.05, losses={**NO_LOSS, name: Interval(0.5, 0.4, 0.6)})) is None


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        (losing(0.0), True),
        (losing(-0.05, -0.08, -0.02), True),
        (losing(0.009, 0.001, 0.02), True),  # real, and within the tolerance
        (losing(0.03, -0.01, 0.07), True),  # beyond it, and not told from chance
        (losing(0.03, 0.005, 0.06), False),
    ],
)
def test_a_model_that_ranks_no_worse_passes(change: dict[str, Any], passes: bool) -> None:
    loss = relative_losses(row(0.05, **change), ROW)["ndcg@10"]
    assert is_no_worse(loss, 0.01) is passes


def test_a_loss_of_a_model_that_ranked_nothing_right_is_no_number() -> None:
    nothing = replace(ROW, ndcg=0.0)
    assert not is_no_worse(relative_losses(row(0.05), nothing)["ndcg@10"], 0.01)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.3, "with_cap"), (-0.8, -0.6, "without_cap"), (-0.1, 0.1, "undecided")],
)
def test_the_weights_fit_the_code_with_which_they_rank_better_if_the_questions_tell(
    low: float, high: float, expected: str
) -> None:
    other = replace(ROW, losses={**NO_LOSS, "ndcg@10": Interval((low + high) / 2, low, high)})
    assert fit(other) == expected


def test_what_was_not_measured_or_not_judged_is_not_known() -> None:
    assert fit(None) is None
    assert fit(replace(ROW, losses={})) is None
