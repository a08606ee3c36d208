"""Tolerances follow from the dtypes, and the device that differs most is judged."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from patcher.verify.tolerances import EPS, cap_tolerance, device_tolerance, spacing
from tests.verify.made_up import ROUNDED, apart, judged
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
