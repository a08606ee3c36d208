"""What an index of sparse vectors costs to search and to store, computed from the active dims of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

POSTING, OFFSET = 8, 8  # bytes: a 32-bit number and a 32-bit weight; where the postings of a dimension begin


@dataclass(frozen=True)
class Counts:
    """In how many texts each dimension is active [width], how many texts there are and how many have no active dim."""

    active: NDArray[np.int64]
    texts: int
    empty: int
    longest: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.active + other.active,
            self.texts + other.texts,
            self.empty + other.empty,
            max(self.longest, other.longest),
        )


@dataclass(frozen=True)
class Costs:
    """The costs of an index and of its queries. `frequent` are the dims that are active in more than half of the texts.

    `flops` and `postings_per_query` are None without queries.
    """

    texts: int
    empty: int
    active_dims: float
    longest: int
    index_bytes: int
    frequent: tuple[int, ...]
    flops: float | None
    postings_per_query: float | None


class Vectors(Protocol):
    """Sparse vectors of `width` dimensions: the active dims of all of them in one array, and how many each has."""

    @property
    def width(self) -> int:
        """The dimensions of a vector."""

    @property
    def counts(self) -> NDArray[np.int32]:
        """The active dims of each text [texts]."""

    @property
    def indices(self) -> NDArray[np.int32]:
        """Those dims, text by text [sum of counts]."""


def count(vectors: Vectors) -> Counts:
    """The counts of some vectors."""
    active = np.bincount(vectors.indices, minlength=vectors.width).astype(np.int64)
    longest = int(vectors.counts.max(initial=0))
    return Counts(active, len(vectors.counts), int(np.count_nonzero(vectors.counts == 0)), longest)


def costs(documents: Counts, queries: Counts | None = None) -> Costs:
    """All costs of an index of documents, searched with queries like these."""
    return Costs(
        texts=documents.texts,
        empty=documents.empty,
        active_dims=float(documents.active.sum()) / documents.texts,
        longest=documents.longest,
        index_bytes=index_bytes(documents),
        frequent=frequent(documents),
        flops=flops(queries, documents) if queries is not None else None,
        postings_per_query=postings_per_query(queries, documents) if queries is not None else None,
    )


def flops(queries: Counts, documents: Counts) -> float:
    """The multiplications for one query and one document on average (Paria et al. 2020, arXiv 2004.05665).

    The dot product of the shares of queries and of documents in which each dimension is active, as in
    sentence-transformers.
    """
    return float((queries.active / queries.texts) @ (documents.active / documents.texts))


def postings_per_query(queries: Counts, documents: Counts) -> float:
    """How many entries of the inverted index a query reads on average."""
    return float(queries.active @ documents.active) / queries.texts


def index_bytes(documents: Counts) -> int:
    """The size of a plain inverted index: POSTING bytes for each active dim of a text, OFFSET for each dimension."""
    return int(documents.active.sum()) * POSTING + len(documents.active) * OFFSET


def frequent(documents: Counts) -> tuple[int, ...]:
    """The dims that are active in more than half of the texts, the most frequent first."""
    found = np.flatnonzero(documents.active * 2 > documents.texts)
    return tuple(found[np.argsort(-documents.active[found], kind="stable")].tolist())
