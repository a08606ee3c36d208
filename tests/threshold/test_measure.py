"""What the parent asks of the child that measures a trained model, and what it makes of the answer."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.codec import to_json
from patcher.errors import UsageError
from patcher.source.snapshot import resolve
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.measure import Request, measure
from patcher.threshold.messages import Point
from patcher.threshold.repaired import RepairedModel, repair
from tests.sandbox.stand_in import answer_with
from tests.threshold.made_up import ROW, row
from tests.threshold.test_checks import MEASURED

TEXTS = Evaluation({"q": "Hva?"}, {"d": "Ja."}, {"q": ("d",)}, bundled=False)


@pytest.fixture
def model(capped_once: Path, monkeypatch: pytest.MonkeyPatch) -> RepairedModel:
    """A model whose child answers with two rows at once."""
    answer_with(monkeypatch, to_json(replace(MEASURED, rows=(ROW, row(0.05, flops=2.0), row(0.1)))))
    return repair(resolve(str(capped_once)))


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_a_threshold_has_to_be_a_number_above_0(threshold: float) -> None:
    with pytest.raises(UsageError, match="is not a threshold"):
        Request(Point(threshold, 0.05))
    with pytest.raises(UsageError, match="is not a threshold"):
        Request(Point(0.05, threshold))


@pytest.mark.parametrize("top", [0, -1])
def test_a_top_k_keeps_at_least_one_activation(top: int) -> None:
    with pytest.raises(UsageError, match="is not a number of activations"):
        Request(Point(0.05, 0.05, document_top_k=top))


def test_code_knows_no_sides() -> None:
    for point in (Point(0.05, 0.1), Point(0.05, 0.05, 8, 8)):
        with pytest.raises(UsageError, match="does not know which text is a query"):
            Request(point, in_code=True)


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, math.nan])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    with pytest.raises(UsageError, match="is not a share"):
        Request(tolerance=tolerance)


def test_a_sweep_checks_the_point_that_it_recommends_unless_another_was_asked_for(model: RepairedModel) -> None:
    plain = measure(model, TEXTS, Request(device="cpu"))
    assert (plain.best, plain.point) == (None, Point(0.05, 0.05))
    swept = measure(model, TEXTS, Request(device="cpu", sweep=True))
    assert swept.swept and swept.recommended == swept.threshold == 0.1
    assert "threshold 0.1;" in {check.name: check.detail for check in swept.checks}["query_sparsity"]
    asked = measure(model, TEXTS, Request(Point(0.05, 0.05), device="cpu", sweep=True))
    assert (asked.recommended, asked.threshold) == (0.1, 0.05)


def test_the_versions_of_the_child_stand_in_the_environment(model: RepairedModel) -> None:
    report = measure(model, TEXTS, Request(device="cpu"))
    assert report.environment["sentence_transformers"] == "6" and report.environment["device"] == "cpu"


def test_a_model_without_a_cap_is_measured_without_a_threshold(model: RepairedModel) -> None:
    report = measure(replace(model, capped=False), TEXTS, Request(device="cpu", sweep=True))
    assert (report.threshold, report.swept, report.recommended) == (0.0, False, None)
    assert [check.name for check in report.checks] == ["loads_right", "embeddings_finite"]
