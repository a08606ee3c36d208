"""In the child: loads the model and writes the sparse vectors of one window of texts after the other."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
from sentence_transformers import SparseEncoder

from patcher.retrieval.messages import Encoded, EncodeRequest, chunk_name
from patcher.retrieval.vectors import Vectors
from patcher.sandbox.child import Service
from patcher.verify.measure.hardware import confine_on_device, free_memory, is_out_of_memory
from patcher.verify.measure.models import nan_filled_memory
from patcher.verify.measure.serving import measured

# A text has at most as many tokens as bytes. The logits of a batch take 4 bytes for each token and dimension.
BATCH_TOKENS = {"cpu": 2048, "mps": 8192, "cuda": 32768}

Encode = Callable[[Sequence[str]], torch.Tensor]


def encode(request: EncodeRequest) -> Encoded:
    """Load the model, and write the vectors of all texts."""
    return measured(
        request.device,
        Encoded,
        partial(_steps, request),
        {request.model: "model"},
        sentence_transformers=sentence_transformers.__version__,
        terms=(),
        seconds=0.0,
    )


def _steps(request: EncodeRequest, found: Encoded, device: str) -> Iterator[Encoded]:
    model = load_model(request.model, request.max_tokens)
    model.to(device)
    found = replace(found, terms=_terms(model.tokenizer))
    yield found
    started_at = time.monotonic()
    budget = request.batch_tokens or BATCH_TOKENS[device]
    longest = model.max_seq_length or budget
    for texts in request.inputs:
        encode = partial(_encode, model, texts.kind, request.max_active_dims)
        with open(texts.path, encoding="utf-8") as lines:
            number = 0
            while window := [json.loads(line) for line in islice(lines, request.window)]:
                vectors = _encode_window(encode, window, budget, longest)
                _write(Path(request.out) / chunk_name(texts.kind, number), vectors)
                number += 1
    yield replace(found, seconds=time.monotonic() - started_at)


def load_model(folder: str, max_tokens: int | None = None) -> Any:
    """The SparseEncoder of a folder, on the CPU. Raises ValueError where it does not pool as SPLADE does."""
    with nan_filled_memory():
        model = SparseEncoder(folder, trust_remote_code=True, device="cpu", local_files_only=True)
    if not any(type(part).__name__ == "SpladePooling" for part in model.modules()):
        raise ValueError("sentence-transformers finds no masked LM with SPLADE pooling in this model")
    if max_tokens is not None:
        model.max_seq_length = min(max_tokens, model.max_seq_length or max_tokens)
    return model


def _encode(model: Any, kind: str, max_active_dims: int | None, texts: Sequence[str]) -> torch.Tensor:
    """The vectors of a batch [texts, width]; a batch that does not fit into memory is halved."""
    run = model.encode_query if kind == "query" else model.encode_document
    try:
        vectors: torch.Tensor = run(
            list(texts),
            batch_size=len(texts),
            convert_to_sparse_tensor=False,  # rows of a sparse tensor are slow to take apart
            save_to_cpu=True,
            show_progress_bar=False,
            max_active_dims=max_active_dims,
        )
    except Exception as error:
        if len(texts) == 1 or not is_out_of_memory(error):
            raise
    else:
        return vectors
    free_memory(model.device.type)
    half = len(texts) // 2
    return torch.cat([_encode(model, kind, max_active_dims, some) for some in (texts[:half], texts[half:])])


def _encode_window(encode: Encode, texts: Sequence[str], budget: int, longest: int) -> Vectors:
    """The vectors of a window in the order of its texts, which are encoded in batches of similar length."""
    sizes = [min(len(text.encode()) + 2, longest) for text in texts]
    order = sorted(range(len(texts)), key=lambda one: -sizes[one])
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    width = start = 0
    while start < len(order):
        batch = order[start : start + max(1, budget // sizes[order[start]])]
        dense = encode([texts[one] for one in batch]).float()
        if not torch.isfinite(dense).all():
            raise ValueError("an embedding holds numbers that are not finite")
        for one, row in zip(batch, dense, strict=True):
            active = (row > 0).nonzero().flatten()
            found[one] = (active, row[active])
        width, start = dense.shape[1], start + len(batch)
    rows = [found[one] for one in range(len(texts))]
    return Vectors(
        width,
        torch.tensor([len(active) for active, _ in rows], dtype=torch.int32).numpy(),
        torch.cat([active for active, _ in rows]).int().numpy(),
        torch.cat([values for _, values in rows]).numpy(),
    )


def _write(path: Path, vectors: Vectors) -> None:
    partial_file = path.with_suffix(".partial")
    partial_file.write_bytes(vectors.to_bytes())
    os.replace(partial_file, path)


def _terms(tokenizer: Any) -> tuple[str, ...]:
    """Each token as people write it: letters, not the bytes of a byte-level vocabulary."""
    special = set(tokenizer.all_special_tokens)

    def term(token: str) -> str:
        text = token if token in special else str(tokenizer.convert_tokens_to_string([token]))
        return text.strip() or token

    return tuple(map(term, tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))))


SERVICE = Service(EncodeRequest, lambda request, scratch: confine_on_device(request.device, scratch), encode)
