"""Loads both models with sentence-transformers as a user would, and compares its figures with ours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from patcher.verify.measure.batches import read_texts
from patcher.verify.messages import EncoderFigures, PairRequest, Request

_WINDOW = 256  # texts whose embeddings are held together, dense


def model_kwargs(request: Request) -> dict[str, Any]:
    """What a user passes on to the model, other than the defaults of SparseEncoder."""
    import torch

    attention = {"attn_implementation": request.attention} if request.attention else {}
    return attention if request.dtype == "float32" else {**attention, "dtype": getattr(torch, request.dtype)}


def compare(request: PairRequest, active: Sequence[int], device: str) -> EncoderFigures:
    """Figures of `SparseEncoder.sparsity()` for both models, the pooling, and how many texts disagree with `active`.

    `active` are the active dims of the patched model that we counted for each text.
    """
    from sentence_transformers import SparseEncoder, __version__

    figures, disagreements, pooling = [], 0, ""
    for folder in (request.base, request.patched):
        model = SparseEncoder(folder, trust_remote_code=True, device=device, model_kwargs=model_kwargs(request))
        model.max_seq_length = request.max_tokens
        pooling = type(model[-1]).__name__
        texts = (record["text"] for record in read_texts(request.texts))
        sums: dict[str, float] = {}
        seen = disagreements = 0
        while window := list(islice(texts, _WINDOW)):
            embeddings = model.encode(
                window, batch_size=request.batch_size, convert_to_sparse_tensor=False, show_progress_bar=False
            )
            for key, value in model.sparsity(embeddings).items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(window)
            theirs = [int(count) for count in (embeddings > 0).sum(dim=1)]
            disagreements += sum(a != b for a, b in zip(active[seen : seen + len(window)], theirs, strict=True))
            seen += len(window)
        figures.append({key: value / seen for key, value in sums.items()})
    return EncoderFigures(
        version=__version__, base=figures[0], patched=figures[1], disagreements=disagreements, pooling=pooling
    )
