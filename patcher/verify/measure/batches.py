"""Probe texts as batches: read from a file, tokenised once, sorted by length within a window."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from patcher.verify.texts.lines import read_objects

WINDOW = 2048  # texts that are sorted together
_SLICE = 256  # texts that are tokenised together


@dataclass(frozen=True)
class Encoded:
    """One text as token ids; `index` counts from 0 in the order of the file."""

    index: int
    ids: array[int]


def read_texts(path: str) -> Iterator[dict[str, Any]]:
    """The texts of the parent's JSON lines file, one at a time: objects with `id`, `language` and `text`."""
    for _, record in read_objects(Path(path), "The parent process wrote it.", limited=False):
        yield dict(record)


def windows(path: str, tokenizer: Any, max_tokens: int) -> Iterator[list[Encoded]]:
    """The texts of a file, tokenised and truncated to `max_tokens`, in sorted windows of `WINDOW` texts."""
    texts = enumerate(record["text"] for record in read_texts(path))
    while True:
        window: list[Encoded] = []
        while len(window) < WINDOW and (some := list(islice(texts, min(_SLICE, WINDOW - len(window))))):
            found = tokenizer(
                [text for _, text in some],
                truncation=True,
                max_length=max_tokens,
                return_token_type_ids=False,
                return_attention_mask=False,
            )["input_ids"]
            window += [Encoded(index, array("i", ids)) for (index, _), ids in zip(some, found, strict=True)]
        if not window:
            return
        # The longest first: a lack of memory shows at once. Equal lengths keep their order.
        yield sorted(window, key=lambda one: -len(one.ids))


def batches(window: list[Encoded], size: int, max_batch_tokens: int) -> Iterator[list[Encoded]]:
    """Split a sorted window into batches of at most `size` texts and, padding included, `max_batch_tokens` tokens."""
    start = 0
    while start < len(window):
        longest = max(1, len(window[start].ids))
        stop = start + max(1, min(size, max_batch_tokens // longest))
        yield window[start:stop]
        start = stop


def collate(batch: list[Encoded], pad: int, device: str) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` [batch, tokens], padded on the right."""
    longest = max(len(one.ids) for one in batch)
    ids = torch.full((len(batch), longest), pad, dtype=torch.int64)
    mask = torch.zeros((len(batch), longest), dtype=torch.int64)
    for row, one in enumerate(batch):
        ids[row, : len(one.ids)] = torch.tensor(one.ids, dtype=torch.int64)
        mask[row, : len(one.ids)] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
