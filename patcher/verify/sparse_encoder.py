"""Loads both models with sentence-transformers exactly as a user would and holds its figures against ours."""

from __future__ import annotations

from typing import Any


def compare(request: dict[str, Any], active: list[int], device: str) -> dict[str, Any]:
    """Figures of `SparseEncoder.sparsity()` before and after, its pooling, and how many texts disagree with `active`.

    `active` are the active dims that we counted for each text. Runs in the guarded child.
    """
    from sentence_transformers import SparseEncoder, __version__

    found: dict[str, Any] = {"version": __version__}
    for name, folder in (("before", request["base"]), ("after", request["patched"])):
        model = SparseEncoder(folder, trust_remote_code=True, device=device)
        model.max_seq_length = request["max_tokens"]
        embeddings = model.encode(
            request["texts"], batch_size=request["batch_size"], convert_to_sparse_tensor=False, show_progress_bar=False
        )
        found[name] = {key: float(value) for key, value in model.sparsity(embeddings).items()}
        if name == "after":
            theirs = [int(count) for count in (embeddings > 0).sum(dim=1)]
            found["disagreements"] = sum(a != b for a, b in zip(active, theirs, strict=True))
            found["pooling"] = type(model[-1]).__name__
    return found
