"""Trains the miniature as a masked language model with the soft cap in place, the same way each time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

IGNORED = -100
SCALE, TEMPERATURE = 30.0, 7.5


@dataclass(frozen=True)
class Recipe:
    """All choices of one training run."""

    seed: int = 20
    steps: int = 1200
    batch_tokens: int = 2048
    max_length: int = 256
    chosen_share: float = 0.3
    kept_share: float = 0.2
    random_tokens: int = 512
    matrix_rate: float = 4e-3
    vector_rate: float = 1e-2
    weight_decay: float = 0.05
    warmup_steps: int = 50
    first_bias: float = -12.0
    # from this share of the steps on, positive raw logits cost a little
    penalty_start: float = 0.6
    penalty: float = 0.02


@dataclass(frozen=True)
class Ids:
    """The special tokens that masking has to know."""

    pad: int
    bos: int
    eos: int
    mask: int
    first_ordinary: int
    vocab_size: int


def capped(raw: torch.Tensor) -> torch.Tensor:
    return SCALE * torch.sigmoid(raw / TEMPERATURE)


def pad_batch(texts: Sequence[Sequence[int]], ids: Ids) -> torch.Tensor:
    """Token ids of shape [batch, longest], padded on the right."""
    batch = torch.full((len(texts), max(map(len, texts))), ids.pad)
    for row, text in enumerate(texts):
        batch[row, : len(text)] = torch.tensor(text)
    return batch


def batches(texts: Sequence[Sequence[int]], recipe: Recipe, ids: Ids) -> Iterator[torch.Tensor]:
    """Endless batches of about `batch_tokens` tokens; texts of similar length go together."""
    generator = torch.Generator().manual_seed(recipe.seed)
    cut = [text[: recipe.max_length] for text in texts]
    while True:
        noise = torch.randn(len(cut), generator=generator).tolist()
        order = sorted(range(len(cut)), key=lambda i: len(cut[i]) * (1 + 0.1 * noise[i]))
        groups: list[list[int]] = [[]]
        longest = 0
        for index in order:
            longest = max(longest, len(cut[index]))
            if groups[-1] and longest * (len(groups[-1]) + 1) > recipe.batch_tokens:
                groups.append([])
                longest = len(cut[index])
            groups[-1].append(index)
        for place in torch.randperm(len(groups), generator=generator).tolist():
            yield pad_batch([cut[index] for index in groups[place]], ids)


def mask_tokens(
    batch: torch.Tensor, recipe: Recipe, ids: Ids, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chooses tokens to predict, masks most of them and keeps the others; returns inputs and labels.

    Below the texts stand rows of random tokens that are all kept: a SPLADE model has to answer an unmasked token
    with that token, whatever the context, and a small corpus alone does not teach this for rare tokens.
    Shapes: [batch + rows of random tokens, length]. bos is never chosen, nothing predicts it.
    """
    shape = (max(1, recipe.random_tokens // batch.size(1)), batch.size(1))
    lines = torch.randint(ids.first_ordinary, ids.vocab_size, shape, generator=generator)
    lines[:, 0] = ids.bos
    rows = torch.cat([batch, lines])
    chosen = torch.rand(rows.shape, generator=generator) < recipe.chosen_share
    chosen &= (rows != ids.pad) & (rows != ids.bos)
    masked = chosen & (torch.rand(rows.shape, generator=generator) >= recipe.kept_share)
    masked[len(batch) :] = False
    return rows.masked_fill(masked, ids.mask), rows.masked_fill(~chosen, IGNORED)


def raw_logits(model: Any, inputs: torch.Tensor, ids: Ids, where: torch.Tensor) -> torch.Tensor:
    """Logits before the cap, [positions, vocabulary], for the tokens at `where` (a mask without row 0).

    Token i + 1 is predicted at position i, so the mask moves one step to the left.
    """
    hidden = model.get_contextualized_embeddings(inputs, (inputs != ids.pad).long())[-1]
    return model.classifier(hidden[:, :-1][where[:, 1:]])


def parameter_groups(model: torch.nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Matrices with weight decay; gains, mixing weights and the output bias without, and faster."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and not name.endswith(("q_scale", "k_scale"))]
    known = {id(p) for p in matrices}
    vectors = [p for _, p in named if id(p) not in known]
    return [
        {"params": matrices, "lr": recipe.matrix_rate, "weight_decay": recipe.weight_decay},
        {"params": vectors, "lr": recipe.vector_rate, "weight_decay": 0.0},
    ]


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    return warmup * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))


def train(model: Any, texts: Sequence[Sequence[int]], recipe: Recipe, ids: Ids) -> float:
    """Trains `model` in place and returns the seconds that it took."""
    torch.manual_seed(recipe.seed)
    with torch.no_grad():
        model.classifier.emb2vocab.weight.copy_(model.embedding.word_embedding.weight)
        model.classifier.emb2vocab.bias.fill_(recipe.first_bias)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), betas=(0.9, 0.98))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, recipe))
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    model.train()

    start = time.perf_counter()
    stream = batches(texts, recipe, ids)
    for step in range(recipe.steps):
        inputs, labels = mask_tokens(next(stream), recipe, ids, generator)
        chosen = labels != IGNORED
        raw = raw_logits(model, inputs, ids, chosen)
        loss = F.cross_entropy(capped(raw), labels[chosen])
        total = loss
        if recipe.penalty and step >= recipe.penalty_start * recipe.steps:
            # the target itself may be positive, only its rivals pay
            rivals = torch.relu(raw).scatter(1, labels[chosen][:, None], 0.0)
            total = loss + recipe.penalty * rivals.sum(dim=-1).mean()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 0 or step == recipe.steps - 1:
            seconds = time.perf_counter() - start
            print(f"step {step:5d}  loss {loss.item():.3f}  {seconds:.0f} s", flush=True)
    model.eval()
    return time.perf_counter() - start
