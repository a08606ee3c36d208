"""The logits of two devices are compared text by text, in any order."""

from __future__ import annotations

import math

import pytest
import torch

from patcher.verify.measure.agreement import Agreements


@pytest.mark.parametrize("off", [0.25, -0.25, math.nan])
def test_one_logit_that_two_devices_compute_otherwise_shows(tmp_path: object, off: float) -> None:
    place = f"{tmp_path}/digest"
    rows = list(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * 5)
    first = Agreements(place, None)
    for index in (2, 0, 1):  # texts come sorted by length, not by their number
        first.add(index, rows[index])
    second = Agreements(None, place)
    for index in (1, 2, 0):
        other = rows[index].clone()
        other[7] += off * (index == 1)
        second.add(index, other)
    assert second.texts == 3
    assert second.largest == pytest.approx(abs(off), abs=1e-5, nan_ok=True)
