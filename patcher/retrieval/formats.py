"""Writes sparse vectors in the formats of search systems, and knows the limits of each.

The text formats are lines, so that a large file can be split, streamed and checked with common tools.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patcher.errors import OutputError, UsageError
from patcher.retrieval.vectors import Vectors
from patcher.verify.texts.rows import require_pyarrow

FIELD = "splade"  # the field or the vector's name, where a format has one
SCALE = 100.0  # of impacts: an activation of 1.0 becomes 100
MAX_HNSW, MAX_SPARSEVEC = 1000, 16_000  # non-zeros: of pgvector's HNSW index, and of its type
_CLEAN = re.compile(r"[^\s.\[\]]+")

Row = tuple[str, list[int], list[str]]  # id, dims, activations as the shortest decimal that is the same float32
Chunk = tuple[Sequence[str], Vectors]
Line = Callable[[Row, "Naming"], str]


@dataclass(frozen=True)
class Naming:
    """What a line needs beside its vector: a name for each dimension, the width, and the scale of impacts."""

    names: Sequence[str]
    width: int
    scale: float = SCALE

    def weights(self, dims: Sequence[int], values: Sequence[str]) -> str:
        """A JSON object of weights by name."""
        return "{" + ", ".join(f"{_json(self.names[d])}: {v}" for d, v in zip(dims, values, strict=True)) + "}"

    def impacts(self, dims: Sequence[int], values: Sequence[str]) -> dict[str, int]:
        """Scaled and rounded activations by name, without those that round to 0."""
        found = {self.names[d]: round(float(v) * self.scale) for d, v in zip(dims, values, strict=True)}
        return {name: impact for name, impact in found.items() if impact}


@dataclass(frozen=True)
class Format:
    """How documents and queries are written: a function for each line, or None for parquet.

    `limits` is what has to be known before the work. Vectors of more than `max_active` dims can't be stored; where not
    `keeps_empty`, texts without an active dim are left out.
    """

    document: Line | None
    query: Line | None
    limits: tuple[str, ...] = ()
    max_active: int | None = None
    keeps_empty: bool = True


@dataclass(frozen=True)
class Written:
    """How many texts were written, and the ids of the first that were left out because no dimension is active."""

    texts: int
    left_out: int
    first_left_out: tuple[str, ...]


def find_format(name: str) -> Format:
    """The format of that name. Raises UsageError where there is none, or where its library is not installed."""
    if name not in FORMATS:
        raise UsageError(f"There is no format {name!r}.", f"Use one of {', '.join(FORMATS)}.")
    if name == "parquet":
        require_pyarrow("Writing parquet needs")
    return FORMATS[name]


def dimension_names(terms: Sequence[str]) -> tuple[str, ...]:
    """A name of its own for each dimension, made of its term, without space, dots and brackets.

    A term that several dims share, such as one token for a word's begin and one for its middle, is followed by the
    number of the dimension in brackets.
    """
    times = Counter(terms)

    def name(number: int, term: str) -> str:
        clean = _CLEAN.fullmatch(term) is not None and term.isprintable() and "�" not in term
        return term if clean and times[term] == 1 else f"{term if clean else ''}[{number}]"

    return tuple(name(number, term) for number, term in enumerate(terms))


def write(path: Path, chunks: Iterator[Chunk], name: str, kind: str, naming: Naming) -> Written:
    """Write all chunks of texts of one kind into a file. Raises OutputError for a vector that can't be stored."""
    found = FORMATS[name]
    left_out: list[str] = []
    totals = Counter[str]()

    def accepted() -> Iterator[Chunk]:
        for ids, vectors in chunks:
            _check_active(ids, vectors, name, found)
            empty = [] if found.keeps_empty else [ids[row] for row in np.flatnonzero(vectors.counts == 0).tolist()]
            left_out.extend(empty[: 5 - len(left_out)])
            totals.update(left_out=len(empty), texts=len(ids) - len(empty))
            yield ids, vectors

    line = found.query if kind == "query" else found.document
    if line is None:
        _write_parquet(path, accepted(), naming.width)
    else:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for ids, vectors in accepted():
                file.writelines(line(row, naming) + "\n" for row in _rows(ids, vectors) if row[1] or found.keeps_empty)
    return Written(totals["texts"], totals["left_out"], tuple(left_out))


def _check_active(ids: Sequence[str], vectors: Vectors, name: str, found: Format) -> None:
    if found.max_active is not None and int(vectors.counts.max(initial=0)) > found.max_active:
        worst = int(vectors.counts.argmax().item())
        raise OutputError(
            f"The vector of {ids[worst]!r} has {int(vectors.counts[worst]):,} active dims; "
            f"{name} takes at most {found.max_active:,}.",
            f"Add --max-active-dims {MAX_HNSW}, which keeps the largest.",
        )


def _rows(ids: Sequence[str], vectors: Vectors) -> Iterator[Row]:
    for key, (dims, values) in zip(ids, vectors.rows(), strict=True):
        yield key, dims.tolist(), values.astype(np.str_).tolist()


