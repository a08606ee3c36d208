"""The arithmetic of rankings: ties, documents that score nothing, and which threshold is recommended."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from patcher.threshold.messages import Ranking, Sparsity, ThresholdFigures
from patcher.threshold.sweep import GRID, MAX_LOSS, MIN_EXACT, MIN_TAU, Row, grid, kendall_tau, kept, recommend, rows

REFERENCE = Row(0.0, 0.0, 100, 0.0, 100, 10, 0, 1.0, 1.0, 1.0, 0.9, 0.8)
KEPT = replace(REFERENCE, threshold=0.05, query_sparsity=0.99, document_sparsity=0.99)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=10))
def test_kendalls_tau_is_that_of_scipy_ties_included(pairs: list[tuple[int, int]]) -> None:
    before, after = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    theirs = float(kendalltau(before, after).statistic)
    assert kendall_tau(before, after) == pytest.approx(0.0 if math.isnan(theirs) else theirs)


def test_a_threshold_that_makes_all_documents_equal_keeps_no_order() -> None:
    assert kendall_tau([3.0, 2.0, 1.0], [0.5, 0.5, 0.5]) == 0.0


def test_a_tie_made_by_the_threshold_costs_something() -> None:
    assert 0 < kendall_tau([3.0, 2.0, 1.0], [3.0, 1.0, 1.0]) < 1


def test_one_swap_of_neighbours_among_ten_is_within_the_limit_and_two_are_not() -> None:
    order = [10.0, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert kendall_tau(order, [9.0, 10, *order[2:]]) >= MIN_TAU
    assert kendall_tau(order, [9.0, 10, 7, 8, *order[4:]]) < MIN_TAU


def test_a_score_that_is_not_a_number_is_no_order() -> None:
    assert math.isnan(kendall_tau([2.0, 1.0], [math.nan, 1.0]))


def test_a_single_document_has_no_order_to_lose() -> None:
    assert kendall_tau([1.0], [2.0]) == 1.0


def test_the_grid_holds_the_reference_and_the_chosen_threshold_once_and_in_order() -> None:
    assert grid(0.05, sweep=False) == (0.0, 0.05)
    assert grid(0.05, sweep=True) == (0.0, *GRID)
    assert grid(0.06, sweep=True) == tuple(sorted((0.0, 0.06, *GRID)))


@pytest.mark.parametrize(
    ("change", "keeps"),
    [
        ({}, True),
        ({"lost": 1}, False),
        ({"tau": MIN_TAU - 1e-6}, False),
        ({"tau": math.nan}, False),
        ({"exact": MIN_EXACT - 1e-6}, False),
        ({"ndcg": 0.9 - MAX_LOSS / 2}, True),
        ({"ndcg": 0.9 - 2 * MAX_LOSS}, False),
        ({"mrr": 0.8 - 2 * MAX_LOSS}, False),
        ({"ndcg": 0.95, "mrr": 0.95}, True),
    ],
)
def test_each_condition_decides_whether_rankings_are_kept(change: dict[str, Any], keeps: bool) -> None:
    assert kept(replace(KEPT, **change), REFERENCE) is keeps


def test_rankings_without_judgements_are_kept_by_their_order_alone() -> None:
    unjudged = {"right_first": None, "lost": None, "ndcg": None, "mrr": None}
    assert kept(replace(KEPT, **unjudged), replace(REFERENCE, **unjudged))


def test_the_recommendation_stops_at_the_first_threshold_that_changes_the_rankings() -> None:
    bad, late = replace(KEPT, threshold=0.2, lost=1), replace(KEPT, threshold=0.3)
    assert recommend([REFERENCE, KEPT, replace(KEPT, threshold=0.1), bad, late]) == 0.1


def test_nothing_is_recommended_where_the_smallest_threshold_changes_the_rankings() -> None:
    assert recommend([REFERENCE, replace(KEPT, tau=0.5)]) is None


def measured(threshold: float, *rankings: tuple[list[str], list[str], list[float]]) -> ThresholdFigures:
    figures = Sparsity(80.0, 0.99)
    found = tuple(Ranking(*(tuple(part) for part in one)) for one in rankings)
    return ThresholdFigures(threshold, figures, figures, found, ndcg=1.0, mrr=1.0)


def test_a_tie_for_the_first_place_loses_the_right_document() -> None:
    found = rows(
        [measured(0.0, (["a", "b"], ["a"], [2.0, 1.0])), measured(0.5, (["a", "b"], ["a", "b"], [1.0, 1.0]))],
        ["q"],
        {"q": ("a",)},
    )
    assert (found[0].right_first, found[0].lost) == (1, 0)
    assert (found[1].right_first, found[1].lost) == (0, 1)
    assert found[1].exact == 1.0  # the same list, by id
    assert found[1].tau == 0.0  # and yet no order


def test_a_query_that_was_wrong_before_is_not_lost() -> None:
    found = rows([measured(0.0, (["b"], ["b"], [2.0])), measured(0.5, (["b"], ["b"], [1.0]))], ["q"], {"q": ("a",)})
    assert (found[1].right_first, found[1].lost) == (0, 0)


def test_queries_without_a_judgement_are_ranked_and_not_counted() -> None:
    ranking = (["a"], ["a"], [2.0])
    found = rows([measured(0.0, ranking, ranking)], ["q", "other"], {"q": ("a",)})
    assert found[0].right_first == 1
    assert found[0].exact == 1.0


def test_a_list_that_lost_its_last_document_is_not_the_same() -> None:
    found = rows([measured(0.0, (["a", "b"], ["a"], [2.0, 0.1])), measured(0.5, (["a"], ["a"], [2.0, 0.0]))], ["q"], {})
    assert found[1].exact == 0.0
    assert found[1].right_first is None
