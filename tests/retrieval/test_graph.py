"""A graph gives the vectors of the model, for batches and lengths that it was not made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patcher.retrieval.messages import ExportRequest

TEXTS = ("Hva er hovedstaden i Norge?", "Kari.", "Glomma er lang og renner ut i havet ved Fredrikstad. " * 40)


def test_other_batches_and_lengths_give_the_vectors_of_the_model(patched: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from sentence_transformers import SparseEncoder

    from patcher.retrieval.graph import export

    out = tmp_path / "model.onnx"
    found = export(ExportRequest(model=str(patched), texts=TEXTS[:2], out=str(tmp_path)))
    assert found.failure is None and 0 <= found.error < 1e-4 and found.roundings > 100 and found.largest > 1
    model = SparseEncoder(str(patched), trust_remote_code=True, device="cpu")
    session = onnxruntime.InferenceSession(str(out))
    for texts in (TEXTS[2:], TEXTS):
        tokens = model.tokenizer(list(texts), padding=True, truncation=True, max_length=600, return_tensors="np")
        ours = session.run(["vector"], {name: tokens[name] for name in ("input_ids", "attention_mask")})[0]
        model.max_seq_length = 600
        theirs = model.encode_document(list(texts), convert_to_sparse_tensor=False).numpy()
        assert np.abs(ours - theirs).max() < 1e-4 and theirs.max() > 1


def test_the_quality_of_a_ranking_counts_a_tie_against_it() -> None:
    import torch

    from patcher.retrieval.graph import _ndcg

    scores = torch.tensor([[3.0, 1.0, 2.0], [3.0, 3.0, 2.0], [0.0, 1.0, 2.0]])
    found = _ndcg(scores, torch.tensor([0, 1, 1]))
    assert abs(found - (1 + 2 * 0.63093) / 3) < 1e-4
    assert _ndcg(torch.arange(12.0)[None], torch.tensor([0])) == 0.0, "the twelfth counts for nothing"


def test_a_model_that_prunes_each_side_in_its_own_way_is_not_one_graph() -> None:
    from patcher.retrieval.graph import _differs_by_side
    from patcher.threshold.sparse_threshold import SparseThreshold

    same = (SparseThreshold(0.05), SparseThreshold(0.05, query_threshold=0.05, query_top_k=9, document_top_k=9))
    others = (SparseThreshold(0.05, query_threshold=0.02), SparseThreshold(0.05, document_top_k=9))
    assert [_differs_by_side(module) for module in (*same, *others)] == [False, False, True, True]
