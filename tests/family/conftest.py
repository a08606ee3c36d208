"""Repositories of the family as they lie about: pickled weights in one file and in shards, and trained models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import MINI
from tests.threshold.conftest import capped, capped_once, hand_made_once, loading  # noqa: F401 - the trained ones

EMBEDDING, OUTPUT = "embedding.word_embedding.weight", "classifier.emb2vocab.weight"
Pickled = Callable[..., Path]


@pytest.fixture
def pickled(mini: Path) -> Pickled:
    """The miniature with its weights pickled: `tied` lets two names share one memory, `shards` splits the file."""

    def make(tied: bool = False, shards: int = 1) -> Path:
        tensors = load_file(mini / "model.safetensors")
        if tied:
            tensors[OUTPUT] = tensors[EMBEDDING]
        (mini / "model.safetensors").unlink()
        if shards == 1:
            torch.save(tensors, mini / "pytorch_model.bin")
            return mini
        names = sorted(tensors)
        weight_map = {}
        for shard in range(shards):
            file = f"pytorch_model-{shard + 1:05}-of-{shards:05}.bin"
            part = {name: tensors[name] for name in names[shard::shards]}
            weight_map |= dict.fromkeys(part, file)
            torch.save(part, mini / file)
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (mini / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        return mini

    return make


@pytest.fixture
def trained(capped_once: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A capped SparseEncoder model with the code as published, in a folder with a name of its own."""
    return shutil.copytree(capped_once, tmp_path / f"trained-{tmp_path.name}")


__all__ = ["MINI"]
