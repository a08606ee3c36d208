"""In the child: loads the trained model, encodes the texts, and measures every point; without the cap too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
from sentence_transformers import SparseEncoder
from transformers import PreTrainedModel

from patcher.sandbox.child import Service
from patcher.threshold.messages import Point, Row, Sparsity, ThresholdMeasured, ThresholdRequest
from patcher.threshold.metrics import best_of
from patcher.threshold.rows import Measurement, Questions
from patcher.threshold.sparse_threshold import prune
from patcher.verify.costs import Counts
from patcher.verify.measure.encoding import encode, in_order
from patcher.verify.measure.hardware import confine_on_device
from patcher.verify.measure.models import fresh_model, nan_filled_memory, unmatched_tensors, wrong_buffers
from patcher.verify.measure.serving import measured

Embeddings = Mapping[str, torch.Tensor]  # by kind of text, query and document: [texts, dimensions]


def measure(request: ThresholdRequest) -> ThresholdMeasured:
    """Load the model, encode queries and documents, and measure every point."""
    folders = {request.model: "model"} | ({request.without_cap: "model without cap"} if request.without_cap else {})
    return measured(
        request.device,
        ThresholdMeasured,
        partial(_steps, request),
        folders,
        sentence_transformers=sentence_transformers.__version__,
        width=0,
        vocab_size=0,
        raw={},
        rows=(),
    )


def _steps(request: ThresholdRequest, found: ThresholdMeasured, device: str) -> Iterator[ThresholdMeasured]:
    model = _load(request.model)
    found = _compare_loaded(model, request, found)
    yield found
    raw = _encode(model.to(device), request)
    found = replace(
        found,
        raw={kind: _sparsity(model, embeddings) for kind, embeddings in raw.items()},
        width=raw["document"].shape[1],
        not_finite=sum(int((~torch.isfinite(embeddings)).sum()) for embeddings in raw.values()),
    )
    yield found
    if found.not_finite:
        return
    questions = Questions.of(list(request.queries), list(request.documents), request.relevant, request.expected)
    unpruned = _score(model, raw, request.points[0], questions)
    for point in request.points:
        kept = {kind: _prune(embeddings, kind, point, request) for kind, embeddings in raw.items()}
        found = replace(found, rows=(*found.rows, _row(model, kept, point, questions, unpruned)))
        yield found
    if request.without_cap is not None:
        del raw
        model = _load(request.without_cap).to(device)
        found = replace(found, without_cap=_row(model, _encode(model, request), request.points[0], questions, unpruned))
        yield found


def _load(folder: str) -> Any:
    with nan_filled_memory():
        return SparseEncoder(folder, trust_remote_code=True, device="cpu", local_files_only=True)


def _encode(model: Any, request: ThresholdRequest) -> dict[str, torch.Tensor]:
    return {
        kind: in_order(encode(model, list(texts.values()), f"encode_{kind}"), len(texts))
        for kind, texts in (("query", request.queries), ("document", request.documents))
    }


def _prune(embeddings: torch.Tensor, kind: str, point: Point, request: ThresholdRequest) -> torch.Tensor:
    return embeddings if kind in request.uncapped_tasks else prune(embeddings.clone(), *point.side(kind))


def _score(model: Any, kept: Embeddings, point: Point, questions: Questions) -> Measurement:
    scores = model.similarity(kept["query"], kept["document"]).double().numpy()
    return Measurement(scores, best_of(scores, questions.documents))


def _row(model: Any, kept: Embeddings, point: Point, questions: Questions, unpruned: Measurement) -> Row:
    return questions.row(
        point,
        {kind: _sparsity(model, embeddings) for kind, embeddings in kept.items()},
        {kind: _count(embeddings) for kind, embeddings in kept.items()},
        _score(model, kept, point, questions),
        unpruned,
    )


def _count(embeddings: torch.Tensor) -> Counts:
    active = embeddings > 0
    lengths = active.sum(1)
    return Counts(active.sum(0).numpy().astype(np.int64), len(active), int((lengths == 0).sum()), int(lengths.max()))


def _compare_loaded(model: Any, request: ThresholdRequest, found: ThresholdMeasured) -> ThresholdMeasured:
    """Compare every masked LM of the model with its checkpoint (names) and with a fresh one (buffers)."""
    loaded = [part for part in model.modules() if isinstance(part, PreTrainedModel) and hasattr(part, "classifier")]
    folders = [Path(request.model) / folder for folder in request.encoders]
    if len(loaded) != len(folders):
        raise ValueError(f"{len(loaded)} masked LMs were loaded instead of {len(folders)}")
    for part, folder in zip(loaded, folders, strict=True):
        fresh = fresh_model(str(folder))
        count, wrong = wrong_buffers(part, fresh)
        unused, missing = unmatched_tensors(part, fresh, [str(path) for path in sorted(folder.glob("*.safetensors"))])
        found = replace(
            found,
            buffers=found.buffers + count,
            buffers_wrong=(*found.buffers_wrong, *wrong),
            tensors=found.tensors + len(part.state_dict()),
            tensors_changed=(*found.tensors_changed, *sorted(missing)),
            tensors_unused=(*found.tensors_unused, *sorted(unused)),  # transformers leaves them out, of the base too
            vocab_size=int(part.config.vocab_size),
        )
    return found


def _sparsity(model: Any, embeddings: torch.Tensor) -> Sparsity:
    figures = model.sparsity(embeddings)
    return Sparsity(float(figures["active_dims"]), float(figures["sparsity_ratio"]))


SERVICE = Service(ThresholdRequest, lambda request, scratch: confine_on_device(request.device, scratch), measure)
