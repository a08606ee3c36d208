"""In the child: writes the model as one graph, from token ids to the SPLADE vector, and runs both."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
from torch import nn

from patcher.retrieval.embeddings import load_model
from patcher.retrieval.messages import GRAPHS, RUNTIMES, Exported, ExportRequest, Quantized, Ranked
from patcher.sandbox.child import Service
from patcher.sandbox.hook import confine_process
from patcher.verify.measure.hardware import Precision
from patcher.verify.measure.serving import measured

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "vector"
OPSET = 18
BATCH = 4
MAX_GRAPH = 1 << 31  # bytes: the format's own limit

Run = Callable[[list[torch.Tensor]], torch.Tensor]


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
    runtime = RUNTIMES[request.format]
    versions = {runtime: version(runtime), "sentence_transformers": sentence_transformers.__version__}
    empty = {"versions": versions, "error": 0.0, "changed": 0, "largest": 0.0, "roundings": 0, "max_tokens": None}
    return measured("cpu", Exported, partial(_steps, request), {request.model: "model"}, **empty)


def _steps(request: ExportRequest, found: Exported, _: str) -> Iterator[Exported]:
    model = load_model(request.model).eval()
    if any(type(part).__name__ == "Router" for part in model.modules()):
        raise ValueError("a model with separate routes for queries and documents does not fit into one graph")
    if any(_differs_by_side(part) for part in model.modules()):
        raise ValueError("a model that prunes queries and documents differently does not fit into one graph")
    path = Path(request.out) / GRAPHS[request.format]
    first = _tokens(model, request.texts[:BATCH])
    with Precision() as precision:
        Graph(model)(*first)
    run = _write_graph(model, first, path, request.format)
    error, changed, largest = 0.0, 0, 0.0
    for texts in _batches(request.texts):
        theirs = _vectors(model, texts)
        ours = run(_tokens(model, texts))
        error = max(error, _difference(ours, theirs))
        changed += int(((ours > 0) != (theirs > 0)).sum())
        largest = max(largest, float(torch.expm1(theirs.max())))
    yield replace(
        found,
        error=error if math.isfinite(error) else -1.0,
        changed=changed,
        largest=largest,
        roundings=precision.roundings,
        max_tokens=model.max_seq_length,
        quantized=_quantize(model, path, request.ranked) if request.ranked else None,
    )


def _write_graph(model: Any, first: list[torch.Tensor], path: Path, kind: str) -> Run:
    """Write the graph of a model, and load it again."""
    onnx = path.with_suffix(".onnx")
    torch.onnx.export(
        Graph(model),
        tuple(first),
        str(onnx),
        input_names=list(INPUTS),
        output_names=[OUTPUT],
        dynamic_axes={**{name: {0: "batch", 1: "length"} for name in INPUTS}, OUTPUT: {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )
    if kind == "onnx":
        return _onnx(path)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it calls home, and the model would be blamed
    import openvino

    openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)
    return _openvino(path)


def _onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda tokens: torch.from_numpy(session.run([OUTPUT], _inputs(tokens))[0])


def _openvino(path: Path) -> Run:
    import openvino

    # Some processors would compute in bfloat16 otherwise.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda tokens: torch.tensor(compiled(_inputs(tokens))[OUTPUT])


def _quantize(model: Any, path: Path, ranked: Ranked) -> Quantized:
    """Replace the graph by one whose matrices are int8, and measure both on the queries."""
    from onnxruntime.quantization import quantize_dynamic

    small = path.with_suffix(".int8")
    quantize_dynamic(path, small)
    small.replace(path)
    run, error = _onnx(path), 0.0
    sides: list[list[torch.Tensor]] = [[], []]
    for texts in (ranked.queries, ranked.documents):
        found = [(_vectors(model, some), run(_tokens(model, some))) for some in _batches(texts)]
        error = max(error, *(_difference(ours, theirs) for theirs, ours in found))
        for side, vectors in zip(sides, zip(*found, strict=True), strict=True):
            side.append(torch.cat(vectors))
    scores = [queries @ documents.T for queries, documents in sides]
    before, after = (_ndcg(one, torch.tensor(ranked.right)) for one in scores)
    other = int((scores[0].argmax(1) != scores[1].argmax(1)).sum())
    return Quantized(len(ranked.queries), before, after, other, error if math.isfinite(error) else -1.0)


def _ndcg(scores: torch.Tensor, right: torch.Tensor) -> float:
    """The mean nDCG@10 of scores [queries, documents] where one document is right; a tie counts against it."""
    ranks = (scores >= scores.gather(1, right[:, None])).sum(1)
    return float(torch.where(ranks <= 10, 1 / torch.log2(ranks + 1.0), 0.0).mean())


def _batches(texts: Sequence[str]) -> list[list[str]]:
    return [list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]


def _vectors(model: Any, texts: list[str]) -> torch.Tensor:
    found: torch.Tensor = model.encode_document(texts, convert_to_sparse_tensor=False, show_progress_bar=False).float()
    return found


def _inputs(tokens: list[torch.Tensor]) -> dict[str, Any]:
    return dict(zip(INPUTS, (tensor.numpy() for tensor in tokens), strict=True))


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference; infinite if one is no number."""
    difference = (ours - theirs).abs()
    return float(difference.max()) if bool(torch.isfinite(difference).all()) else math.inf


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
