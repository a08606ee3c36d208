"""The figures against the same figures written out by hand, and against a single pass over everything."""

from __future__ import annotations

import math

import pytest
import torch

from patcher.codec import to_json
from patcher.verify.measure.comparison import Comparison
from patcher.verify.messages import CapFunction


def hand_made() -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts of three and two tokens, a vocabulary of four; row 0 is synthetic, text two ends in padding."""
    logits = torch.tensor(
        [
            [[0.0, 1.0, 0.0, 0.0], [-1.0, 2.0, -3.0, -4.0], [5.0, -1.0, -1.0, -1.0]],
            [[0.0, 1.0, 0.0, 0.0], [-2.0, -2.0, -2.0, 0.0], [9.0, 9.0, 9.0, 9.0]],
        ]
    )
    return logits, torch.tensor([[1, 1, 1], [1, 1, 0]])


CAP = CapFunction("sigmoid", 30.0, 7.5)


def compared(logits: torch.Tensor, mask: torch.Tensor, cap: CapFunction = CAP) -> Comparison:
    """Everything counted over patched logits [batch, tokens, vocabulary] and what the cap makes of them."""
    found = Comparison(cap)
    for row, real in zip(logits, mask.bool(), strict=True):
        raw = row[real]
        capped = cap.scale * torch.sigmoid(raw / cap.temperature)
        capped[0] = raw[0]
        found.add([(capped, raw)])
    return found


def test_figures_leave_out_padding_and_the_synthetic_row() -> None:
    figures = compared(*hand_made()).patched
    assert figures.positions == 3
    found = to_json(figures.result())
    assert {key: found[key] for key in list(found)[:6]} == {
        "min": -4.0,
        "max": 5.0,
        "negative_fraction": 9 / 12,
        "logit_sparsity": 10 / 12,
        "embedding_sparsity": {"mean": (1 - 2 / 4 + 1 - 1 / 4) / 2, "min": 1 - 2 / 4},
        "active_dims": {"mean": 1.5, "max": 2},
    }


def test_the_costs_are_those_of_an_index_of_the_texts_searched_with_themselves() -> None:
    """Dimension 0 is active in one text, dimension 1 in both, another text in none."""
    empty = torch.full((1, 3, 4), -1.0), torch.ones(1, 3)
    figures = compared(*hand_made()).patched
    figures.merge(compared(*empty).patched)
    assert to_json(figures.result())["costs"] == {
        "flops": pytest.approx((1 / 3) ** 2 + (2 / 3) ** 2),
        "postings_per_query": pytest.approx((1 * 1 + 2 * 2) / 3),
        "index_bytes": 3 * 8 + 4 * 8,
        "frequent": 1,
        "empty": 1,
    }


def test_the_synthetic_row_makes_the_bos_token_active_in_a_vector() -> None:
    figures = compared(torch.tensor([[[0.0, 1.0], [-1.0, -1.0]]]), torch.ones(1, 2)).patched
    assert to_json(figures.result())["active_dims"] == {"mean": 1.0, "max": 1}


def test_texts_merged_in_parts_add_up_to_one_pass() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(6, 5, 11) * 9, torch.ones(6, 5)
    whole, parts = compared(logits, mask), Comparison(CAP)
    for start in range(0, 6, 2):
        parts.merge(compared(logits[start : start + 2], mask[start : start + 2]))
    for side in ("base", "patched"):
        assert getattr(whole, side).result() == getattr(parts, side).result()
    assert (whole.cap_error, whole.predictions_changed) == (parts.cap_error, parts.predictions_changed)


def test_values_that_are_not_finite_are_counted_and_kept_out_of_the_extremes() -> None:
    figures = compared(torch.tensor([[[0.0, 1.0], [math.nan, -2.0], [math.inf, 3.0]]]), torch.ones(1, 3)).patched
    assert figures.not_finite == 2
    assert (figures.result().min, figures.result().max) == (-2.0, 3.0)
