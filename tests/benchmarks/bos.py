"""An index without the bos token against one with it: the same miniature, patched with and without `--drop-bos`.

The bundled questions search the bundled passages, repeated to the number of documents. The search is exact: it reads
every posting of each dimension of a question, and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patcher.retrieval.vectors import Vectors
from patcher.threshold.evaluation import bundled_questions
from patcher.verify.costs import Costs, costs, count
from tests.benchmarks.processes import python
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import Workshop
from tests.conftest import MINI
from tests.retrieval.fixtures import read_parquet

DOCUMENTS, PAIRS = 100_000, 20
Both = tuple[Vectors, Vectors]  # queries and documents


def without_against_with(workshop: Workshop) -> Iterator[Comparison]:
    yield from compared(*encoded_both(workshop), DOCUMENTS, PAIRS)


def encoded_both(workshop: Workshop) -> tuple[Both, Both]:
    """The vectors of the bundled questions and passages without the bos token, and with it."""
    dropped = workshop.root / "mini-without-bos"
    words = ("patch", MINI, "--drop-bos", "--no-verify", "--out", dropped, "--quiet")
    workshop.run(python("-m", "patcher", *words))
    return _encoded(workshop, dropped), _encoded(workshop, workshop.miniature.patched)


def compared(ours: Both, floor: Both, documents: int, pairs: int) -> Iterator[Comparison]:
    """What both cost, how long all questions take, and how many of them rank the passages the same."""
    sides = [(queries, repeated(found, documents)) for queries, found in (ours, floor)]
    mine, theirs = (costs(count(found), count(queries)) for queries, found in sides)
    yield from _rows(mine, theirs, f"without the bos token against with it, {documents:,} documents")
    indexes = [Postings(found) for _, found in sides]
    found = []
    for number in range(pairs + 1):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        pair = {which: _seconds(indexes[which], sides[which][0]) for which in order}
        found.append((pair[0], pair[1]))
    some, others = zip(*found[1:], strict=True)  # the first fills the caches
    yield Comparison(f"exact search, {len(ours[0])} questions, {documents:,} documents: time", some, others, "s")
    same = sum(map(np.array_equal, rankings(*ours), rankings(*floor)))
    yield Comparison("questions that rank all passages the same", [same], [len(ours[0])], "questions", 1.0, True)


class Postings:
    """An inverted index: the documents of each dimension, and their activations."""

    def __init__(self, documents: Vectors) -> None:
        order = np.argsort(documents.indices, kind="stable")
        self.documents, self.values = documents.row_numbers()[order], documents.values[order]
        self.starts = np.searchsorted(documents.indices[order], np.arange(documents.width + 1))
        self.count = len(documents)

    def scores(self, indices: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The dot product of a query with each document."""
        found = np.zeros(self.count)
        for dim, weight in zip(indices.tolist(), values.tolist(), strict=True):
            part = slice(self.starts[dim], self.starts[dim + 1])
            found[self.documents[part]] += weight * self.values[part]
        return found


def repeated(vectors: Vectors, documents: int) -> Vectors:
    """The vectors again and again, up to so many documents."""
    times = -(-documents // len(vectors))
    counts = np.tile(vectors.counts, times)[:documents]
    kept = int(counts.sum())
    indices, values = np.tile(vectors.indices, times)[:kept], np.tile(vectors.values, times)[:kept]
    return Vectors(vectors.width, counts, indices, values)


def rankings(queries: Vectors, documents: Vectors) -> Iterator[NDArray[np.int64]]:
    """The documents of each query, best first, equal scores in the order of the documents."""
    index = Postings(documents)
    for indices, values in queries.rows():
        yield np.argsort(-index.scores(indices, values).round(9), kind="stable")


def _seconds(index: Postings, queries: Vectors) -> float:
    start = time.perf_counter()
    for indices, values in queries.rows():
        np.argpartition(index.scores(indices, values), max(index.count - 10, 0))[-10:]
    return time.perf_counter() - start


def _rows(ours: Costs, floor: Costs, name: str) -> Iterator[Comparison]:
    assert ours.flops is not None and floor.flops is not None
    assert ours.postings_per_query is not None and floor.postings_per_query is not None
    yield Comparison(f"{name}: FLOPS", [ours.flops], [floor.flops], "")
    yield Comparison(f"{name}: postings per query", [ours.postings_per_query], [floor.postings_per_query], "")
    yield Comparison(f"{name}: inverted index", [ours.index_bytes], [floor.index_bytes], "B")
    frequent = "dims active in more than half of the documents"
    yield Comparison(f"{name}: {frequent}", [len(ours.frequent)], [len(floor.frequent)], "")


def _encoded(workshop: Workshop, model: Path) -> Both:
    bundled = bundled_questions()
    queries = _vectors(workshop, model, "queries", bundled.queries.values(), "--queries")
    return queries, _vectors(workshop, model, "documents", bundled.documents.values())


def _vectors(workshop: Workshop, model: Path, kind: str, texts: Iterable[str], *words: str) -> Vectors:
    source, out = workshop.root / f"{kind}.jsonl", workshop.root / f"{kind}-{model.name}.parquet"
    lines = (json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))
    source.write_text("".join(lines), "utf-8")
    options = ("--to", "parquet", "--trust-remote-code", "--device", "cpu", "--quiet")
    workshop.run(python("-m", "patcher", "encode", model, source, *words, "--out", out, *options))
    return read_parquet(out)[1]
