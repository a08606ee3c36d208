"""Encodes texts with a model of sentence-transformers in batches that fit into memory, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from patcher.verify.measure.hardware import free_memory, is_out_of_memory
from patcher.verify.settings import batch_tokens

# Tokens of a batch at NorBERT4's vocabulary. The logits take 4 bytes for each token and dimension, several times over.
BATCH_TOKENS = {"cpu": 1024, "mps": 8192, "cuda": 32768}

# A batch as one tensor of numbers; rows of a sparse tensor are slow to take apart.
_SPARSE, _DENSE = {"convert_to_sparse_tensor": False, "save_to_cpu": True}, {"convert_to_tensor": True}

Encode = Callable[[list[str]], torch.Tensor]
Batches = Iterator[tuple[list[int], torch.Tensor]]


def encode(
    model: Any, texts: Sequence[str], method: str = "encode", tokens: int | None = None, **options: Any
) -> Batches:
    """The numbers of some texts and their vectors [texts, width], not sparse, batch by batch, the longest first.

    `method` is the model's, which also gets the `options`. A batch has at most `tokens` tokens with padding, or one
    text; by default what the device takes, fewer for a large vocabulary. One that does not fit into memory is halved.
    """
    device = model.device.type
    tokens = tokens or batch_tokens(BATCH_TOKENS[device], len(model.tokenizer))
    kind = _DENSE if type(model) is SentenceTransformer else _SPARSE
    run = partial(_encode, partial(getattr(model, method), show_progress_bar=False, **kind, **options), device)
    return in_batches(run, texts, tokens, model.max_seq_length or tokens)


def in_order(batches: Batches, count: int) -> torch.Tensor:
    """The vectors of `count` texts as one tensor [texts, width]; at least one text is needed."""
    found: torch.Tensor | None = None
    for numbers, vectors in batches:
        found = vectors.new_empty(count, vectors.shape[1]) if found is None else found
        found[numbers] = vectors
    assert found is not None
    return found


def in_batches(run: Encode, texts: Sequence[str], tokens: int, longest: int) -> Batches:
    """What `encode` gives, where `run` encodes a batch, and texts are cut after `longest` tokens."""
    sizes = [min(len(text.encode()) + 2, longest) for text in texts]  # a text has at most as many tokens as bytes
    order = sorted(range(len(texts)), key=lambda one: -sizes[one])
    start = 0
    while start < len(order):
        batch = order[start : start + max(1, tokens // sizes[order[start]])]
        yield batch, run([texts[one] for one in batch])
        start += len(batch)


def _encode(method: Callable[..., torch.Tensor], device: str, texts: list[str]) -> torch.Tensor:
    try:
        return method(texts, batch_size=len(texts))
    except Exception as error:
        if len(texts) == 1 or not is_out_of_memory(error):
            raise
    free_memory(device)  # outside of the handler: its traceback holds the tensors
    half = len(texts) // 2
    return torch.cat([_encode(method, device, some) for some in (texts[:half], texts[half:])])
