"""A saved model gives sparse vectors by itself, and goes on doing so when it is saved and loaded again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SparseEncoder

from patcher.threshold.sparse_threshold import SparseThreshold
from tests.threshold.made_up import DOCUMENTS, QUERIES, load


def test_embeddings_are_sparse_without_a_line_of_user_code_and_otherwise_the_same(
    saved: Path, plain: SparseEncoder
) -> None:
    model = load(saved)
    for encode, reference, texts in (
        (model.encode_query, plain.encode_query, QUERIES),
        (model.encode_document, plain.encode_document, DOCUMENTS),
    ):
        raw = reference(texts, convert_to_sparse_tensor=False)
        expected = torch.where(raw < 0.05, 0, raw)
        assert int((raw == 0).sum()) == 0
        assert torch.equal(encode(texts, convert_to_sparse_tensor=False), expected)
        sparse = encode(texts)
        assert sparse.is_sparse
        assert torch.equal(sparse.to_dense(), expected)
        assert sparse.coalesce().values().min() >= 0.05
        assert model.sparsity(sparse)["sparsity_ratio"] > 0.98


def test_saving_and_loading_again_twice_keeps_every_embedding(saved: Path, tmp_path: Path) -> None:
    model = load(saved)
    expected = model.encode_document(DOCUMENTS, convert_to_sparse_tensor=False)
    for name in ("again", "and-again"):
        model.save_pretrained(str(tmp_path / name), create_model_card=False)
        model = load(tmp_path / name)
        assert type(model[-1]).__name__ == "SparseThreshold"
        assert torch.equal(model.encode_document(DOCUMENTS, convert_to_sparse_tensor=False), expected)


class Same:
    """A module that changes nothing."""

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        return features


def embed(threshold: SparseThreshold | Same, task: str | None = None) -> torch.Tensor:
    """What the module makes of one embedding."""
    given = {"sentence_embedding": torch.tensor([[0.05, 0.5, 0.04, 0.0]]), "task": task}
    found: torch.Tensor = threshold(given)["sentence_embedding"]
    return found


def test_what_is_below_the_threshold_becomes_0_and_the_threshold_itself_stays() -> None:
    assert torch.equal(embed(SparseThreshold(0.05)), torch.tensor([[0.05, 0.5, 0.0, 0.0]]))


def test_each_side_has_its_threshold_and_its_top_k_and_what_is_no_query_is_a_document() -> None:
    module = SparseThreshold(0.05, query_threshold=0.01, query_top_k=2, document_top_k=1)
    assert torch.equal(embed(module, "query"), torch.tensor([[0.05, 0.5, 0.0, 0.0]]))
    assert torch.equal(embed(module, "document"), embed(module))
    assert torch.equal(embed(module), torch.tensor([[0.0, 0.5, 0.0, 0.0]]))
    assert int(embed(SparseThreshold(0.05, query_threshold=0.01), "query").count_nonzero()) == 3
    assert torch.equal(embed(SparseThreshold(0.05, document_top_k=9)), embed(SparseThreshold(0.05)))


def test_a_dropped_dimension_becomes_0_before_anything_else_and_every_other_one_stays_bit_by_bit() -> None:
    module = SparseThreshold(0.01, document_top_k=2, dropped_dims=[1])
    assert torch.equal(embed(module), torch.tensor([[0.05, 0.0, 0.04, 0.0]])), "it takes no place of the top k"
    assert torch.equal(embed(module, "query"), torch.tensor([[0.05, 0.0, 0.04, 0.0]]))
    assert SparseThreshold(**module.get_config_dict()).dropped_dims == [1]
    assert torch.equal(embed(SparseThreshold(0.01, uncapped_tasks=["query"], dropped_dims=[1]), "query"), embed(Same()))


def test_no_dense_copy_of_the_batch_is_made_where_no_gradient_needs_it() -> None:
    embeddings = torch.rand(64, 4096)
    with torch.profiler.profile(profile_memory=True) as found:
        SparseThreshold(0.5)({"sentence_embedding": embeddings})
    assert 0 < sum(max(0, event.cpu_memory_usage) for event in found.events()) < embeddings.nbytes / 2
    trained = embeddings.clone().requires_grad_().exp()  # whose gradient needs its result
    SparseThreshold(2.0)({"sentence_embedding": trained})["sentence_embedding"].sum().backward()


def test_an_uncapped_task_keeps_everything() -> None:
    module = SparseThreshold(0.05, ["query"])
    assert int(embed(module, "query").count_nonzero()) == 3
    assert int(embed(module, "document").count_nonzero()) == 2


def test_saving_leaves_the_configuration_in_its_folder_and_the_code_above_it(tmp_path: Path) -> None:
    (tmp_path / "2_SparseThreshold").mkdir()
    SparseThreshold(0.05, ["query"]).save(str(tmp_path / "2_SparseThreshold"))
    config = json.loads((tmp_path / "2_SparseThreshold" / "config.json").read_text())
    rest = dict.fromkeys(("query_threshold", "query_top_k", "document_top_k"))
    assert config == {"threshold": 0.05, "uncapped_tasks": ["query"], "dropped_dims": [], **rest}
    assert (tmp_path / "sparse_threshold.py").is_file()
