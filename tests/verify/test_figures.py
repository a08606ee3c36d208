"""The figures against the same figures written out by hand, and against a single pass over everything."""

from __future__ import annotations

import math

import torch

from patcher.verify.figures import Figures


def hand_made() -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts of three and two tokens, a vocabulary of four; row 0 is synthetic, text two ends in padding."""
    logits = torch.tensor(
        [
            [[0.0, 1.0, 0.0, 0.0], [-1.0, 2.0, -3.0, -4.0], [5.0, -1.0, -1.0, -1.0]],
            [[0.0, 1.0, 0.0, 0.0], [-2.0, -2.0, -2.0, 0.0], [9.0, 9.0, 9.0, 9.0]],
        ]
    )
    return logits, torch.tensor([[1, 1, 1], [1, 1, 0]])


def test_figures_leave_out_padding_and_the_synthetic_row() -> None:
    figures = Figures()
    figures.add(*hand_made())
    assert figures.positions == 3
    assert figures.as_json() == {
        "min": -4.0,
        "max": 5.0,
        "negative_fraction": 9 / 12,
        "logit_sparsity": 10 / 12,
        "embedding_sparsity": {"mean": (1 - 2 / 4 + 1 - 1 / 4) / 2, "min": 1 - 2 / 4},
        "active_dims": {"mean": 1.5, "max": 2},
    }


def test_the_synthetic_row_makes_the_bos_token_active_in_a_vector() -> None:
    figures = Figures()
    figures.add(torch.tensor([[[0.0, 1.0], [-1.0, -1.0]]]), torch.ones(1, 2))
    assert figures.active == [1]


def test_batches_add_up_to_one_pass() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(6, 5, 11), torch.ones(6, 5)
    whole, parts = Figures(), Figures()
    whole.add(logits, mask)
    for start in range(0, 6, 2):
        parts.add(logits[start : start + 2], mask[start : start + 2])
    assert whole.as_json() == parts.as_json()


def test_values_that_are_not_finite_are_counted_and_kept_out_of_the_extremes() -> None:
    figures = Figures()
    figures.add(torch.tensor([[[0.0, 1.0], [math.nan, -2.0], [math.inf, 3.0]]]), torch.ones(1, 3))
    assert figures.not_finite == 2
    assert (figures.as_json()["min"], figures.as_json()["max"]) == (-2.0, 3.0)
