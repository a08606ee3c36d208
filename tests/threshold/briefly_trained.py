"""Trains miniatures for some steps with the library's own trainer: through the cap, and without it.

A head that starts at the logits of a masked language model has no zeros under the cap for thousands of steps. So the
start of the capped one is rescaled: x becomes 10 x - 70 in the weights and the bias of the output, which keeps the
order of all tokens at a position. From there a few steps of ordinary SPLADE training give a retriever whose small
activations lie below 0.05.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch

STEPS, BATCH_SIZE, PAIRS, SEED = 8, 8, 400, 42
SCALE, SHIFT = 10.0, -70.0


def rescale_head(model: Any) -> None:
    """Rescale the raw logits of a SparseEncoder over the miniature in place."""
    output = model[0].model.classifier.emb2vocab
    with torch.no_grad():
        output.weight.mul_(SCALE)
        output.bias.mul_(SCALE).add_(SHIFT)


def train(
    base: Path,
    target: Path,
    *,
    rescaled: bool,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    pairs_read: int | None = PAIRS,
    seed: int = SEED,
) -> Path:
    """Train the model in `base` as it is loaded, on the CPU, and save it in `target`; None reads all pairs."""
    from datasets import Dataset
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
    from transformers import set_seed

    from tests.snapshots.corpus.pairs import pairs

    set_seed(seed)
    model = SparseEncoder(str(base), trust_remote_code=True, device="cpu")
    model.max_seq_length = 64
    if rescaled:
        rescale_head(model)
    arguments = SparseEncoderTrainingArguments(
        output_dir=str(target.with_name(f"{target.name}-run")),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-3,
        batch_sampler="no_duplicates",
        seed=seed,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    rows = [dict(pair) for pair in islice(pairs("train"), pairs_read)]
    loss = SpladeLoss(model, SparseMultipleNegativesRankingLoss(model), 1e-3, 1e-3)
    SparseEncoderTrainer(model, arguments, Dataset.from_list(rows), loss=loss).train()
    model.save_pretrained(str(target), create_model_card=False)
    return target
