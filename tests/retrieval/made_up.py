"""Sparse vectors made up at random, as chunks with ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patcher.retrieval.vectors import Vectors

WIDTH = 50


def vectors_of(*texts: dict[int, float], width: int = WIDTH) -> Vectors:
    """The vectors of texts given as activations by dimension."""
    rows = [sorted(text.items()) for text in texts]
    flat = [pair for row in rows for pair in row]
    return Vectors(
        width,
        np.array([len(row) for row in rows], dtype=np.int32),
        np.array([dim for dim, _ in flat], dtype=np.int32),
        np.array([value for _, value in flat], dtype=np.float32),
    )


def random_vectors(texts: int, seed: int = 0, most: int = 12) -> Vectors:
    """Vectors with up to `most` active dims."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, most + 1, texts)
    return vectors_of(
        *(
            dict(zip(rng.choice(WIDTH, size, replace=False).tolist(), rng.gamma(1.0, 1.0, size).tolist(), strict=True))
            for size in sizes
        )
    )


def dense(vectors: Vectors) -> np.ndarray:
    """The same as a matrix [texts, width] in float64."""
    found = np.zeros((len(vectors), vectors.width))
    found[vectors.row_numbers(), vectors.indices] = vectors.values
    return found


def exact_top(queries: Vectors, documents: Vectors, ids: Sequence[str], top: int = 10) -> list[list[str]]:
    """For each query the ids of the best documents by exact dot products, without those that score 0."""
    scores = dense(queries) @ dense(documents).T
    return [
        [key for score, key in sorted((-score, key) for score, key in zip(row, ids, strict=True) if score > 0)][:top]
        for row in scores
    ]
