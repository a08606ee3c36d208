"""A sentence-transformers module that sets activations below a threshold to zero; the last module of a model.

A masked-LM head whose logits are capped by a sigmoid gives no zeros: after log(1 + ReLU(x)) every dimension of a SPLADE
vector is active, most of them barely. This module removes those, so that `encode_query` and `encode_document` return
truly sparse vectors. Its settings are in the config.json of this module's folder:

    threshold        activations below it become 0
    uncapped_tasks   tasks that are left unchanged: their route has no capped head (inference-free queries)

sentence-transformers loads this file with trust_remote_code=True. Written by splade-patcher; Apache-2.0.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from sentence_transformers.base.modules import Module
except ImportError:  # sentence-transformers before 5.4
    from sentence_transformers.models import Module


class SparseThreshold(Module):  # type: ignore[misc]
    """Zeroes what is below `threshold` in "sentence_embedding" ([texts, dimensions], any dtype and device)."""

    config_keys = ["threshold", "uncapped_tasks"]  # noqa: RUF012 - the name and the kind that the library asks for

    def __init__(self, threshold: float, uncapped_tasks: Sequence[str] = ()) -> None:
        super().__init__()
        self.threshold = float(threshold)
        self.uncapped_tasks = list(uncapped_tasks)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Zero the embeddings, unless the task is an uncapped one."""
        if features.get("task") not in self.uncapped_tasks:
            embeddings = features["sentence_embedding"]
            below = embeddings < self.threshold
            # In place where no gradient needs the values: a dense batch may be the largest tensor after the logits.
            change = embeddings.masked_fill if embeddings.requires_grad else embeddings.masked_fill_
            features["sentence_embedding"] = change(below, 0)
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
