"""Rankings in memory are those of exact dot products, and say which terms matched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patcher.errors import UsageError
from patcher.retrieval.encoder import Settings
from patcher.retrieval.model import find_model
from patcher.retrieval.search import Index, search
from patcher.threshold.repaired import repair
from tests.retrieval.fixtures import EncodedTexts, texts_of
from tests.retrieval.made_up import exact_top, random_vectors, vectors_of


def test_the_best_documents_are_those_of_exact_dot_products() -> None:
    documents, queries = random_vectors(300, 1), random_vectors(30, 2)
    ids = [f"d{number:03d}" for number in range(300)]
    index = Index(ids, documents)
    found = [
        [ids[row] for row in index.best(index.scores(vectors_of(dict(zip(*map(np.ndarray.tolist, one), strict=True)))))]
        for one in queries.rows()
    ]
    assert found == exact_top(queries, documents, ids)
    assert any(len(one) == 10 for one in found) and [] in found, "queries without an active dim find nothing"


def test_equal_scores_are_ranked_by_id() -> None:
    index = Index(["c", "a", "b"], vectors_of({1: 1.0}, {1: 1.0}, {1: 2.0}))
    assert index.best(index.scores(vectors_of({1: 1.0}))) == [2, 1, 0]


def test_the_bundled_questions_find_what_exact_dot_products_of_the_library_find(
    encoded: dict[str, EncodedTexts], patched: Path
) -> None:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(patched), trust_remote_code=True, device="cpu")
    queries = model.encode_query(list(texts_of("query").values())).to_dense()
    theirs = queries @ model.encode_document(list(texts_of("document").values())).to_dense().T
    vectors = encoded["document"].vectors
    index = Index(encoded["document"].ids, vectors)
    for row, (dims, values) in zip(theirs, encoded["query"].vectors.rows(), strict=True):
        query = vectors_of(dict(zip(dims.tolist(), values.tolist(), strict=True)), width=vectors.width)
        scores = index.scores(query)
        assert np.allclose(scores, row.numpy(), atol=1e-3)
        best = sorted(row.tolist(), reverse=True)[:10]
        assert np.allclose([scores[one] for one in index.best(scores)], best, atol=1e-3)


def test_an_empty_question_is_refused(patched_once: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The question is empty"):
        search(find_model(str(patched_once), None, repair), tmp_path / "none", " ", Settings())
