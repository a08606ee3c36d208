"""What the child counts of pruned vectors."""

from __future__ import annotations

import torch

from patcher.threshold.embeddings import _count


def test_active_dims_are_counted_by_dimension_and_by_text() -> None:
    found = _count(torch.tensor([[0.5, 0.0, 0.1], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert found.active.tolist() == [2, 0, 1]
    assert (found.texts, found.empty, found.longest) == (3, 1, 2)
