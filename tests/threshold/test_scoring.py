"""Chunks of documents, scored at every point, give what brute force finds in all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from patcher.threshold.messages import Point
from patcher.threshold.scoring import SPARSE, Scorer, count, dot, pruned
from patcher.threshold.sparse_threshold import prune
from tests.threshold.made_up import best_of

POINTS = (
    Point(0.0, 0.0),
    Point(0.3, 0.3),
    Point(0.9, 0.6),
    Point(2.0, 0.3),
    Point(0.3, 0.3, 2, None),
    Point(0.3, 0.9, None, 3),
)


def vectors(texts: int, seed: int, width: int = 12) -> NDArray[np.float32]:
    """No zeros, as behind a cap, and many equal scores; all products and sums are exact."""
    random = np.random.default_rng(seed)
    return random.choice(
        np.array([1 / 64, 1 / 32, 0.5, 0.75, 1.0], np.float32), (texts, width), p=[0.4, 0.3, 0.1, 0.1, 0.1]
    )


def left(dense: NDArray[np.float32], side: tuple[float, int | None]) -> NDArray[np.float32]:
    return prune(torch.from_numpy(dense.copy()), *side).numpy()


@pytest.mark.parametrize("chunk", [1, 4, 50])
@pytest.mark.parametrize("uncapped", [(), ("query",), ("document",)])
def test_the_best_of_all_chunks_are_the_best_of_all_documents(chunk: int, uncapped: tuple[str, ...]) -> None:
    queries, documents = vectors(5, 1), vectors(41, 2)
    scorer = Scorer(queries, POINTS, uncapped, dot)
    for start in range(0, len(documents), chunk):
        scorer.add(documents[start : start + chunk])
    ids = [f"{number:03}" for number in range(len(documents))]
    unpruned = best_of((queries @ documents.T).astype(float), ids)
    for number, point in enumerate(POINTS):
        query = queries if "query" in uncapped else left(queries, point.side("query"))
        document = documents if "document" in uncapped else left(documents, point.side("document"))
        scores, found = (query @ document.T).astype(float), scorer.measurement(number)
        expected = best_of(scores, ids)
        assert np.allclose(found.best.scores, expected.scores)
        if point.query_top_k is None and point.document_top_k is None:  # which of equal activations are kept is open
            assert (found.best.columns == expected.columns).all()
        assert np.allclose(found.followed, np.take_along_axis(scores, unpruned.columns, axis=1))
        for kind, dense in (("query", query), ("document", document)):
            counts = scorer.counts(number)[kind]
            assert counts.active.sum() == np.count_nonzero(dense) and counts.texts == len(dense)


def test_the_documents_of_another_run_are_followed() -> None:
    queries, documents, chosen = vectors(3, 1), vectors(30, 2), np.array([[29, 0], [5, 6], [7, 28]])
    scorer = Scorer(queries, POINTS[:1], (), dot, chosen)
    for start in range(0, 30, 7):
        scorer.add(documents[start : start + 7])
    assert np.allclose(scorer.measurement(0).followed[:, :2], np.take_along_axis(queries @ documents.T, chosen, axis=1))


def test_fewer_documents_than_are_kept_are_all_there() -> None:
    scorer = Scorer(vectors(2, 1), POINTS[:2], (), dot)
    scorer.add(vectors(3, 2))
    assert scorer.measurement(1).best.columns.shape == (2, 3)
    assert sorted(scorer.measurement(0).best.columns[0]) == [0, 1, 2]


def test_in_the_code_a_threshold_lowers_what_it_leaves() -> None:
    queries, documents = vectors(5, 1), vectors(41, 2)
    points = (Point(0.0, 0.0), Point(0.3, 0.3), Point(0.75, 0.75))
    scorer = Scorer(queries, points, (), dot, in_code=True)
    for start in range(0, len(documents), 4):
        scorer.add(documents[start : start + 4])
    for number, point in enumerate(points):
        query, document = (
            np.log1p(np.maximum(np.expm1(one.astype(float)) - np.expm1(point.query), 0)) for one in (queries, documents)
        )
        expected = np.sort(query @ document.T, axis=1)[:, ::-1][:, : scorer.measurement(number).best.scores.shape[1]]
        assert np.allclose(scorer.measurement(number).best.scores, expected, atol=1e-5)
        assert scorer.counts(number)["document"].active.sum() == np.count_nonzero(documents > point.document)


@pytest.mark.parametrize("side", [(0.4, None), (0.6, 3), (0.1, 100), (3.0, 2)])
def test_compressed_vectors_are_pruned_as_the_module_prunes_dense_ones(side: tuple[float, int | None]) -> None:
    dense = np.random.default_rng(3).random((9, 40), np.float32) * (np.random.default_rng(4).random((9, 40)) < 0.2)
    found = pruned(csr_array(dense), side)
    assert not isinstance(found, np.ndarray) and (found.toarray() == left(dense, side)).all()


def test_vectors_are_compressed_only_where_that_saves_memory() -> None:
    dense = np.ones((2, 100), np.float32)
    assert isinstance(pruned(dense, (0.5, None)), np.ndarray)
    assert not isinstance(pruned(dense, (0.5, int(100 * SPARSE))), np.ndarray)


def test_active_dims_are_counted_by_dimension_and_by_text() -> None:
    dense = np.array([[0.5, 0.0, 0.1], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    for form in (dense, csr_array(dense)):
        found = count(form)
        assert found.active.tolist() == [2, 0, 1]
        assert (found.texts, found.empty, found.longest) == (3, 1, 2)
