"""Compares the logits of the base and the patched model, text by text, on the device that computed them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch

from patcher.verify.measure.figures import Figures
from patcher.verify.messages import CapFunction

# Logits that are compared at once: on a CPU as many as its cache holds, elsewhere enough to keep a device busy.
_CHUNK, _CHUNK_ELSEWHERE = {"cpu": 1 << 18}, 1 << 24
_BEYOND = 1e30
_RANKED = 100  # best tokens of a position whose order has to stay


def capped(cap: CapFunction, patched: torch.Tensor) -> torch.Tensor:
    """cap(patched), computed in float32 whatever the model computed in."""
    functions = {"sigmoid": torch.sigmoid_, "tanh": torch.tanh_, "identity": torch.positive}
    function: Callable[[torch.Tensor], torch.Tensor] = functions[cap.kind]
    raw = patched.float() + cap.shift if cap.shift else patched.float()
    return function(raw / cap.temperature).mul_(cap.scale)


def cap_error(cap: CapFunction, base: torch.Tensor, patched: torch.Tensor) -> torch.Tensor:
    """Largest |base - cap(patched)|."""
    return capped(cap, patched).sub_(base).abs_().amax()


def apply_cap(cap: CapFunction, logits: torch.Tensor) -> torch.Tensor:
    """The cap as a function that gradients pass through, in float32."""
    functions = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": torch.positive}
    function: Callable[[torch.Tensor], torch.Tensor] = functions[cap.kind]
    return function((logits.float() + cap.shift) / cap.temperature) * cap.scale


def is_dropped(base: torch.Tensor, patched: torch.Tensor) -> bool:
    """Whether a first row [vocabulary] that had one positive value, that of the bos token, is zero now."""
    return not bool(patched.any()) and int(torch.count_nonzero(base)) == 1 and float(base.amax()) > 0


@dataclass(frozen=True)
class Vectors:
    """The largest logit of each dimension [vocabulary] over one text, for both models.

    `base` and `patched` include the first row, `raw` is the patched one over real positions alone, and `shifted` is the
    one that a shift of the logits would change. `tokens` is the text's length, `active` the active dims of both models.
    """

    base: torch.Tensor
    patched: torch.Tensor
    raw: torch.Tensor
    shifted: torch.Tensor
    tokens: int
    active: tuple[int, int]


@dataclass
class Comparison:
    """Everything that is counted over texts: the figures of both models and how they agree.

    `cap_error` is the largest difference from the capped patched logits. `predictions_changed` counts positions; so
    does `rankings_changed`, for the order of the best tokens, which only a shift could change. If `drops_bos`, the
    first row has to be zero in the patched model alone; `bos_rows_wrong` counts texts where it is not.
    """

    cap: CapFunction
    drops_bos: bool = False
    base: Figures = field(default_factory=Figures)
    patched: Figures = field(default_factory=Figures)
    cap_error: float = 0.0
    predictions_changed: int = 0
    rankings_changed: int = 0
    bos_rows_wrong: int = 0

    def add(self, texts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[Vectors]:
        """Add the logits [tokens, vocabulary] of the base and the patched model for some texts, without padding.

        The synthetic row 0 comes first.
        """
        vectors: list[Vectors] = []
        waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        for base, patched in texts:
            real = base[1:], patched[1:]
            # No short circuit: both have to be added.
            if self.base.add_extremes(real[0]) & self.patched.add_extremes(real[1]):
                waiting.append(real)
            else:
                self.cap_error = float("nan")
            vectors.append(self._vectors(base, patched))
        for capped, raw in _chunks(waiting):
            self._add_real(capped, raw)
        self.patched.pooled.add(torch.nan_to_num(torch.stack([one.shifted for one in vectors])))
        return vectors

    def _add_real(self, capped: torch.Tensor, raw: torch.Tensor) -> None:
        self.base.logits.add(capped.float())
        self.patched.logits.add(raw.float())
        self.cap_error = larger(self.cap_error, float(cap_error(self.cap, capped, raw)))
        # Equal values under the cap are a tie, not a change.
        chosen = capped.gather(-1, raw.argmax(-1, keepdim=True)).squeeze(-1)
        self.predictions_changed += int(torch.count_nonzero(chosen != capped.amax(-1)))
        if self.cap.shift:
            # A tie on either side, which rounding after the shift can make, is no change.
            values, best = raw.topk(min(_RANKED, raw.shape[-1]), dim=-1)
            swapped = (capped.gather(-1, best).diff(dim=-1) > 0) & (values.diff(dim=-1) < 0)
            self.rankings_changed += int(torch.count_nonzero(swapped.any(-1)))

    def _vectors(self, base: torch.Tensor, patched: torch.Tensor) -> Vectors:
        first_base, first = base[0].float(), patched[0].float()
        # A synthetic first row is the same under both heads or dropped; any other is capped as the rest.
        synthetic = is_dropped(first_base, first) if self.drops_bos else torch.equal(first_base, first)
        self.bos_rows_wrong += self.drops_bos and not synthetic
        if not synthetic:
            difference = float((first_base - first).abs().amax())
            error = float(cap_error(self.cap, first_base, first))
            self.cap_error = larger(self.cap_error, difference if difference <= error else error)
        # amax of no rows is an error: a text of one token has no real position.
        raw = patched[1:].amax(0).float() if len(patched) > 1 else torch.full_like(first, -_BEYOND)
        capped = base[1:].amax(0).float() if len(base) > 1 else torch.full_like(first, -_BEYOND)
        whole_base, whole = torch.maximum(capped, first_base), torch.maximum(raw, first)
        # No shift of the logits changes a synthetic row: what it activates stays active.
        shifted = torch.where(first > 0, torch.full_like(raw, _BEYOND), raw) if synthetic else whole
        active = self.base.add_vector(whole_base, len(base)), self.patched.add_vector(whole, len(base))
        return Vectors(whole_base, whole, raw, shifted, len(base), active)

    def merge(self, other: Comparison) -> None:
        """Add what another comparison counted."""
        self.base.merge(other.base)
        self.patched.merge(other.patched)
        self.cap_error = larger(self.cap_error, other.cap_error)
        self.predictions_changed += other.predictions_changed
        self.rankings_changed += other.rankings_changed
        self.bos_rows_wrong += other.bos_rows_wrong


def _chunks(texts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The rows of some texts in chunks of a good size: long texts are split without a copy, short ones joined."""
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


def larger(one: float, other: float) -> float:
    """The larger one, or NaN where either is: `max` would lose it."""
    return one + other if one != one or other != other else max(one, other)
