"""The strongest terms of a text's SPLADE vector, as readable tokens."""

from __future__ import annotations

import math
from typing import Any

import torch

from patcher.verify.messages import ProbeTerms, TopTerms

PROBE_TEXTS = 200  # texts whose terms a report shows
TERMS = 12
_LONGEST = 2000  # characters of a text that a report shows


class Terms:
    """Collects the strongest active dimensions of the first texts, under both models."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._found: dict[int, tuple[int, TopTerms, TopTerms]] = {}

    def add(self, index: int, tokens: int, base: torch.Tensor, patched: torch.Tensor, active: tuple[int, int]) -> None:
        """Add the largest logits [vocabulary] of one text under both models, and its active dims under both."""
        if index < PROBE_TEXTS:
            strongest = TopTerms(active[0], self._strongest(base)), TopTerms(active[1], self._strongest(patched))
            self._found[index] = (tokens, *strongest)

    def result(self, texts: list[dict[str, str]]) -> tuple[ProbeTerms, ...]:
        """The texts with what was collected about them, in the order of the texts."""
        return tuple(
            ProbeTerms(one["id"], one["language"], one["text"][:_LONGEST] + "…" * (len(one["text"]) > _LONGEST), *found)
            for index, one in enumerate(texts)
            if (found := self._found.get(index))
        )

    def _strongest(self, logits: torch.Tensor) -> tuple[tuple[str, float], ...]:
        """Tokens and weights log(1 + logit) of the strongest dimensions; of equal ones, the lower id first."""
        values, ids = torch.nan_to_num(logits).topk(min(TERMS, len(logits)))
        pairs = sorted(zip(values.tolist(), ids.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
        return tuple((self._name(token), round(math.log1p(value), 4)) for value, token in pairs if value > 0)

    def _name(self, token: int) -> str:
        if token in self._special:
            return str(self._tokenizer.convert_ids_to_tokens(token))
        return str(self._tokenizer.decode([token])).strip() or str(self._tokenizer.convert_ids_to_tokens(token))
