"""The logits of two devices are compared text by text, in any order."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from patcher.verify.measure.agreement import Agreements
from patcher.verify.measure.terms import PROBE_TEXTS
from patcher.verify.messages import Agreement


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


def test_the_process_that_writes_has_no_result_and_texts_beyond_the_first_ones_are_left_out(tmp_path: Path) -> None:
    place, row = str(tmp_path / "digest"), torch.ones(4)
    first, second = Agreements(place, None), Agreements(None, place)
    for one, other in ((first, row), (second, row + 0.5)):
        one.add(0, other)
        one.add(PROBE_TEXTS, other)
    assert first.result() is None
    assert second.result() == Agreement(0.5, 1)
    assert (tmp_path / "digest").stat().st_size == 16
