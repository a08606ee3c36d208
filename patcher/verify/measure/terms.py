"""The strongest terms of a text's SPLADE vector, as a person reads them."""

from __future__ import annotations

import math
from typing import Any

import torch

PROBE_TEXTS = 200  # texts whose terms a report shows
TERMS = 12
_LONGEST = 2000  # characters of a text that a report shows


class Terms:
    """Collects the strongest active dimensions of the first texts, under both models."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._found: dict[int, dict[str, Any]] = {}

    def add(self, index: int, tokens: int, base: torch.Tensor, patched: torch.Tensor, active: tuple[int, int]) -> None:
        """Take in the largest logits [vocabulary] of one text."""
        if index < PROBE_TEXTS:
            self._found[index] = {
                "tokens": tokens,
                "before": {"active_dims": active[0], "terms": self._strongest(base)},
                "after": {"active_dims": active[1], "terms": self._strongest(patched)},
            }

    def as_json(self, texts: list[dict[str, str]]) -> list[dict[str, Any]]:
        """What was collected, in the order of the texts, beside the texts themselves."""
        return [
            {"id": one["id"], "language": one["language"], "text": _shortened(one["text"]), **self._found[index]}
            for index, one in enumerate(texts)
            if index in self._found
        ]

    def _strongest(self, logits: torch.Tensor) -> list[list[Any]]:
        """Tokens and weights log(1 + logit) of the strongest dimensions; of equal ones, the lower id first."""
        values, ids = torch.nan_to_num(logits).topk(min(TERMS, len(logits)))
        pairs = sorted(zip(values.tolist(), ids.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
        return [[self._name(token), round(math.log1p(value), 4)] for value, token in pairs if value > 0]

    def _name(self, token: int) -> str:
        if token in self._special:
            return str(self._tokenizer.convert_ids_to_tokens(token))
        return str(self._tokenizer.decode([token])).strip() or str(self._tokenizer.convert_ids_to_tokens(token))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
