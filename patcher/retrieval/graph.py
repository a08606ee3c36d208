"""In the child: writes the model as one ONNX graph, from token ids to the SPLADE vector, and runs both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import onnxruntime
import sentence_transformers
import torch
from torch import nn

from patcher.retrieval.embeddings import load_model
from patcher.retrieval.messages import Exported, ExportRequest
from patcher.sandbox.child import Service
from patcher.sandbox.hook import confine_process
from patcher.verify.measure.hardware import Precision
from patcher.verify.measure.serving import measured

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "vector"
OPSET = 18
BATCH = 4
MAX_GRAPH = 1 << 31  # bytes: the format's own limit


class Graph(nn.Module):
    """A SparseEncoder model as a function of tensors [batch, length] that returns vectors [batch, width]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The vectors of tokenised texts."""
        features = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors


def export(request: ExportRequest) -> Exported:
    """Write the graph, and compare it with what the model makes of the texts."""
    versions = {"onnxruntime": onnxruntime.__version__, "sentence_transformers": sentence_transformers.__version__}
    empty = {"versions": versions, "error": 0.0, "changed": 0, "largest": 0.0, "roundings": 0, "max_tokens": None}
    return measured("cpu", Exported, partial(_steps, request), {request.model: "model"}, **empty)


def _steps(request: ExportRequest, found: Exported, _: str) -> Iterator[Exported]:
    model = load_model(request.model).eval()
    if any(type(part).__name__ == "Router" for part in model.modules()):
        raise ValueError("a model with one route for queries and one for documents is not one graph")
    if any(_differs_by_side(part) for part in model.modules()):
        raise ValueError("a model that prunes queries and documents differently is not one graph")
    graph = Graph(model)
    first = _tokens(model, request.texts[:BATCH])
    dynamic = {name: {0: "batch", 1: "length"} for name in INPUTS}
    with Precision() as precision:
        graph(*first)
    torch.onnx.export(
        graph,
        tuple(first),
        request.out,
        input_names=list(INPUTS),
        output_names=[OUTPUT],
        dynamic_axes={**dynamic, OUTPUT: {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(request.out, providers=["CPUExecutionProvider"])
    error, changed, largest = 0.0, 0, 0.0
    for start in range(0, len(request.texts), BATCH):
        texts = list(request.texts[start : start + BATCH])
        theirs = model.encode_document(texts, convert_to_sparse_tensor=False, show_progress_bar=False).float()
        inputs = dict(zip(INPUTS, (tensor.numpy() for tensor in _tokens(model, texts)), strict=True))
        ours = torch.from_numpy(session.run([OUTPUT], inputs)[0])
        difference = (ours - theirs).abs()
        finite = bool(torch.isfinite(difference).all())
        error = max(error, float(difference.max())) if finite else math.inf
        changed += int(((ours > 0) != (theirs > 0)).sum())
        largest = max(largest, float(torch.expm1(theirs.max())))
    yield replace(
        found,
        error=error if math.isfinite(error) else -1.0,
        changed=changed,
        largest=largest,
        roundings=precision.roundings,
        max_tokens=model.max_seq_length,
    )


def _differs_by_side(part: Any) -> bool:
    """Whether a module is a SparseThreshold whose settings for queries are not those for documents."""
    tops = (getattr(part, "query_top_k", None), getattr(part, "document_top_k", None))
    own = getattr(part, "query_threshold", None)
    return tops[0] != tops[1] or (own is not None and own != getattr(part, "threshold", own))


def _tokens(model: Any, texts: Any) -> list[torch.Tensor]:
    found = model.tokenizer(
        list(texts), padding=True, truncation=True, max_length=model.max_seq_length, return_tensors="pt"
    )
    return [found[name] for name in INPUTS]


SERVICE = Service(ExportRequest, lambda _, scratch: confine_process(scratch, file_size=MAX_GRAPH), export)
