"""What the child measures of encoded texts is what the library's own evaluator and brute force find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from patcher.threshold import embeddings
from patcher.threshold.messages import Point
from patcher.threshold.metrics import METRICS
from patcher.threshold.sparse_threshold import SparseThreshold
from tests.threshold.made_up import load
from tests.threshold.measuring import few_questions, lay_out, request

POINT = Point(0.05, 0.3, query_top_k=24, document_top_k=48)


def test_figures_are_those_of_the_library_s_evaluator_whatever_the_size_of_a_chunk(
    trained_capped_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    monkeypatch.setattr(embeddings, "CHUNK", 7)
    texts = few_questions(20, among=20)
    folder = tmp_path / f"copy-{tmp_path.name}"
    asked = request(folder, lay_out(trained_capped_once, folder), texts, POINT)
    found = embeddings.measure(asked)
    assert found.failure is None
    assert Path(asked.progress).read_text() == str(len(texts.queries) + len(texts.documents))
    plain = load(folder)
    evaluator = SparseInformationRetrievalEvaluator(
        queries=dict(texts.queries),
        corpus=dict(texts.documents),
        relevant_docs={query: set(right) for query, right in texts.relevant.items()},
        precision_recall_at_k=[10],
        write_csv=False,
    )
    modules: dict[Point, list[Any]] = {
        Point(0.0, 0.0): [*plain],
        Point(0.05, 0.05): [*plain, SparseThreshold(0.05)],
        POINT: [*plain, SparseThreshold(0.3, query_threshold=0.05, query_top_k=24, document_top_k=48)],
    }
    assert [row.point for row in found.rows] == list(modules)
    for row in found.rows:
        theirs = evaluator(SparseEncoder(modules=modules[row.point], device="cpu"))
        ours = dict(zip(METRICS, (row.ndcg, row.mrr, row.recall), strict=True))
        for name in METRICS:
            assert ours[name] == pytest.approx(theirs[f"dot_{name}"], abs=1e-6), (row.point, name)
        assert row.query_active_dims == pytest.approx(theirs["query_active_dims"], abs=1e-3)
        assert row.document_sparsity == pytest.approx(theirs["corpus_sparsity_ratio"], abs=1e-6)
        assert row.flops == pytest.approx(theirs["avg_flops"], rel=1e-5)
    assert found.raw["query"].active_dims == 8192


def test_a_similarity_other_than_the_dot_product_is_the_model_s_own() -> None:
    class Model:
        similarity_fn_name = "cosine"

        @staticmethod
        def similarity(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cosine_similarity(queries[:, None], documents, dim=2)

    dense = np.array([[3.0, 4.0]], np.float32)
    assert embeddings._similarity(Model(), dense, 2 * dense).tolist() == [[pytest.approx(1.0)]]
