"""In the child: loads the model and writes the sparse vectors of one window of texts after the other."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
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
from patcher.verify.measure.encoding import Batches
from patcher.verify.measure.encoding import encode as encode_texts
from patcher.verify.measure.hardware import confine_on_device
from patcher.verify.measure.models import nan_filled_memory
from patcher.verify.measure.serving import measured


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
    for texts in request.inputs:
        method = f"encode_{texts.kind}"
        with open(texts.path, encoding="utf-8") as lines:
            number = 0
            while window := [json.loads(line) for line in islice(lines, request.window)]:
                batches = encode_texts(
                    model, window, method, request.batch_tokens, max_active_dims=request.max_active_dims
                )
                _write(Path(request.out) / chunk_name(texts.kind, number), _vectors(batches, len(window)))
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


def _vectors(batches: Batches, texts: int) -> Vectors:
    """The vectors of a window, in the order of its texts."""
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    width = 0
    for numbers, dense in batches:
        if not torch.isfinite(dense).all():
            raise ValueError("an embedding holds numbers that are not finite")
        for one, row in zip(numbers, dense.float(), strict=True):
            active = (row > 0).nonzero().flatten()
            found[one] = (active, row[active])
        width = dense.shape[1]
    rows = [found[one] for one in range(texts)]
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
