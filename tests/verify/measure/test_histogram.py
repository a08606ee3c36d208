"""The counts are exact, on the edges of the grid and beyond it, and the curve says what a shift would do."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from patcher.codec import to_json
from patcher.verify.measure.histogram import FINE, Histogram, curve, shift_beyond


def counted(values: torch.Tensor) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def test_bins_hold_their_lower_edge_and_not_their_upper_one() -> None:
    found = counted(torch.tensor([-0.25, -0.2, 0.0, 0.24, 0.25, 0.25, 1.0])).bins()
    assert to_json(found) == {"first": -0.25, "width": 0.25, "counts": [2, 2, 2, 0, 0, 1]}


def test_values_beyond_the_grid_are_counted_in_the_outermost_bins() -> None:
    found = counted(torch.tensor([-1e9, -256.0, 255.9, 256.0, 3e38])).bins()
    assert found.first == -256 and found.counts[0] == 2 and found.counts[-1] == 3
    assert len(found.counts) == 2048


def test_the_smallest_numbers_fall_on_their_side_of_zero() -> None:
    tiny = torch.tensor([-1e-45, -0.0, 0.0, 1e-45])
    histogram = counted(tiny)
    assert (histogram.negative, histogram.up_to(0), histogram.count) == (1, 3, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_counts_are_those_of_the_values_themselves(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = (torch.randn(20000) * 12 - 5).to(dtype).float()
    histogram = counted(values)
    found = histogram.bins()
    edges = found.first + torch.arange(len(found.counts) + 1) * found.width
    counts = [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
    assert list(found.counts) == counts
    assert histogram.negative == int((values < 0).sum())
    assert histogram.up_to(0) == int((values <= 0).sum())


def test_the_curve_is_what_the_shift_makes_of_the_logits() -> None:
    torch.manual_seed(0)
    logits = (torch.randn(50, 200) * 4 - 6).bfloat16().float()
    pooled = logits.view(10, 5, 200).amax(1)
    found = curve(counted(logits), counted(pooled))
    assert found[0].shift == 0 and 2 < len(found) <= 40
    for point in found:
        shift = point.shift
        assert shift * 64 == int(shift * 64)
        assert point.logit_sparsity == int((torch.relu(logits - shift) == 0).sum()) / logits.numel()
        assert point.embedding_sparsity == int((torch.relu(pooled - shift) == 0).sum()) / pooled.numel()
    assert found[-1].logit_sparsity >= 0.9999 > found[-2].logit_sparsity


def test_logits_that_are_sparse_already_need_no_curve() -> None:
    assert [point.shift for point in curve(counted(-torch.ones(9)), counted(-torch.ones(3)))] == [0]


@pytest.fixture(scope="module")
def values() -> torch.Tensor:
    return torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("target", [0.3, 0.6, 0.9, 0.999])
def test_no_smaller_shift_on_the_grid_reaches_the_target(values: torch.Tensor, target: float) -> None:
    counted = Histogram()
    counted.add(values)
    shift = shift_beyond(counted, target)
    assert shift is not None

    def sparsity(constant: float) -> float:
        return float((torch.relu(values - constant) == 0).double().mean())

    assert sparsity(shift) > target
    assert shift == 0 or sparsity(shift - 1 / FINE) <= target


def test_no_shift_helps_where_a_logit_lies_beyond_the_grid() -> None:
    counted = Histogram()
    counted.add(torch.tensor([1000.0, 2.0]))
    assert shift_beyond(counted, 0.6) is None and shift_beyond(counted, 0.4) == 2.0
