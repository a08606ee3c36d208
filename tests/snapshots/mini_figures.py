"""Measures what a miniature has learned and how sparse it is; all figures leave out padding and row 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from tests.snapshots.mini_training import Ids, capped, pad_batch, raw_logits

BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """Masked tokens of held-out text, model against unigram baseline (cross entropy in nats)."""

    tokens: int
    model_cross_entropy: float
    unigram_cross_entropy: float
    model_accuracy: float
    unigram_accuracy: float


@dataclass(frozen=True)
class Sparsity:
    """Raw logits (no cap) over unmasked text: by position, and pooled by text."""

    texts: int
    raw_min: float
    raw_max: float
    logit_sparsity: float
    positives_per_position: float
    positions_with_one: float
    positions_with_two: float
    own_token_first: float
    own_token_positive: float
    embedding_sparsity_mean: float
    embedding_sparsity_min: float
    active_dims_mean: float
    active_dims_max: int


def groups(texts: Sequence[Sequence[int]], ids: Ids) -> list[torch.Tensor]:
    ordered = sorted(texts, key=len)
    return [pad_batch(ordered[i : i + BATCH], ids) for i in range(0, len(ordered), BATCH)]


@torch.no_grad()
def measure_prediction(
    model: Any, train: Sequence[Sequence[int]], held_out: Sequence[Sequence[int]], ids: Ids
) -> Prediction:
    """Masks 15 % of the held-out tokens, always the same ones; the unigram counts get one more each.

    bos and eos are neither masked nor counted: they stand where they always stand.
    """
    counts = torch.ones(ids.vocab_size, dtype=torch.float64)
    for token, count in Counter(token for text in train for token in text[1:-1]).items():
        counts[token] += count
    unigram = (counts / counts.sum()).log()

    generator = torch.Generator().manual_seed(1)
    tokens, model_sum, unigram_sum, model_right, unigram_right = 0, 0.0, 0.0, 0, 0
    for batch in groups(held_out, ids):
        ordinary = (batch != ids.pad) & (batch != ids.bos) & (batch != ids.eos)
        chosen = ordinary & (torch.rand(batch.shape, generator=generator) < 0.15)
        if not chosen.any():
            continue
        targets = batch[chosen]
        logits = capped(raw_logits(model, batch.masked_fill(chosen, ids.mask), ids, chosen))
        tokens += len(targets)
        model_sum += F.cross_entropy(logits, targets, reduction="sum").item()
        unigram_sum -= unigram[targets].sum().item()
        model_right += int((logits.argmax(dim=-1) == targets).sum())
        unigram_right += int((targets == unigram.argmax()).sum())
    return Prediction(tokens, model_sum / tokens, unigram_sum / tokens, model_right / tokens, unigram_right / tokens)


@torch.no_grad()
def measure_sparsity(model: Any, texts: Sequence[Sequence[int]], ids: Ids) -> Sparsity:
    """Logit sparsity and embedding sparsity of `texts`; the synthetic row's bos dimension is not counted."""
    low, high = float("inf"), float("-inf")
    per_position: list[torch.Tensor] = []
    own_first, own_positive = 0, 0
    active: list[int] = []
    for batch in groups(texts, ids):
        real = batch != ids.pad
        real[:, 0] = False
        raw = raw_logits(model, batch, ids, real)
        targets = batch[real]
        low, high = min(low, raw.min().item()), max(high, raw.max().item())
        per_position.append((raw > 0).sum(dim=-1))
        own_first += int((raw.argmax(dim=-1) == targets).sum())
        own_positive += int((raw.gather(1, targets[:, None]) > 0).sum())
        active += [int((text > 0).any(dim=0).sum()) for text in raw.split(real.sum(dim=1).tolist())]
    positives = torch.cat(per_position).float()
    dims = torch.tensor(active, dtype=torch.float64)
    sparsity = 1 - dims / ids.vocab_size
    return Sparsity(
        texts=len(texts),
        raw_min=low,
        raw_max=high,
        logit_sparsity=1 - positives.mean().item() / ids.vocab_size,
        positives_per_position=positives.mean().item(),
        positions_with_one=(positives >= 1).float().mean().item(),
        positions_with_two=(positives >= 2).float().mean().item(),
        own_token_first=own_first / len(positives),
        own_token_positive=own_positive / len(positives),
        embedding_sparsity_mean=sparsity.mean().item(),
        embedding_sparsity_min=sparsity.min().item(),
        active_dims_mean=dims.mean().item(),
        active_dims_max=int(dims.max()),
    )
