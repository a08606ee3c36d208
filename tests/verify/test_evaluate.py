"""What the children measured becomes one report: hashes, tolerances and how far devices lie apart are looked at."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from patcher.verify.messages import Agreement
from tests.verify.made_up import CONVERTED, GOOD, MODEL, judged
from tests.verify.running import failed

ROUNDED = replace(GOOD, coarsest_dtype="bfloat16", roundings=64)
LIMIT = 2.0  # eps / 2 of bfloat16 * sqrt(64) * 64, the largest logit


def apart(largest: float, texts: int = 12, **change: Any) -> Any:
    return replace(ROUNDED, agreement=Agreement(largest, texts), **change)


def test_a_right_model_passes_on_one_device_and_on_several() -> None:
    assert judged(GOOD).passed and judged(GOOD, model=CONVERTED).passed
    assert judged(ROUNDED, apart(0.0), apart(LIMIT)).passed, "what rounding explains, to the last bit"


def test_a_weight_file_with_another_hash_fails_although_the_tensors_look_right() -> None:
    assert failed(judged(GOOD, files={"model.safetensors": "b"})) == {"weights_unchanged"}
    wrong = judged(GOOD, model=CONVERTED, files={"model.safetensors": "b"})
    assert failed(wrong) == {"weights_unchanged", "weights_converted"}


def test_a_converted_file_that_is_gone_fails() -> None:
    assert "weights_converted" in failed(judged(GOOD, model=CONVERTED, files={}))


def test_the_tolerance_follows_the_dtype_of_the_head() -> None:
    off = replace(GOOD, cap_error=1e-3)
    assert failed(judged(off)) == {"cap_removed_exactly"}
    assert judged(replace(off, head_dtype="bfloat16")).passed


def test_a_shift_on_record_has_to_keep_the_rankings() -> None:
    assert MODEL.soft_cap is not None
    shifted = replace(MODEL, soft_cap=replace(MODEL.soft_cap, shift=1.5))
    assert judged(GOOD, model=shifted).passed
    assert failed(judged(replace(GOOD, rankings_changed=1), model=shifted)) == {"rankings_kept"}


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
