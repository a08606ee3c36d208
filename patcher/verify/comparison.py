"""Holds the base model's logits against the patched one's, text by text, on the device where both were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from patcher.verify.figures import Figures

# Logits that are looked at in one go: on a CPU what its cache holds, elsewhere what keeps a device busy.
_CHUNK = {"cpu": 1 << 18}
_CHUNK_ELSEWHERE = 1 << 24
_BEYOND = 1e30
_RANKED = 100  # best tokens of a position whose order has to stay


@dataclass(frozen=True)
class Law:
    """What the cap was: base = scale * kind((patched + shift) / temperature), with kind sigmoid or tanh."""

    kind: str
    scale: float
    temperature: float
    shift: float = 0.0

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Law:
        return cls(request["kind"], request["scale"], request["temperature"], request["shift"])

    def error(self, base: torch.Tensor, patched: torch.Tensor) -> torch.Tensor:
        """Largest |base - law(patched)|, computed in float32 whatever the models computed in."""
        function: Callable[[torch.Tensor], torch.Tensor] = {"sigmoid": torch.sigmoid_, "tanh": torch.tanh_}[self.kind]
        raw = patched.float() + self.shift if self.shift else patched.float()
        return function(raw / self.temperature).mul_(self.scale).sub_(base).abs_().amax()


@dataclass
class Vectors:
    """The largest logit of each dimension [vocabulary] over one text, for both models.

    `base` and `patched` include the first row, `raw` is the patched one over real positions alone.
    """

    base: torch.Tensor
    patched: torch.Tensor
    raw: torch.Tensor
    tokens: int
    active: tuple[int, int] = (0, 0)


@dataclass
class Comparison:
    """Everything that is counted over texts: the figures of both models and how they agree.

    `cap_error` is the largest deviation from the law, `predictions_changed` counts positions; so does
    `rankings_changed`, for the order of the best tokens, which only a shift could disturb.
    """

    law: Law
    before: Figures = field(default_factory=Figures)
    after: Figures = field(default_factory=Figures)
    cap_error: float = 0.0
    predictions_changed: int = 0
    rankings_changed: int = 0

    def add(self, base: torch.Tensor, patched: torch.Tensor) -> Vectors:
        """Take in the logits [tokens, vocabulary] of one text, without padding. Row 0 comes first."""
        real_base, real_patched = base[1:], patched[1:]
        finite = [
            figures.add_extremes(real) for figures, real in ((self.before, real_base), (self.after, real_patched))
        ]
        if all(finite):
            self._add_real(real_base, real_patched)
        else:
            self.cap_error = float("nan")
        return self._add_vectors(base, patched)

    def _add_real(self, base: torch.Tensor, patched: torch.Tensor) -> None:
        size = _CHUNK.get(base.device.type, _CHUNK_ELSEWHERE)
        rows = max(1, size // base.shape[-1])
        error = torch.zeros((), device=base.device)
        changed = torch.zeros((), device=base.device, dtype=torch.int64)
        reordered = torch.zeros((), device=base.device, dtype=torch.int64)
        for capped, raw in zip(torch.split(base, rows), torch.split(patched, rows), strict=True):
            if not len(raw):
                continue
            self.before.logits.add(capped.float())
            self.after.logits.add(raw.float())
            error = torch.maximum(error, self.law.error(capped, raw))
            # Equal values under the cap are a tie, no change.
            chosen = capped.gather(-1, raw.argmax(-1, keepdim=True)).squeeze(-1)
            changed += torch.count_nonzero(chosen != capped.amax(-1))
            if self.law.shift:
                best = raw.topk(min(_RANKED, raw.shape[-1]), dim=-1).indices
                reordered += torch.count_nonzero((capped.gather(-1, best).diff(dim=-1) > 0).any(-1))
        self.cap_error = _larger(self.cap_error, float(error))
        self.predictions_changed += int(changed)
        self.rankings_changed += int(reordered)

    def _add_vectors(self, base: torch.Tensor, patched: torch.Tensor) -> Vectors:
        first_base, first = base[0].float(), patched[0].float()
        # A first row that a family makes up is the same under both heads; any other obeys the law.
        made_up = torch.equal(first_base, first)
        if not made_up:
            apart = float((first_base - first).abs().amax())
            error = float(self.law.error(first_base, first))
            self.cap_error = _larger(self.cap_error, apart if apart <= error else error)
        # amax of no rows is an error: a text of one token has no real position.
        raw = patched[1:].amax(0).float() if len(patched) > 1 else torch.full_like(first, -_BEYOND)
        capped = base[1:].amax(0).float() if len(base) > 1 else torch.full_like(first, -_BEYOND)
        vectors = Vectors(torch.maximum(capped, first_base), torch.maximum(raw, first), raw, len(base))
        shifted = torch.where(first > 0, torch.full_like(raw, _BEYOND), raw) if made_up else vectors.patched
        vectors.active = (
            self.before.add_vector(vectors.base, vectors.tokens),
            self.after.add_vector(vectors.patched, vectors.tokens, shifted),
        )
        return vectors

    def merge(self, other: Comparison) -> None:
        """Add what another one has taken in."""
        self.before.merge(other.before)
        self.after.merge(other.after)
        self.cap_error = _larger(self.cap_error, other.cap_error)
        self.predictions_changed += other.predictions_changed
        self.rankings_changed += other.rankings_changed


def _larger(one: float, other: float) -> float:
    """The larger one, or NaN where either is: `max` would lose it."""
    return one + other if one != one or other != other else max(one, other)
