"""In the child: loads the trained model, encodes the texts, and measures every threshold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator
from transformers import PreTrainedModel

from patcher.sandbox.child import Service
from patcher.threshold.messages import Ranking, Sparsity, ThresholdFigures, ThresholdMeasured, ThresholdRequest
from patcher.threshold.sweep import TOP
from patcher.verify.measure.encoding import encode, in_order
from patcher.verify.measure.hardware import confine_on_device
from patcher.verify.measure.models import fresh_model, nan_filled_memory, unmatched_tensors, wrong_buffers
from patcher.verify.measure.serving import measured


def measure(request: ThresholdRequest) -> ThresholdMeasured:
    """Load the model, encode queries and documents, and measure every threshold."""
    return measured(
        request.device,
        ThresholdMeasured,
        partial(_steps, request),
        {request.model: "model"},
        sentence_transformers=sentence_transformers.__version__,
        width=0,
        vocab_size=0,
        raw={},
        rows=(),
    )


def _steps(request: ThresholdRequest, found: ThresholdMeasured, device: str) -> Iterator[ThresholdMeasured]:
    with nan_filled_memory():
        model = SparseEncoder(request.model, trust_remote_code=True, device="cpu", local_files_only=True)
    found = _compare_loaded(model, request, found)
    yield found
    model.to(device)
    raw = {
        kind: in_order(encode(model, list(texts.values()), f"encode_{kind}"), len(texts))
        for kind, texts in (("query", request.queries), ("document", request.documents))
    }
    found = replace(
        found,
        raw={kind: _sparsity(model, embeddings) for kind, embeddings in raw.items()},
        width=raw["document"].shape[1],
        not_finite=sum(int((~torch.isfinite(embeddings)).sum()) for embeddings in raw.values()),
    )
    yield found
    if found.not_finite:
        return
    ids = list(request.documents)
    reference: list[list[int]] | None = None
    for threshold in request.thresholds:
        kept = {
            kind: embeddings if kind in request.uncapped_tasks else torch.where(embeddings < threshold, 0, embeddings)
            for kind, embeddings in raw.items()
        }
        scores = model.similarity(kept["query"], kept["document"])
        best = _ranked(scores, ids)
        reference = reference or best
        ndcg, mrr = _retrieval(model, kept, request) if request.relevant else (None, None)
        row = ThresholdFigures(
            threshold=threshold,
            query=_sparsity(model, kept["query"]),
            document=_sparsity(model, kept["document"]),
            rankings=tuple(_rankings(scores, best, reference, ids)),
            ndcg=ndcg,
            mrr=mrr,
        )
        found = replace(found, rows=(*found.rows, row))
        yield found


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


def _ranked(scores: torch.Tensor, ids: Sequence[str]) -> list[list[int]]:
    """For each query the columns of its best documents: by score, equal scores by id, as the library's evaluators."""
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    order = torch.sort(scores[:, by_id], dim=1, descending=True, stable=True).indices[:, :TOP]
    return [[by_id[column] for column in row] for row in order.tolist()]


def _rankings(
    scores: torch.Tensor, best: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], ids: Sequence[str]
) -> list[Ranking]:
    """The ranking of each query; `best` and `reference` are columns with and without the threshold."""
    found = []
    for row, columns, old in zip(scores, best, reference, strict=True):
        top = tuple(ids[column] for column in columns if row[column] > 0)
        leaders = tuple(ids[int(column)] for column in (row == row.max()).nonzero().flatten()) if top else ()
        found.append(Ranking(top, leaders, tuple(row[list(old)].tolist())))
    return found


def _retrieval(model: Any, kept: Mapping[str, torch.Tensor], request: ThresholdRequest) -> tuple[float, float]:
    """nDCG@10 and MRR@10 by sentence-transformers' own evaluator, which gets the embeddings at hand."""

    class Precomputed(SparseInformationRetrievalEvaluator):  # type: ignore[misc]
        def embed_inputs(self, model: Any, sentences: Any, encode_fn_name: str | None = None, **_: Any) -> Any:
            if encode_fn_name == "query":
                judged = set(self.queries_ids)
                rows = [row for row, key in enumerate(request.queries) if key in judged]
                embeddings = kept["query"][rows]
            else:
                embeddings = kept["document"]
            self._record_sparsity_stats(model, embeddings, "query" if encode_fn_name == "query" else "corpus")
            return embeddings

    evaluator = Precomputed(
        queries=dict(request.queries),
        corpus=dict(request.documents),
        relevant_docs={query: set(documents) for query, documents in request.relevant.items()},
        write_csv=False,
    )
    metrics = evaluator(model)
    name = model.similarity_fn_name
    return float(metrics[f"{name}_ndcg@{TOP}"]), float(metrics[f"{name}_mrr@{TOP}"])


SERVICE = Service(ThresholdRequest, lambda request, scratch: confine_on_device(request.device, scratch), measure)
