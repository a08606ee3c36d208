"""What all children that run a model share: a missing device, an attention or an error is part of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from patcher.verify.measure.models import UnsupportedAttention
from patcher.verify.measure.serving import measured
from patcher.verify.messages import Measured, Unavailable


def counting(found: Measured, device: str) -> Iterator[Measured]:
    assert not torch.is_grad_enabled() and device == "cpu"
    for tensors in (1, 2):
        yield replace(found, tensors=tensors)


def test_the_last_state_is_the_answer() -> None:
    found = measured("cpu", Measured, counting, {})
    assert (found.tensors, found.failure, found.unavailable) == (2, None, None)


def test_a_device_that_is_not_there_is_told_and_nothing_runs() -> None:
    def run(found: Measured, device: str) -> Iterator[Measured]:
        raise AssertionError("ran")
        yield found

    assert measured("tpu", Measured, run, {}).unavailable == Unavailable(devices=("cpu",)) or torch.cuda.is_available()


def test_an_attention_that_is_not_supported_is_no_failure_of_the_model() -> None:
    def run(found: Measured, device: str) -> Iterator[Measured]:
        yield found
        raise UnsupportedAttention("one attention only")

    found = measured("cpu", Measured, run, {})
    assert found.unavailable == Unavailable(attention="one attention only") and found.failure is None


def test_an_error_keeps_what_was_measured_and_names_no_folder_that_differs_next_time(tmp_path: Path) -> None:
    base, patched = tmp_path / "base-of-x-1f2e", tmp_path / "patched"

    def run(found: Measured, device: str) -> Iterator[Measured]:
        yield replace(found, tensors=7)
        raise ValueError(f"{base}/code.py and {patched}/code.py, {base.name.replace('-', '_hyphen_')}.code\nmore")

    found = measured("cpu", Measured, run, {str(base): "base", str(patched): "", str(tmp_path): ""})
    assert found.tensors == 7
    assert found.failure == "ValueError: code.py and code.py, base.code"
