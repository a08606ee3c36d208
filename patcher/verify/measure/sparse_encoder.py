"""Loads both models with sentence-transformers exactly as a user would and holds its figures against ours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from patcher.verify.measure.batches import read_texts

_WINDOW = 256  # texts whose embeddings are held together, dense


def chosen(request: dict[str, Any]) -> dict[str, Any]:
    """What a user passes on to the model, where it is not what SparseEncoder does by itself."""
    import torch

    attention = {"attn_implementation": request["attention"]} if request["attention"] else {}
    return attention if request["dtype"] == "float32" else {**attention, "dtype": getattr(torch, request["dtype"])}


def compare(request: dict[str, Any], active: Sequence[int], device: str) -> dict[str, Any]:
    """Figures of `SparseEncoder.sparsity()` before and after, its pooling, and how many texts disagree with `active`.

    `active` are the active dims that we counted for each text. Runs in the guarded child.
    """
    from sentence_transformers import SparseEncoder, __version__

    found: dict[str, Any] = {"version": __version__}
    for name, folder in (("before", request["base"]), ("after", request["patched"])):
        model = SparseEncoder(folder, trust_remote_code=True, device=device, model_kwargs=chosen(request))
        model.max_seq_length = request["max_tokens"]
        texts = (record["text"] for record in read_texts(request["texts"]))
        sums: dict[str, float] = {}
        seen = disagreements = 0
        while window := list(islice(texts, _WINDOW)):
            embeddings = model.encode(
                window, batch_size=request["batch_size"], convert_to_sparse_tensor=False, show_progress_bar=False
            )
            for key, value in model.sparsity(embeddings).items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(window)
            theirs = [int(count) for count in (embeddings > 0).sum(dim=1)]
            disagreements += sum(a != b for a, b in zip(active[seen : seen + len(window)], theirs, strict=True))
            seen += len(window)
        found[name] = {key: value / seen for key, value in sums.items()}
        if name == "after":
            found["disagreements"] = disagreements
            found["pooling"] = type(model[-1]).__name__
    return found
