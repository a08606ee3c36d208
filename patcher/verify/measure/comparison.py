"""Holds the base model's logits against the patched one's, text by text, on the device where both were made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from patcher.verify.measure.figures import Figures

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

    def add(self, texts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[Vectors]:
        """Take in the base's and the patched model's logits [tokens, vocabulary] of some texts, without padding.

        Row 0 comes first.
        """
        vectors: list[Vectors] = []
        shifted: list[torch.Tensor] = []
        waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        for base, patched in texts:
            real = base[1:], patched[1:]
            # Both are looked at, also where the first is enough to fail.
            if self.before.add_extremes(real[0]) & self.after.add_extremes(real[1]):
                waiting.append(real)
            else:
                self.cap_error = float("nan")
            found, reach = self._vectors(base, patched)
            vectors.append(found)
            shifted.append(reach)
        for capped, raw in _chunks(waiting):
            self._add_real(capped, raw)
        self.after.pooled.add(torch.nan_to_num(torch.stack(shifted)))
        return vectors

    def _add_real(self, capped: torch.Tensor, raw: torch.Tensor) -> None:
        self.before.logits.add(capped.float())
        self.after.logits.add(raw.float())
        self.cap_error = _larger(self.cap_error, float(self.law.error(capped, raw)))
        # Equal values under the cap are a tie, no change.
        chosen = capped.gather(-1, raw.argmax(-1, keepdim=True)).squeeze(-1)
        self.predictions_changed += int(torch.count_nonzero(chosen != capped.amax(-1)))
        if self.law.shift:
            best = raw.topk(min(_RANKED, raw.shape[-1]), dim=-1).indices
            self.rankings_changed += int(torch.count_nonzero((capped.gather(-1, best).diff(dim=-1) > 0).any(-1)))

    def _vectors(self, base: torch.Tensor, patched: torch.Tensor) -> tuple[Vectors, torch.Tensor]:
        """The vectors of one text, and the patched one as a shift of the logits reaches it."""
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
        # No shift of the logits moves a made-up row: what it makes active stays so.
        shifted = torch.where(first > 0, torch.full_like(raw, _BEYOND), raw) if made_up else vectors.patched
        vectors.active = (
            self.before.add_vector(vectors.base, vectors.tokens),
            self.after.add_vector(vectors.patched, vectors.tokens),
        )
        return vectors, shifted

    def merge(self, other: Comparison) -> None:
        """Add what another one has taken in."""
        self.before.merge(other.before)
        self.after.merge(other.after)
        self.cap_error = _larger(self.cap_error, other.cap_error)
        self.predictions_changed += other.predictions_changed
        self.rankings_changed += other.rankings_changed


def _chunks(texts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The rows of some texts in pieces of a good size: long texts are cut without a copy, short ones put together."""
    waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
    rows = 0
    for base, patched in texts:
        if not base.numel():
            continue
        most = max(1, _CHUNK.get(base.device.type, _CHUNK_ELSEWHERE) // base.shape[-1])
        for pair in zip(torch.split(base, most), torch.split(patched, most), strict=True):
            if rows + len(pair[0]) > most:
                yield _joined(waiting)
                waiting, rows = [], 0
            waiting.append(pair)
            rows += len(pair[0])
    if waiting:
        yield _joined(waiting)


def _joined(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    if len(pairs) == 1:
        return pairs[0]
    return torch.cat([base for base, _ in pairs]), torch.cat([patched for _, patched in pairs])


def _larger(one: float, other: float) -> float:
    """The larger one, or NaN where either is: `max` would lose it."""
    return one + other if one != one or other != other else max(one, other)
