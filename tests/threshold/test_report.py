"""What a threshold report says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patcher.codec import document
from patcher.threshold.messages import Point
from patcher.verify.report import Check
from tests.threshold.made_up import PASSED, REPORT, ROWS

BAD = Check("query_sparsity", False, 0.5, 0.99, "low")


@pytest.mark.parametrize(
    ("checks", "passed"), [((), False), (PASSED.checks, True), ((BAD,), False), ((*PASSED.checks, BAD), False)]
)
def test_a_report_passes_where_there_are_checks_and_none_failed(checks: tuple[Check, ...], passed: bool) -> None:
    report = replace(REPORT, checks=checks)
    assert report.passed is passed
    assert document(report)["passed"] is passed


def test_the_row_is_that_of_the_chosen_threshold() -> None:
    assert REPORT.row == ROWS[1]
    assert replace(REPORT, point=Point(0.06, 0.06)).row is None


def test_its_document_names_the_raw_metric_and_leaves_out_whether_it_swept() -> None:
    data = document(REPORT)
    assert "raw_metric" in data and "raw" not in data and "swept" not in data


def test_its_document_keeps_the_keys_of_one_threshold_beside_the_points() -> None:
    data = document(replace(REPORT, best=Point(0.02, 0.3, 16)))
    assert (data["threshold"], data["recommended"]) == (0.05, 0.3)
    assert data["recommended_point"] == {
        "query_threshold": 0.02,
        "document_threshold": 0.3,
        "query_top_k": 16,
        "document_top_k": None,
    }
    assert [row["threshold"] for row in data["rows"]] == [0.0, 0.05, 1.0]
    assert data["rows"][2]["kendall_tau"] == {"mean": -0.3, "min": -0.5}
