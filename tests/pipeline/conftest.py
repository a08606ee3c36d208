"""Repositories of the family as they lie about: pickled weights in one file and in shards, and trained models."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

EMBEDDING, OUTPUT = "embedding.word_embedding.weight", "classifier.emb2vocab.weight"
Pickled = Callable[..., Path]


def pickle_weights(folder: Path, tied: bool = False, shards: int = 1) -> Path:
    """Replace the safetensors of a miniature: `tied` lets two names share one memory, `shards` splits the file."""
    tensors = load_file(folder / "model.safetensors")
    if tied:
        tensors[OUTPUT] = tensors[EMBEDDING]
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin")
        return folder
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"pytorch_model-{shard + 1:05}-of-{shards:05}.bin"
        part = {name: tensors[name] for name in names[shard::shards]}
        weight_map |= dict.fromkeys(part, file)
        torch.save(part, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def pickled(mini: Path) -> Pickled:
    """The miniature with its weights pickled, as `pickle_weights` does it."""
    return partial(pickle_weights, mini)
