"""Figures over logits, added up batch by batch so that memory does not grow with the number of texts."""

from __future__ import annotations

from typing import Any

import torch


class Figures:
    """Running figures of one model's logits.

    `min`, `max`, `negative_fraction` and `logit_sparsity` are taken over real positions: neither padding nor the
    synthetic first row, which would inflate them. `embedding_sparsity` and `active_dims` are taken over SPLADE vectors,
    max over the text's tokens of log(1 + ReLU(logit)) (Formal et al. 2021, https://arxiv.org/abs/2109.10086), in which
    the first row counts as it does for a user: its one positive entry makes the bos token active.
    """

    def __init__(self) -> None:
        self.count = self.negative = self.zero = self.positions = self.not_finite = 0
        self.low, self.high = float("inf"), float("-inf")
        self.active: list[int] = []
        self.dims = 0

    def add(self, logits: torch.Tensor, mask: torch.Tensor) -> None:
        """Take in logits [batch, tokens, vocabulary] and the attention mask [batch, tokens]."""
        self.dims = logits.shape[-1]
        for row, kept, mask_of_real in zip(logits, mask.bool(), real_positions(mask), strict=True):
            self.active.append(int((_pooled(row[kept]) > 0).sum()))
            self._add_real(row[mask_of_real])

    def _add_real(self, real: torch.Tensor) -> None:
        """Take in the logits [positions, vocabulary] of one text."""
        finite = torch.isfinite(real)
        self.positions += real.shape[0]
        self.count += real.numel()
        self.not_finite += int((~finite).sum())
        self.negative += int((real < 0).sum())
        self.zero += int((torch.relu(real) == 0).sum())
        if finite.any():
            kept = real if finite.all() else real[finite]
            self.low, self.high = min(self.low, float(kept.min())), max(self.high, float(kept.max()))

    def as_json(self) -> dict[str, Any]:
        """The figures as the report holds them; null where there was nothing finite to take them over."""
        if not self.count:
            return {}
        sparsity = [1 - active / self.dims for active in self.active]
        return {
            "min": self.low if self.low < float("inf") else None,
            "max": self.high if self.high > float("-inf") else None,
            "negative_fraction": self.negative / self.count,
            "logit_sparsity": self.zero / self.count,
            "embedding_sparsity": {"mean": sum(sparsity) / len(sparsity), "min": min(sparsity)},
            "active_dims": {"mean": sum(self.active) / len(self.active), "max": max(self.active)},
        }


def _pooled(logits: torch.Tensor) -> torch.Tensor:
    return torch.log1p(torch.relu(logits)).amax(dim=0)


def real_positions(mask: torch.Tensor) -> torch.Tensor:
    """Mask [batch, tokens] of the positions that the model computed: no padding, no synthetic first row."""
    real = mask.bool().clone()
    real[:, 0] = False
    return real
