"""Loads models with sentence-transformers as a user would, and compares its figures with ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SparseEncoder, __version__
from sentence_transformers.util import import_module_class

from patcher.patching.record import SENTENCE
from patcher.planning.layout import MODULES
from patcher.verify.measure.batches import read_texts
from patcher.verify.measure.encoding import encode
from patcher.verify.measure.models import nan_filled_memory
from patcher.verify.messages import EncoderFigures, EncoderLoaded, Request

_WINDOW = 256  # texts that are sorted together


def _load(folder: str, request: Request, device: str, kind: Any = SparseEncoder) -> Any:
    """The model of a folder as a user loads it, with what a user passes on other than the defaults of its class."""
    kwargs: dict[str, Any] = {"attn_implementation": request.attention} if request.attention else {}
    if request.dtype != "float32":
        kwargs["dtype"] = getattr(torch, request.dtype)
    with nan_filled_memory():
        model = kind(folder, trust_remote_code=True, device="cpu", local_files_only=True, model_kwargs=kwargs)
    model.to(device)
    model.max_seq_length = request.max_tokens
    return model


def load(request: Request, device: str) -> EncoderLoaded:
    """Load the patched folder as a user of sentence-transformers would, and encode the texts."""
    kind = SentenceTransformer if request.loaded_by == SENTENCE else SparseEncoder
    model = _load(request.patched, request, device, kind)
    kinds = {type(module).__name__ for module in model.modules()}
    texts = [record["text"] for record in read_texts(request.texts)]
    batches = encode(model, texts, "encode_document")
    return EncoderLoaded(
        version=__version__,
        splade="SpladePooling" in kinds and "SparseAutoEncoder" not in kinds,  # which it adds with random weights
        not_finite=sum(int((~torch.isfinite(vectors)).sum()) for _, vectors in batches),
        loaded_by=kind.__name__,
        other_modules=_other_modules(model, Path(request.patched)),
    )


def _other_modules(model: Any, folder: Path) -> tuple[str, ...]:
    """The names of the loaded modules; none where they are those of modules.json, or where there is no such file."""
    if not (folder / MODULES).is_file():
        return ()
    types = [entry["type"] for entry in json.loads((folder / MODULES).read_bytes())]
    options = {"trust_remote_code": True, "local_files_only": True}
    listed = [import_module_class(one, str(folder), **options).__name__ for one in types]
    loaded = [type(module).__name__ for module in model]
    return tuple(loaded) if loaded != listed else ()


def compare(request: Request, active: Sequence[int], device: str) -> EncoderFigures:
    """Figures of `SparseEncoder.sparsity()` for both models, the pooling, and how many texts disagree with `active`.

    `active` are the active dims of the patched model that we counted for each text.
    """
    assert request.base is not None
    figures, disagreements, pooling = [], 0, ""
    for folder in (request.base.folder, request.patched):
        model = _load(folder, request, device)
        pooling = type(model[-1]).__name__
        texts = (record["text"] for record in read_texts(request.texts))
        sums: dict[str, float] = {}
        seen = disagreements = 0
        while window := list(islice(texts, _WINDOW)):
            for numbers, vectors in encode(model, window):
                for key, value in model.sparsity(vectors).items():
                    sums[key] = sums.get(key, 0.0) + float(value) * len(numbers)
                theirs = (vectors > 0).sum(dim=1).tolist()
                disagreements += sum(active[seen + one] != count for one, count in zip(numbers, theirs, strict=True))
            seen += len(window)
        figures.append({key: value / seen for key, value in sums.items()})
    return EncoderFigures(
        version=__version__, base=figures[0], patched=figures[1], disagreements=disagreements, pooling=pooling
    )
