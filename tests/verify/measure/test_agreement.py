"""The logits of two devices, and the outputs of two versions of transformers, are compared text by text."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from patcher.verify.measure.agreement import Agreements, Original
from patcher.verify.measure.batches import Encoded
from patcher.verify.measure.terms import PROBE_TEXTS
from patcher.verify.messages import Agreement, CapFunction


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


CAP = CapFunction("sigmoid", 30.0, 7.5)
RAW = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * 5
TEXT = Encoded(0, array("i", [2, 7, 9]))


def published(folder: Path, output: torch.Tensor, ids: tuple[int, ...] = (2, 7, 9)) -> Original:
    """What the published code gave for the first text."""
    save_file({"ids": torch.tensor(ids), "output": output}, folder / "0.safetensors")
    return Original(str(folder))


def test_outputs_are_compared_with_those_of_the_published_code(tmp_path: Path) -> None:
    compared = published(tmp_path, RAW)
    compared.add(TEXT, RAW + 0.25)
    compared.add(Encoded(1, array("i", [5])), RAW)  # a text that it did not run
    result = compared.result()
    assert result is not None and result.texts == 1
    assert (result.largest, result.scale) == pytest.approx((0.25, float(RAW.abs().max())))
    assert Original(str(tmp_path / "none")).result() is None


@pytest.mark.parametrize(("output", "ids"), [(RAW, (2, 7, 8)), (RAW[:2], (2, 7, 9))])
def test_other_tokens_and_another_shape_are_no_agreement(
    tmp_path: Path, output: torch.Tensor, ids: tuple[int, ...]
) -> None:
    compared = published(tmp_path, output, ids)
    compared.add(TEXT, RAW)
    result = compared.result()
    assert result is not None and (result.largest, result.texts) == (math.inf, 1)


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_removed_cap_is_put_back_on_every_row_that_a_head_computed(tmp_path: Path, synthetic: bool) -> None:
    base = 30 * torch.sigmoid(RAW / 7.5)
    base[0] = RAW[0] if synthetic else base[0]
    compared = published(tmp_path, base)
    compared.add(TEXT, RAW, base, CAP)
    result = compared.result()
    assert result is not None and result.largest <= 1e-5
    wrong = published(tmp_path, base)
    wrong.add(TEXT, RAW + 0.1, base, CAP)
    found = wrong.result()
    assert found is not None and found.largest > 0.01


@pytest.mark.parametrize("cap", [CAP, None])
def test_a_dropped_first_row_is_compared_as_it_was_published(tmp_path: Path, cap: CapFunction | None) -> None:
    base = RAW.clone() if cap is None else 30 * torch.sigmoid(RAW / 7.5)
    base[0] = torch.nn.functional.one_hot(torch.tensor(1), RAW.shape[-1])
    for value, largest in ((0.0, 1e-5), (math.nan, math.inf)):
        dropped = RAW.clone()
        dropped[0] = value
        compared = published(tmp_path, base)
        compared.add(TEXT, dropped, base, cap)
        result = compared.result()
        assert result is not None and (result.largest <= largest) is (value == 0)
