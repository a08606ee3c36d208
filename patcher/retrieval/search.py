"""Searches sparse vectors in memory, and says which terms made each document match."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patcher.errors import UsageError
from patcher.retrieval.encoder import Settings, encode
from patcher.retrieval.messages import dimension_terms
from patcher.retrieval.model import Runnable
from patcher.retrieval.texts import Columns, count_texts, read_texts
from patcher.retrieval.vectors import Vectors, joined
from patcher.source.snapshot import Source

TOP = 10
TERMS = 8  # of a question and of a hit that are shown


@dataclass(frozen=True)
class Term:
    """A term and its weight: an activation of a question, or what a document's match adds to its score."""

    term: str
    weight: float


@dataclass(frozen=True)
class Hit:
    """A document that matches; `score` is the dot product, `terms` are those that made it, the strongest first."""

    id: str
    score: float
    text: str
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class SearchResult:
    """The documents that match a question best, equal scores by id; `matching` counts all that share a dimension."""

    source: Source
    question: str
    question_terms: tuple[Term, ...]
    documents: int
    matching: int
    hits: tuple[Hit, ...]


class Index:
    """Documents by id, and the dot products of a query with all of them."""

    def __init__(self, ids: Sequence[str], vectors: Vectors) -> None:
        self._ids, self._vectors, self._rows = ids, vectors, vectors.row_numbers()

    def scores(self, query: Vectors) -> NDArray[np.float64]:
        """The dot product of the only vector of `query` with each document, in float64."""
        weights = np.zeros(self._vectors.width)
        weights[query.indices] = query.values
        products = weights[self._vectors.indices] * self._vectors.values
        return np.bincount(self._rows, products, minlength=len(self._ids)).astype(np.float64)

    def best(self, scores: NDArray[np.float64], top: int = TOP) -> list[int]:
        """The rows of the best documents, best first, equal scores by id; without those that score 0."""
        return heapq.nsmallest(top, np.flatnonzero(scores).tolist(), key=lambda row: (-scores[row], self._ids[row]))


def search(
    model: Runnable,
    documents: Path,
    question: str,
    settings: Settings,
    top: int = TOP,
    columns: Columns = Columns(),
) -> SearchResult:
    """Encode the documents of a file and a question, and rank the documents by their dot product with it.

    Raises UsageError for a file that can't be read and an empty question, and what `encode` raises.
    """
    if not question.strip():
        raise UsageError("The question is empty.", 'Write it in quotes: "Hva er hovedstaden i Norge?"')
    count_texts(documents, columns)
    ids, texts = zip(*read_texts(documents, columns), strict=True)
    chunks: dict[str, list[Vectors]] = {"query": [], "document": []}
    answer = encode(
        model, {"query": [question], "document": texts}, settings, lambda kind, _, found: chunks[kind].append(found)
    )
    (query,), vectors = chunks["query"], joined(chunks["document"])
    index = Index(ids, vectors)
    scores = index.scores(query)
    terms = dimension_terms(answer.terms, vectors.width)
    weights = dict(zip(query.indices.tolist(), query.values.tolist(), strict=True))
    rows = list(vectors.rows())

    def hit(row: int) -> Hit:
        found = zip(*(array.tolist() for array in rows[row]), strict=True)
        matched = {one: weights[one] * value for one, value in found if one in weights}
        return Hit(ids[row], round(float(scores[row]), 4), texts[row], _strongest(matched, terms))

    return SearchResult(
        source=model.snapshot.source,
        question=question,
        question_terms=_strongest(weights, terms),
        documents=len(ids),
        matching=int(np.count_nonzero(scores)),
        hits=tuple(hit(row) for row in index.best(scores, top)),
    )


def _strongest(weights: dict[int, float], terms: Sequence[str]) -> tuple[Term, ...]:
    order = sorted(weights, key=lambda one: (-weights[one], one))
    return tuple(Term(terms[one], round(weights[one], 4)) for one in order[:TERMS])
