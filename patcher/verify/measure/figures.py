"""Figures over one model's logits, accumulated text by text so that memory does not grow with their number."""

from __future__ import annotations

import torch

from patcher.verify.costs import Counts, costs
from patcher.verify.measure.histogram import Histogram, curve, shift_beyond
from patcher.verify.messages import IndexCosts, LengthBin, LogitFigures, MeanAndMax, MeanAndMin, PatchedFigures

_PERCENTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}
_SHORTEST = 16  # tokens; bins of length double from here


class Figures:
    """Running figures of one model's logits.

    `min`, `max`, `negative_fraction`, `logit_sparsity` and `histogram` are taken over real positions: neither padding
    nor the synthetic first row, which would inflate them. `embedding_sparsity`, `active_dims` and `by_length` are taken
    over SPLADE vectors, max over the text's tokens of log(1 + ReLU(logit)) (Formal et al. 2021,
    https://arxiv.org/abs/2109.10086), in which the first row counts as it does for a user: its one positive entry makes
    the bos token active. So are the costs of an index, for which texts are counted by active dimension.
    """

    def __init__(self) -> None:
        self.positions = self.not_finite = self.dims = 0
        self.low, self.high = float("inf"), float("-inf")
        self.logits, self.pooled = Histogram(), Histogram()
        self._texts_by_dim: torch.Tensor | None = None  # [vocabulary]: the texts in which each dimension is active
        self._active: dict[int, torch.Tensor] = {}  # by longest length of the bin: texts with 0, 1, 2 ... active dims

    def add_extremes(self, real: torch.Tensor) -> bool:
        """Add the extremes of the logits [positions, vocabulary] of one text; return whether all are finite."""
        self.positions += real.shape[0]
        if not real.numel():
            return True
        low, high = (float(value) for value in real.aminmax())
        if low > float("-inf") and high < float("inf"):  # neither holds for NaN
            self.low, self.high = min(self.low, low), max(self.high, high)
            return True
        finite = real[torch.isfinite(real)]
        self.not_finite += real.numel() - finite.numel()
        if finite.numel():
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
            self.logits.add(finite.float())
        return False

    def add_vector(self, pooled: torch.Tensor, tokens: int) -> int:
        """Add one text's largest logit per dimension [vocabulary]; return the active dims of its SPLADE vector."""
        self.dims = pooled.shape[-1]
        is_active = pooled > 0
        active = int(torch.count_nonzero(is_active))
        counts = is_active.long()
        self._texts_by_dim = counts if self._texts_by_dim is None else self._texts_by_dim + counts
        longest = _SHORTEST
        while longest < tokens:
            longest *= 2
        if longest not in self._active:
            self._active[longest] = torch.zeros(self.dims + 1, dtype=torch.int64)
        self._active[longest][active] += 1
        return active

    def merge(self, other: Figures) -> None:
        """Add what another one counted."""
        self.positions += other.positions
        self.not_finite += other.not_finite
        self.dims = other.dims or self.dims
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.logits.merge(other.logits)
        self.pooled.merge(other.pooled)
        if other._texts_by_dim is not None:
            mine = self._texts_by_dim
            self._texts_by_dim = other._texts_by_dim if mine is None else mine + other._texts_by_dim
        for longest, counts in other._active.items():
            self._active[longest] = self._active[longest] + counts if longest in self._active else counts

    def result(self) -> LogitFigures | None:
        """The figures as the report holds them; None if there were no positions."""
        count = self.positions * self.dims
        if not count:
            return None
        active = torch.stack(list(self._active.values())).sum(0)
        overall = self._distribution(active)
        return LogitFigures(
            min=self.low if self.low < float("inf") else None,
            max=self.high if self.high > float("-inf") else None,
            negative_fraction=self.logits.negative / count,
            logit_sparsity=self.logits.up_to(0) / count,
            embedding_sparsity=MeanAndMin(overall["mean"], overall["min"]),
            active_dims=MeanAndMax(self._mean_active(active), int(active.nonzero().max())),
            histogram=self.logits.bins(),
            by_length=tuple(
                LengthBin(
                    tokens=(1 if longest == _SHORTEST else longest // 2 + 1, longest),
                    texts=int(self._active[longest].sum()),
                    **self._distribution(self._active[longest]),
                )
                for longest in sorted(self._active)
            ),
            costs=self._costs(active),
        )

    def _costs(self, active: torch.Tensor) -> IndexCosts | None:
        """What an index of the texts costs; `active` are texts with 0, 1, 2 ... active dims."""
        if self._texts_by_dim is None:
            return None
        counts = Counts(
            self._texts_by_dim.cpu().numpy(), int(active.sum()), int(active[0]), int(active.nonzero().max())
        )
        found = costs(counts, counts)
        assert found.flops is not None and found.postings_per_query is not None
        return IndexCosts(found.flops, found.postings_per_query, found.index_bytes, len(found.frequent), found.empty)

    def patched_result(self, min_logit_sparsity: float) -> PatchedFigures | None:
        """The same, and what a shift of the logits would change, up to a logit sparsity above the limit."""
        shift, found = shift_beyond(self.logits, min_logit_sparsity), self.result()
        if found is None:
            return None
        return PatchedFigures(**vars(found), curve=curve(self.logits, self.pooled), shift_to_gate=shift)

    def _mean_active(self, active: torch.Tensor) -> float:
        return int((active * torch.arange(len(active))).sum()) / int(active.sum())

    def _distribution(self, active: torch.Tensor) -> dict[str, float]:
        """Mean, minimum and percentiles (nearest rank) of embedding sparsity, from counts of texts by active dims."""
        texts = int(active.sum())
        sparsest_first = active.cumsum(0)
        found = {"mean": 1 - self._mean_active(active) / self.dims, "min": 1 - int(active.nonzero().max()) / self.dims}
        for name, share in _PERCENTILES.items():
            # The p-th percentile of sparsity is the text that (1 - p) of all texts are at least as sparse as.
            rank = texts - max(1, -(-int(share * 100) * texts // 100)) + 1
            found[name] = 1 - int((sparsest_first < rank).sum()) / self.dims
        return found