def _write_parquet(path: Path, chunks: Iterator[Chunk], width: int) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = {"id": pyarrow.string(), "indices": pyarrow.int32(), "values": pyarrow.float32()}
    columns = {name: kind if name == "id" else pyarrow.list_(kind) for name, kind in types.items()}
    schema = pyarrow.schema(columns, metadata={"width": str(width)})
    with ParquetWriter(path, schema) as writer:
        for ids, vectors in chunks:
            offsets = np.concatenate([[0], np.cumsum(vectors.counts)]).astype(np.int32)
            lists = [pyarrow.ListArray.from_arrays(offsets, one) for one in (vectors.indices, vectors.values)]
            writer.write_table(pyarrow.Table.from_arrays([pyarrow.array(ids), *lists], schema=schema))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def point_id(key: str) -> str:
    """The JSON of a Qdrant id: whole numbers stay, everything else becomes a UUID that is always the same."""
    whole = key.isascii() and key.isdigit() and (key == "0" or key[0] != "0") and int(key) < 1 << 64
    return key if whole else _json(str(uuid.uuid5(uuid.NAMESPACE_URL, key)))


def _qdrant(row: Row, naming: Naming) -> str:
    key, dims, values = row
    sparse = f'{{"indices": {_json(dims)}, "values": [{", ".join(values)}]}}'
    return f'{{"id": {point_id(key)}, "vector": {{"{FIELD}": {sparse}}}, "payload": {{"id": {_json(key)}}}}}'


def _bulk(row: Row, naming: Naming) -> str:
    key, dims, values = row
    return f'{{"index": {{"_id": {_json(key)}}}}}\n{{"{FIELD}": {naming.weights(dims, values)}}}'


def _rank_features_query(row: Row, naming: Naming) -> str:
    clauses = [
        f'{{"rank_feature": {{"field": {_json(f"{FIELD}.{naming.names[d]}")}, "linear": {{}}, "boost": {v}}}}}'
        for d, v in zip(row[1], row[2], strict=True)
    ]
    query = f'{{"bool": {{"should": [{", ".join(clauses)}]}}}}' if clauses else '{"match_none": {}}'
    return f'{{}}\n{{"query": {query}}}'


def _sparse_vector_query(row: Row, naming: Naming) -> str:
    weights = naming.weights(row[1], row[2])
    query = f'{{"sparse_vector": {{"field": "{FIELD}", "query_vector": {weights}, "prune": false}}}}'
    return f'{{}}\n{{"query": {query}}}'


def _milvus(row: Row, naming: Naming) -> str:
    key, dims, values = row
    sparse = ", ".join(f'"{d}": {v}' for d, v in zip(dims, values, strict=True))
    return f'{{"id": {_json(key)}, "{FIELD}": {{{sparse}}}}}'


def _pgvector(row: Row, naming: Naming) -> str:
    key, dims, values = row
    escaped = key.replace("\\", "\\\\")  # COPY's only escape in an id, which is printable
    return f"{escaped}\t{{{','.join(f'{d + 1}:{v}' for d, v in zip(dims, values, strict=True))}}}/{naming.width}"


def _lucene(row: Row, naming: Naming) -> str:
    return _json({"id": row[0], "content": "", "vector": naming.impacts(row[1], row[2])})


def _lucene_query(row: Row, naming: Naming) -> str:
    impacts = naming.impacts(row[1], row[2])
    return f"{row[0]}\t{' '.join(name for name, impact in impacts.items() for _ in range(impact))}"


_NINE_BITS = "Elasticsearch keeps 9 significant bits of each weight, so scores may differ by 0.4 %."
_DOTS = "Dimension names can't contain dots: they are numbers, and with --names terms so is a term with a dot."
FORMATS = {
    "parquet": Format(None, None),
    "qdrant": Format(_qdrant, _qdrant, ("Qdrant ids are whole numbers or UUIDs: other ids become UUIDs.",)),
    "rank_features": Format(
        _bulk,
        _rank_features_query,
        (_NINE_BITS, _DOTS, "A query has at most 1,024 clauses, one for each active dim (indices.query.bool)."),
    ),
    "sparse_vector": Format(
        _bulk,
        _sparse_vector_query,
        (
            _NINE_BITS,
            _DOTS,
            "Elasticsearch 7 accepts only numbers up to 65,535 (16 bits) as names; 8.11 accepts any name.",
        ),
    ),
    "milvus": Format(
        _milvus, _milvus, ("Milvus refuses empty vectors: such texts are left out and named.",), keeps_empty=False
    ),
    "pgvector": Format(
        _pgvector,
        _pgvector,
        (
            f"pgvector's HNSW index takes vectors of at most {MAX_HNSW:,} non-zeros, its type {MAX_SPARSEVEC:,}; "
            f"--max-active-dims {MAX_HNSW} keeps the largest.",
        ),
        max_active=MAX_SPARSEVEC,
    ),
    "lucene": Format(
        _lucene, _lucene_query, ("Impacts are whole numbers: activations are scaled with --scale and rounded.",)
    ),
}
