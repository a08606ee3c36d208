"""The costs of an index are those that sentence-transformers computes, and those of counting by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from patcher.verify.costs import OFFSET, POSTING, costs, count
from tests.retrieval.made_up import WIDTH, dense, random_vectors, vectors_of


def test_flops_are_those_of_the_library_and_postings_those_of_reading_each_list() -> None:
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    queries, documents = random_vectors(20, 1), random_vectors(80, 2)

    class Counted(SparseInformationRetrievalEvaluator):
        def __init__(self) -> None:
            self.count_vectors: Any = {}
            self.count_lengths: Any = {}

    library = Counted()
    for kind, vectors in (("query", queries), ("corpus", documents)):
        library.count_vectors[kind] = torch.tensor((dense(vectors) != 0).sum(0)).float()
        library.count_lengths[kind] = [len(vectors)]
    found = costs(count(documents), count(queries))
    assert found.flops is not None and abs(found.flops - library._calculate_avg_flops()) < 1e-5
    lists = (dense(documents) != 0).sum(0)
    read = [lists[dims].sum() for dims, _ in queries.rows()]
    assert found.postings_per_query == np.mean(read)
    assert found.index_bytes == int(lists.sum()) * POSTING + WIDTH * OFFSET


def test_counts_of_chunks_add_up() -> None:
    whole, parts = random_vectors(9, 3), (random_vectors(4, 4), random_vectors(5, 5))
    added = count(parts[0]) + count(parts[1])
    assert added.texts == 9 == count(whole).texts
    assert added.active.tolist() == sum((dense(one) != 0).sum(0) for one in parts).tolist()
    assert added.longest == max(one.counts.max() for one in parts)


def test_empty_texts_and_dims_of_more_than_half_of_the_texts_are_told() -> None:
    found = costs(count(vectors_of({1: 1.0, 2: 1.0}, {1: 1.0}, {1: 1.0, 2: 1.0}, {})))
    assert (found.empty, found.frequent, found.longest, found.active_dims) == (1, (1,), 2, 1.25)
    assert found.flops is None and found.postings_per_query is None
