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
from patcher.threshold.messages import Ranking, Sparsity, ThresholdFigures
from patcher.threshold.repaired import RepairedModel, repair
from tests.sandbox.stand_in import answer_with
from tests.threshold.test_checks import MEASURED

TEXTS = Evaluation({"q": "Hva?"}, {"d": "Ja."}, {"q": ("d",)}, bundled=False)
SPARSE = Sparsity(10.0, 0.999)


def figures(threshold: float) -> ThresholdFigures:
    return ThresholdFigures(threshold, SPARSE, SPARSE, (Ranking(("d",), ("d",), (1.0,)),), ndcg=1.0, mrr=1.0)


@pytest.fixture
def model(capped_once: Path, monkeypatch: pytest.MonkeyPatch) -> RepairedModel:
    """A model whose child answers with two rows at once."""
    answer_with(monkeypatch, to_json(replace(MEASURED, rows=(figures(0.0), figures(0.05)))))
    return repair(resolve(str(capped_once)))


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_a_threshold_has_to_be_a_number_above_0(threshold: float) -> None:
    with pytest.raises(UsageError, match="is not a threshold"):
        Request(threshold=threshold)


def test_only_a_sweep_recommends(model: RepairedModel) -> None:
    assert measure(model, TEXTS, Request(device="cpu")).recommended is None
    swept = measure(model, TEXTS, Request(device="cpu", sweep=True))
    assert swept.swept and swept.recommended == 0.05


def test_the_versions_of_the_child_stand_in_the_environment(model: RepairedModel) -> None:
    report = measure(model, TEXTS, Request(device="cpu"))
    assert report.environment["sentence_transformers"] == "6" and report.environment["device"] == "cpu"


def test_a_model_without_a_cap_is_measured_without_a_threshold(model: RepairedModel) -> None:
    report = measure(replace(model, capped=False), TEXTS, Request(device="cpu", sweep=True))
    assert (report.threshold, report.swept, report.recommended) == (0.0, False, None)
    assert [check.name for check in report.checks] == ["loads_right", "embeddings_finite"]
