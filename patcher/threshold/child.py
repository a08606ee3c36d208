"""The child process of a threshold: loads the trained model, encodes the texts, and measures every threshold.

Started by `guard.run_child` as `python -m patcher.threshold.child REQUEST ANSWER`, both JSON files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.sandbox.guard import await_request, run_main
from patcher.threshold.sweep import TOP

if TYPE_CHECKING:
    import torch


def main(asked: str, answered: str) -> None:
    """Measure what the request asks for. An error of the model's code is part of the answer, not a crash."""
    import sentence_transformers.sparse_encoder.evaluation  # noqa: F401 - all libraries, before the doors are shut

    import patcher.verify.measure.models  # noqa: F401
    from patcher.verify.measure.hardware import confine_on

    request = await_request(asked)
    confine_on(request["device"], Path(asked).parent, [request["model"]])
    Path(answered).write_text(json.dumps(measure(request)), "utf-8")


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Load the model, encode queries and documents, and return the fields of `checks.Measured`.

    The request: `model` (folder), `encoders` (its sub-folders with a masked LM), `queries` and `documents` (texts by
    id), `relevant` (ids by query), `thresholds` (0 first), `uncapped_tasks`, `device`, `batch_size`.
    """
    from patcher.verify.measure.hardware import choose_device, environment

    device = choose_device(request["device"])
    answer: dict[str, Any] = {
        "tensors": 0,
        "tensors_unmatched": [],
        "buffers": 0,
        "buffers_wrong": [],
        "not_finite": 0,
        "width": 0,
        "vocab_size": 0,
        "raw": {},
        "rows": [],
        "environment": environment(device),
    }
    try:
        _measure(request, answer, device)
    except Exception as error:  # whatever remote code raises is a finding about the model
        answer["failure"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return answer


def _measure(request: dict[str, Any], answer: dict[str, Any], device: str) -> None:
    import sentence_transformers
    import torch
    from sentence_transformers import SparseEncoder

    from patcher.verify.measure.models import marked_memory

    answer["environment"]["sentence_transformers"] = sentence_transformers.__version__
    with marked_memory():
        model = SparseEncoder(request["model"], trust_remote_code=True, device="cpu", local_files_only=True)
    _compare_loaded(model, request, answer)
    model.to(device)
    raw = {}
    for kind, encode in (("query", model.encode_query), ("document", model.encode_document)):
        texts = list(request[KINDS[kind]].values())
        raw[kind] = encode(
            texts,
            batch_size=request["batch_size"],
            convert_to_sparse_tensor=False,
            save_to_cpu=True,
            show_progress_bar=False,
        )
        answer["raw"][kind] = _figures(model, raw[kind])
    answer["width"] = raw["document"].shape[1]
    answer["not_finite"] = sum(int((~torch.isfinite(embeddings)).sum()) for embeddings in raw.values())
    if answer["not_finite"]:
        return
    reference: list[list[int]] | None = None
    for threshold in request["thresholds"]:
        kept = {
            kind: embeddings
            if kind in request["uncapped_tasks"]
            else torch.where(embeddings < threshold, 0, embeddings)
            for kind, embeddings in raw.items()
        }
        scores = model.similarity(kept["query"], kept["document"])
        best = _ranked(scores, list(request["documents"]))
        reference = reference or best
        answer["rows"].append(
            {
                "threshold": threshold,
                "query": _figures(model, kept["query"]),
                "document": _figures(model, kept["document"]),
                "rankings": _rankings(scores, best, reference, list(request["documents"])),
                **_retrieval(model, kept, request),
            }
        )


KINDS = {"query": "queries", "document": "documents"}


def _compare_loaded(model: Any, request: Mapping[str, Any], answer: dict[str, Any]) -> None:
    """Hold every masked LM of the model against its checkpoint (names) and against a fresh one (buffers)."""
    from safetensors import safe_open
    from transformers import PreTrainedModel

    from patcher.verify.measure.models import fresh_model, wrong_buffers

    loaded = [part for part in model.modules() if isinstance(part, PreTrainedModel) and hasattr(part, "classifier")]
    folders = [Path(request["model"]) / folder for folder in request["encoders"]]
    if len(loaded) != len(folders):
        raise ValueError(f"{len(loaded)} masked LMs were loaded instead of {len(folders)}")
    for part, folder in zip(loaded, folders, strict=True):
        count, wrong = wrong_buffers(part, fresh_model(str(folder)))
        answer["buffers"] += count
        answer["buffers_wrong"] += wrong
        saved: set[str] = set()
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(str(path), framework="pt") as tensors:
                saved.update(tensors.keys())
        answer["tensors"] += len(saved)
        answer["tensors_unmatched"] += sorted(saved ^ set(part.state_dict()))
        answer["vocab_size"] = int(part.config.vocab_size)


def _figures(model: Any, embeddings: torch.Tensor) -> dict[str, float]:
    return {name: float(value) for name, value in model.sparsity(embeddings).items()}


def _ranked(scores: torch.Tensor, ids: Sequence[str]) -> list[list[int]]:
    """For each query the columns of its best documents: by score, equal scores by id, as the library's evaluators."""
    import torch

    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    order = torch.sort(scores[:, by_id], dim=1, descending=True, stable=True).indices[:, :TOP]
    return [[by_id[column] for column in row] for row in order.tolist()]


def _rankings(
    scores: torch.Tensor, best: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], ids: Sequence[str]
) -> list[tuple[list[str], list[str], list[float]]]:
    """The fields of `sweep.Ranking` for each query."""
    found = []
    for row, columns, old in zip(scores, best, reference, strict=True):
        top = [ids[column] for column in columns if row[column] > 0]
        leaders = [ids[int(column)] for column in (row == row.max()).nonzero().flatten()] if top else []
        found.append((top, leaders, row[list(old)].tolist()))
    return found


def _retrieval(model: Any, kept: Mapping[str, torch.Tensor], request: Mapping[str, Any]) -> dict[str, float | None]:
    """nDCG@10 and MRR@10 by sentence-transformers' own evaluator, fed with the embeddings at hand."""
    if not request["relevant"]:
        return {"ndcg": None, "mrr": None}
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    class Fed(SparseInformationRetrievalEvaluator):  # type: ignore[misc]
        def embed_inputs(self, model: Any, sentences: Any, encode_fn_name: str | None = None, **_: Any) -> Any:
            if encode_fn_name == "query":
                judged = set(self.queries_ids)
                rows = [row for row, key in enumerate(request["queries"]) if key in judged]
                embeddings = kept["query"][rows]
            else:
                embeddings = kept["document"]
            self._record_sparsity_stats(model, embeddings, "query" if encode_fn_name == "query" else "corpus")
            return embeddings

    evaluator = Fed(
        queries=request["queries"],
        corpus=request["documents"],
        relevant_docs={query: set(documents) for query, documents in request["relevant"].items()},
        write_csv=False,
    )
    metrics = evaluator(model)
    name = model.similarity_fn_name
    return {"ndcg": float(metrics[f"{name}_ndcg@{TOP}"]), "mrr": float(metrics[f"{name}_mrr@{TOP}"])}


if __name__ == "__main__":
    run_main(main)
