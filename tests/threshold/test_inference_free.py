"""An inference-free model: its queries pass no capped head, so the threshold leaves them alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from patcher.source.snapshot import resolve
from patcher.threshold.repaired import repair
from patcher.threshold.save import save
from patcher.verify.requests import lay_out
from tests.threshold.made_up import DOCUMENTS, PASSED, QUERIES, load
from tests.threshold.measuring import check, few_questions


@pytest.fixture(scope="module")
def routed(hand_made_once: Path, loading: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries through static token weights, documents through the hand-made model, as `save_pretrained` leaves it."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    folder = shutil.copytree(hand_made_once, tmp_path_factory.mktemp("whole") / "before-routing")
    for name in ("modeling_gptbert.py", "config.json"):
        shutil.copyfile(loading / name, folder / name)
    whole = load(folder)
    static = SparseStaticEmbedding(tokenizer=whole.tokenizer, weight=torch.full((8192,), 0.02))
    router = Router.for_query_document(query_modules=[static], document_modules=[whole[0], whole[1]])
    target = tmp_path_factory.mktemp("routed") / "inference-free"
    SparseEncoder(modules=[router]).save_pretrained(str(target), create_model_card=False)
    return target


def test_queries_keep_their_small_weights_and_documents_become_sparse(routed: Path, tmp_path: Path) -> None:
    model = repair(resolve(str(routed)))
    assert model.layout.encoders == ("document_0_Transformer",)
    assert model.layout.uncapped_tasks == ("query",)
    loaded = load(save(model, PASSED, tmp_path / f"saved-{tmp_path.name}"))
    queries = loaded.encode_query(QUERIES, convert_to_sparse_tensor=False)
    assert queries[queries != 0].unique().tolist() == pytest.approx([0.02])
    documents = loaded.encode_document(DOCUMENTS)
    assert documents.coalesce().values().min() >= 0.05
    assert loaded.sparsity(documents)["sparsity_ratio"] > 0.98
    again = tmp_path / "again"
    loaded.save_pretrained(str(again), create_model_card=False)
    assert (again / "sparse_threshold.py").is_file()


def test_queries_that_pass_no_capped_head_keep_their_small_weights_when_measured(routed: Path, tmp_path: Path) -> None:
    model = repair(resolve(str(routed)))
    folder = tmp_path / f"copy-{tmp_path.name}"
    folder.mkdir()
    lay_out(model.contents(), folder)
    checks = check(folder, model, few_questions(2, among=2))
    assert checks["loads_right"].passed
    assert 0.99 < checks["query_sparsity"].value < 1  # all query weights lie below the threshold
    assert checks["document_sparsity"].passed
