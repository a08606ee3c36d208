"""Each format holds the same vectors, as its system reads them, and its limits are kept."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher.errors import MissingRequirement, OutputError, UsageError
from patcher.retrieval.formats import (
    FIELD,
    FORMATS,
    MAX_SPARSEVEC,
    Chunk,
    Naming,
    dimension_names,
    find_format,
    point_id,
    write,
)
from patcher.retrieval.vectors import joined
from patcher.verify.texts import rows
from tests.retrieval.fixtures import read_parquet
from tests.retrieval.made_up import WIDTH, dense, random_vectors, vectors_of

CHUNKS = (random_vectors(7, 1), random_vectors(5, 2))
WHOLE = joined(list(CHUNKS))
IDS = [f"d\\{number}" for number in range(12)]
NAMES = tuple(map(str, range(WIDTH)))


def chunks() -> Iterator[Chunk]:
    yield IDS[:7], CHUNKS[0]
    yield IDS[7:], CHUNKS[1]


def written(tmp_path: Path, name: str, kind: str = "document", naming: Naming = Naming(NAMES, WIDTH)) -> Path:
    path = tmp_path / "out"
    found = write(path, chunks(), name, kind, naming)
    empty = [key for key, count in zip(IDS, WHOLE.counts, strict=True) if not count]
    assert empty, "the vectors hold an empty one"
    assert (found.texts, found.first_left_out) == ((11, tuple(empty)) if name == "milvus" else (12, ()))
    return path


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_name(weights: dict[str, float]) -> np.ndarray:
    row = np.zeros(WIDTH)
    for name, weight in weights.items():
        row[int(name)] = np.float32(weight)
    return row


def test_parquet_holds_ids_indices_values_and_the_width(tmp_path: Path) -> None:
    ids, vectors = read_parquet(written(tmp_path, "parquet"))
    assert ids == IDS and vectors.width == WIDTH and np.array_equal(dense(vectors), dense(WHOLE))


def test_qdrant_gets_points_with_ids_that_it_takes_and_the_original_ones_as_payload(tmp_path: Path) -> None:
    points = lines(written(tmp_path, "qdrant"))
    assert [point["payload"]["id"] for point in points] == IDS
    assert [point["id"] for point in points] == [str(uuid.uuid5(uuid.NAMESPACE_URL, key)) for key in IDS]
    sparse = [point["vector"][FIELD] for point in points]
    found = vectors_of(*(dict(zip(one["indices"], one["values"], strict=True)) for one in sparse))
    assert np.array_equal(dense(found), dense(WHOLE))


@pytest.mark.parametrize("key", ["0", "7", str(2**64 - 1)])
def test_a_whole_number_is_a_point_id(key: str) -> None:
    assert point_id(key) == key


@pytest.mark.parametrize("key", ["007", "-1", str(2**64), "٣", "7.0", "a"])
def test_what_qdrant_takes_for_no_number_becomes_the_same_uuid_each_time(key: str) -> None:
    assert uuid.UUID(json.loads(point_id(key))) == uuid.UUID(json.loads(point_id(key)))


@pytest.mark.parametrize("name", ["rank_features", "sparse_vector"])
def test_the_bulk_format_has_an_action_and_a_document_for_each_text(tmp_path: Path, name: str) -> None:
    found = lines(written(tmp_path, name))
    assert [action["index"]["_id"] for action in found[::2]] == IDS
    assert np.array_equal(np.array([by_name(document[FIELD]) for document in found[1::2]]), dense(WHOLE))


def test_queries_of_rank_features_are_a_sum_of_linear_clauses(tmp_path: Path) -> None:
    found = lines(written(tmp_path, "rank_features", "query"))
    assert all(header == {} for header in found[::2])
    for body, row in zip(found[1::2], dense(WHOLE), strict=True):
        clauses = [one["rank_feature"] for one in body["query"].get("bool", {}).get("should", [])]
        assert all(clause["linear"] == {} for clause in clauses)
        assert np.array_equal(by_name({one["field"].removeprefix(f"{FIELD}."): one["boost"] for one in clauses}), row)
        assert clauses or body["query"] == {"match_none": {}}


def test_queries_of_sparse_vector_hold_every_weight_and_prune_none(tmp_path: Path) -> None:
    found = [body["query"]["sparse_vector"] for body in lines(written(tmp_path, "sparse_vector", "query"))[1::2]]
    assert {(one["field"], one["prune"]) for one in found} == {(FIELD, False)}
    assert np.array_equal(np.array([by_name(one["query_vector"]) for one in found]), dense(WHOLE))


def test_milvus_gets_no_empty_vector(tmp_path: Path) -> None:
    found = lines(written(tmp_path, "milvus"))
    kept = WHOLE.counts > 0
    assert [one["id"] for one in found] == [key for key, keep in zip(IDS, kept, strict=True) if keep]
    assert np.array_equal(np.array([by_name(one[FIELD]) for one in found]), dense(WHOLE)[kept])


def test_pgvector_counts_dimensions_from_1_and_escapes_ids(tmp_path: Path) -> None:
    found = [line.split("\t") for line in written(tmp_path, "pgvector").read_text().splitlines()]
    assert [key.replace("\\\\", "\\") for key, _ in found] == IDS
    for (_, text), row in zip(found, dense(WHOLE), strict=True):
        pairs, _, width = text.partition("}/")
        assert width == str(WIDTH)
        weights = dict(pair.split(":") for pair in pairs[1:].split(",") if pair)
        assert np.array_equal(by_name({str(int(dim) - 1): float(value) for dim, value in weights.items()}), row)


def test_lucene_gets_whole_numbers_within_half_a_step_of_the_activations(tmp_path: Path) -> None:
    scale = 40.0
    found = lines(written(tmp_path, "lucene", naming=Naming(NAMES, WIDTH, scale)))
    assert [one["id"] for one in found] == IDS and {one["content"] for one in found} == {""}
    impacts = [weight for one in found for weight in one["vector"].values()]
    assert all(type(impact) is int and impact > 0 for impact in impacts)
    found = np.array([by_name(one["vector"]) for one in found])
    assert np.abs(found / scale - dense(WHOLE)).max() <= 0.5 / scale + 1e-9


def test_queries_of_lucene_repeat_each_term(tmp_path: Path) -> None:
    found = written(tmp_path, "lucene", "query", Naming(NAMES, WIDTH, 10.0)).read_text().splitlines()
    for line, key, row in zip(found, IDS, dense(WHOLE), strict=True):
        name, _, words = line.partition("\t")
        assert name == key and Counter(words.split()) == Counter(
            {str(dim): round(value * 10) for dim, value in enumerate(row) if round(value * 10)}
        )


def test_names_are_unique_and_hold_no_dots_spaces_or_brackets() -> None:
    terms = ("øya", "Norge", "øya", ".", "3.14", "[7]", "a b", "�", "", "Norge[1]")
    names = dimension_names(terms)
    assert names[:5] == ("øya[0]", "Norge", "øya[2]", "[3]", "[4]")
    assert len(set(names)) == len(terms)
    assert not any(set(name) & {".", " ", "�"} for name in names)


def test_a_vector_that_pgvector_can_not_store_is_refused(tmp_path: Path) -> None:
    large = vectors_of(dict.fromkeys(range(MAX_SPARSEVEC + 1), 1.0), width=20_000)
    naming = Naming(tuple(map(str, range(20_000))), 20_000)
    with pytest.raises(OutputError, match=r"of 'a' has 16,001 active dims; pgvector takes at most 16,000") as caught:
        write(tmp_path / "out", iter([(["a"], large)]), "pgvector", "document", naming)
    assert "--max-active-dims 1000" in caught.value.hint


def test_a_format_that_does_not_exist_or_needs_a_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no format 'faiss'"):
        find_format("faiss")
    monkeypatch.setattr(rows, "find_spec", lambda _: None)
    with pytest.raises(MissingRequirement, match="pyarrow, which is not installed"):
        find_format("parquet")


def test_every_limit_that_users_meet_is_said() -> None:
    said = {name: " ".join(one.limits) for name, one in FORMATS.items()}
    assert "1,000 non-zeros" in said["pgvector"] and "refuses empty vectors" in said["milvus"]
    assert "dots" in said["rank_features"] and "dots" in said["sparse_vector"] and "65,535" in said["sparse_vector"]
    assert "UUID" in said["qdrant"] and "--scale" in said["lucene"]
