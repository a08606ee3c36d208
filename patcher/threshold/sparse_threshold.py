"""A sentence-transformers module that sets activations below a threshold to zero; the last module of a model.

A masked-LM head whose logits are capped by a sigmoid gives no zeros: after log(1 + ReLU(x)) every dimension of a SPLADE
vector is active, most of them barely. This module removes those, so that `encode_query` and `encode_document` return
truly sparse vectors. Its settings are in the config.json of this module's folder:

    threshold          activations below it become 0
    query_threshold    another threshold for queries (null: the same)
    query_top_k        of what is left of a query, keep this many largest activations (null: all)
    document_top_k     the same of a document
    uncapped_tasks     tasks that are left unchanged: their route has no capped head (inference-free queries)
    dropped_dims       dimensions that become 0 before anything else: the bos token, if every vector has it

sentence-transformers loads this file with trust_remote_code=True. Written by splade-patcher; Apache-2.0.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

try:
    from sentence_transformers.base.modules import Module
except ImportError:  # sentence-transformers before 5.4
    from sentence_transformers.models import Module


def prune(embeddings: torch.Tensor, threshold: float, top_k: int | None, dropped: Sequence[int] = ()) -> torch.Tensor:
    """Zero some dimensions, what is below the threshold, then all but the `top_k` largest; [texts, dimensions].

    In place where no gradient needs the values: a dense batch may be the largest tensor after the logits.
    """
    change = embeddings.masked_fill if embeddings.requires_grad else embeddings.masked_fill_
    small = embeddings < threshold
    small[:, list(dropped)] = True
    kept = change(small, 0)
    if top_k is None or top_k >= kept.shape[-1]:
        return kept
    values, columns = kept.topk(top_k, dim=-1)
    return torch.zeros_like(kept).scatter(-1, columns, values)


class SparseThreshold(Module):  # type: ignore[misc]
    """Prunes "sentence_embedding" ([texts, dimensions], any dtype and device); what is no query is a document."""

    forward_kwargs = {"task"}  # noqa: RUF012 - the library passes on only what a module names here
    config_keys = ["threshold", "query_threshold", "query_top_k", "document_top_k", "uncapped_tasks", "dropped_dims"]  # noqa: RUF012 - the library's

    def __init__(
        self,
        threshold: float,
        uncapped_tasks: Sequence[str] = (),
        query_threshold: float | None = None,
        query_top_k: int | None = None,
        document_top_k: int | None = None,
        dropped_dims: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.threshold = float(threshold)
        self.uncapped_tasks = list(uncapped_tasks)
        self.query_threshold = query_threshold
        self.query_top_k = query_top_k
        self.document_top_k = document_top_k
        self.dropped_dims = list(dropped_dims)

    def forward(self, features: dict[str, Any], task: str | None = None, **_: Any) -> dict[str, Any]:
        """Prune the embeddings, unless the task is an uncapped one. A router leaves it in the features."""
        task = task or features.get("task")
        if task not in self.uncapped_tasks:
            threshold, top_k = self.threshold, self.document_top_k
            if task == "query":
                threshold = threshold if self.query_threshold is None else self.query_threshold
                top_k = self.query_top_k
            features["sentence_embedding"] = prune(features["sentence_embedding"], threshold, top_k, self.dropped_dims)
        return features

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Save the configuration, and this file where the library will look for it: in the model's own folder.

        The library copies it into the module's folder only, from where it can't be loaded again.
        """
        self.save_config(output_path)
        target = Path(output_path).resolve().parent / "sparse_threshold.py"
        if not (target.exists() and target.samefile(__file__)):
            shutil.copyfile(__file__, target)

    def __repr__(self) -> str:
        return f"SparseThreshold({self.get_config_dict()})"
