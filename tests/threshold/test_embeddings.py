"""What the child measures of encoded texts is what the library's own evaluator and brute force find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from patcher.pipeline.api import patch_model
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from patcher.threshold import embeddings
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.messages import DroppedBos, Point, Row, ThresholdRequest
from patcher.threshold.metrics import METRICS
from patcher.threshold.sparse_threshold import SparseThreshold
from patcher.threshold.sweep import points
from tests.benchmarks.shapes import write_source
from tests.benchmarks.threshold import WIDE
from tests.threshold.made_up import load
from tests.threshold.measuring import few_questions, lay_out, request
from tests.verify.running import repaired

POINT = Point(0.05, 0.3, query_top_k=24, document_top_k=48)


def evaluator_of(texts: Evaluation) -> Any:
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    return SparseInformationRetrievalEvaluator(
        queries=dict(texts.queries),
        corpus=dict(texts.documents),
        relevant_docs={query: set(right) for query, right in texts.relevant.items()},
        precision_recall_at_k=[10],
        write_csv=False,
    )


def assert_equal(row: Row, theirs: dict[str, float]) -> None:
    """The figures of a row are those of the library, which adds up in 32 bits."""
    for name, ours in zip(METRICS, (row.ndcg, row.mrr, row.recall), strict=True):
        assert ours == pytest.approx(theirs[f"dot_{name}"], abs=1e-6), (row.point, name)
    assert_equal_costs(row, theirs)


def assert_equal_costs(row: Row, theirs: dict[str, float]) -> None:
    for kind, dims, sparsity in (
        ("query", row.query_active_dims, row.query_sparsity),
        ("corpus", row.document_active_dims, row.document_sparsity),
    ):
        assert dims == pytest.approx(theirs[f"{kind}_active_dims"], rel=1e-6), (row.point, kind)
        assert sparsity == pytest.approx(theirs[f"{kind}_sparsity_ratio"], abs=1e-6), (row.point, kind)
    assert row.flops == pytest.approx(theirs["avg_flops"], rel=1e-6), row.point


def test_figures_are_those_of_the_library_s_evaluator_whatever_the_size_of_a_chunk(
    trained_capped_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SparseEncoder

    monkeypatch.setattr(embeddings, "CHUNK", 7)
    texts = few_questions(20, among=20)
    folder = tmp_path / f"copy-{tmp_path.name}"
    asked = request(folder, lay_out(trained_capped_once, folder), texts, POINT)
    found = embeddings.measure(asked)
    assert found.failure is None
    assert Path(asked.progress).read_text() == str(len(texts.queries) + len(texts.documents))
    plain = load(folder)
    evaluator = evaluator_of(texts)
    modules: dict[Point, list[Any]] = {
        Point(0.0, 0.0): [*plain],
        Point(0.05, 0.05): [*plain, SparseThreshold(0.05)],
        POINT: [*plain, SparseThreshold(0.3, query_threshold=0.05, query_top_k=24, document_top_k=48)],
    }
    assert [row.point for row in found.rows] == list(modules)
    for row in found.rows:
        assert_equal(row, evaluator(SparseEncoder(modules=modules[row.point], device="cpu")))
    assert found.raw["query"].active_dims == 8192


def test_figures_are_those_of_the_library_s_evaluator_at_the_vocabulary_of_norbert4(tmp_path: Path) -> None:
    """A sample of what the benchmark of 100,000 documents runs: random weights, 51,200 dimensions.

    Unpruned, the vectors of random weights are so much alike that rounding alone ranks them: only costs are compared.
    """
    from sentence_transformers import SparseEncoder

    source = write_source(WIDE, tmp_path / "source")
    texts, folder = few_questions(10, among=10), repaired(source, tmp_path / f"wide-{tmp_path.name}")
    point = Point(2.7, 2.8, query_top_k=300, document_top_k=3000)
    asked = ThresholdRequest(
        model=str(folder),
        without_cap=None,
        encoders=("",),
        queries=texts.queries,
        documents=texts.documents,
        relevant=texts.relevant,
        points=points(point, sweep=False),
        expected=(),
        uncapped_tasks=(),
        device="cpu",
        progress=str(tmp_path / "progress"),
    )
    found = embeddings.measure(asked)
    assert found.failure is None and found.width == 51_200
    pruned = SparseThreshold(2.8, query_threshold=2.7, query_top_k=300, document_top_k=3000)
    plain = load(folder)
    assert_equal_costs(found.rows[0], evaluator_of(texts)(plain))
    assert_equal(found.rows[-1], evaluator_of(texts)(SparseEncoder(modules=[*plain, pruned], device="cpu")))
    assert found.rows[-1].point == point and 0.9 < found.rows[-1].document_sparsity < 1


def test_the_bos_token_is_left_out_of_every_figure_and_no_ranking_changes(hand_made_once: Path, tmp_path: Path) -> None:
    texts = few_questions(8, among=8)
    folder = tmp_path / f"copy-{tmp_path.name}"
    asked = request(folder, lay_out(hand_made_once, folder), texts, POINT)
    kept, dropped = (embeddings.measure(replace(asked, drop_bos=one)) for one in (False, True))
    assert kept.failure is dropped.failure is kept.bos is None and dropped.bos is not None
    assert (dropped.bos.texts, dropped.bos.others) == (len(texts.queries) + len(texts.documents), 0)
    assert dropped.bos.dim == load(folder).tokenizer.bos_token_id
    for before, after in zip(kept.rows[:2], dropped.rows[:2], strict=True):
        assert before.document_active_dims - after.document_active_dims == pytest.approx(1)
        assert before.postings_per_query - after.postings_per_query == pytest.approx(len(texts.documents))
        assert (before.ndcg, before.mrr, before.recall) == (after.ndcg, after.mrr, after.recall)


def test_texts_whose_bos_token_has_an_activation_of_its_own_are_counted() -> None:
    bos = embeddings.Bos(1, ["document"])
    for kind, values in (("document", [0.7, 0.7]), ("query", [3.0]), ("document", [0.7, 0.8, 0.6])):
        vectors = np.ones((len(values), 3), np.float32)
        vectors[:, 1] = values
        bos.drop(kind, vectors)
        assert (vectors[:, 1] == 0).all() == (kind == "document") and (vectors[:, [0, 2]] == 1).all()
    assert bos.result() == DroppedBos(1, 5, 2)
    with pytest.raises(ValueError, match="no bos token"):
        embeddings.Bos(None, ["document"])


def test_a_threshold_in_the_code_is_measured_as_the_patched_code_computes(
    trained_capped_once: Path, tmp_path: Path
) -> None:
    texts = few_questions(20, among=20)
    folder = tmp_path / f"copy-{tmp_path.name}"
    asked = request(folder, lay_out(trained_capped_once, folder), texts, Point(0.3, 0.3))
    found = embeddings.measure(replace(asked, in_code=True))
    snapshot = resolve(str(trained_capped_once))
    out = tmp_path / f"in-code-{tmp_path.name}"
    patch_model(make_plan(snapshot, Options(threshold=0.3)), snapshot, out, None)
    row = found.rows[2]
    assert_equal(row, evaluator_of(texts)(load(out)))
    module = embeddings.measure(asked).rows[2]
    assert module.document_active_dims == row.document_active_dims and module.ndcg_interval is not None


def test_a_similarity_other_than_the_dot_product_is_the_model_s_own() -> None:
    class Model:
        similarity_fn_name = "cosine"

        @staticmethod
        def similarity(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cosine_similarity(queries[:, None], documents, dim=2)

    dense = np.array([[3.0, 4.0]], np.float32)
    assert embeddings._similarity(Model(), dense, 2 * dense).tolist() == [[pytest.approx(1.0)]]
