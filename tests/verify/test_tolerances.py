"""Tolerances follow from the dtypes, and the device that differs most is judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from patcher.verify.report import Disagreement
from patcher.verify.tolerances import (
    EPS,
    cap_tolerance,
    device_tolerance,
    judge_agreement,
    judge_mode,
    spacing,
    worst_disagreement,
)
from tests.verify.made_up import GOOD, MODEL, RIGHT, ROUNDED, apart, judged
from tests.verify.running import failed


def test_spacings_are_those_of_the_dtypes() -> None:
    for name, eps in EPS.items():
        assert eps == torch.finfo(getattr(torch, name)).eps
    for value in (30.0, 15.0, 7.5, 32.0):
        below = torch.nextafter(torch.tensor(value), torch.tensor(0.0))
        assert spacing(value, "float32") == value - float(below)
    assert cap_tolerance(30, "float32") == pytest.approx(1e-5, rel=0.05)
    assert device_tolerance(100, "bfloat16", 400) == 100 * 20 / 256


@pytest.mark.parametrize(
    "other",
    [apart(2.01), apart(math.nan), apart(math.inf), apart(0.0, texts=0), apart(0.0, failure="no"), ROUNDED],
    ids=["beyond", "not a number", "infinite", "no texts", "did not run", "not compared"],
)
def test_a_device_that_differs_or_was_not_compared_does_not_agree(other: Any) -> None:
    assert failed(judged(ROUNDED, other)) == {"devices_agree"}


def test_of_several_devices_the_one_that_lies_farthest_away_is_judged() -> None:
    for others in ((apart(0.5), apart(2.5)), (apart(2.5), apart(0.5))):
        report = judged(ROUNDED, *others)
        assert failed(report) == {"devices_agree"}
        assert report.disagreement is not None and report.disagreement.largest == 2.5


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_positive_number_has_no_spacing(value: float) -> None:
    assert math.isnan(spacing(value, "float32"))


def test_a_shift_costs_two_more_spacings() -> None:
    assert cap_tolerance(30, "float32", 1.5) * 5 == cap_tolerance(30, "float32") * 7


def test_a_cap_that_stays_is_computed_alike_and_costs_one_spacing() -> None:
    assert cap_tolerance(30, "bfloat16", 0.05, kept=True) == spacing(30, "bfloat16")


def test_one_device_disagrees_with_nothing() -> None:
    assert worst_disagreement([GOOD], ["cpu"]) is None


def test_the_coarser_dtype_of_two_devices_counts() -> None:
    found = worst_disagreement([replace(ROUNDED, coarsest_dtype="float32"), ROUNDED], ["cpu", "cuda"])
    assert found is not None and (found.dtype, found.between) == ("bfloat16", ("cpu", "cuda"))


def test_logits_that_were_not_compared_have_no_value_and_do_not_pass() -> None:
    check = judge_agreement(Disagreement(None, 1.0, ("cpu", "cuda"), 0, "float32", 9, 8.0))
    assert not check.passed and check.value is None and "could not be compared" in check.detail


LIMIT_OF_DRIFT = device_tolerance(64.0, "bfloat16", 64)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"error": cap_tolerance(30, "float32")}, True),
        ({"error": 2 * cap_tolerance(30, "float32")}, False),
        ({"error": 2 * cap_tolerance(30, "float32"), "dtype": "bfloat16"}, True),
        ({"error": math.nan}, False),
        ({"drift": LIMIT_OF_DRIFT}, True),
        ({"drift": 1.01 * LIMIT_OF_DRIFT}, False),
        ({"drift": math.nan}, False),
        ({"wrong": "no logit is negative"}, False),
        ({"not_run": "the base model can't run it"}, None),
    ],
)
def test_a_mode_is_right_if_rounding_explains_what_differs(change: dict[str, Any], passed: bool | None) -> None:
    found = judge_mode(replace(RIGHT, **change), ROUNDED, MODEL.soft_cap)
    assert found.passed is passed
    assert bool(found.detail) is not bool(passed), "it says what is wrong, or why it was not run"
    assert found.error is None or math.isfinite(found.error)
