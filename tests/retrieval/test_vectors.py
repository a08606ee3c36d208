"""What a child wrote is vectors, or it is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from patcher.retrieval.vectors import Vectors, joined
from tests.retrieval.made_up import WIDTH, dense, random_vectors, vectors_of

GOOD = vectors_of({1: 0.5, 7: 2.0}, {}, {3: 1.5})


def test_vectors_are_read_as_they_were_written() -> None:
    found = Vectors.from_bytes(GOOD.to_bytes(), 3)
    assert found.width == WIDTH and np.array_equal(dense(found), dense(GOOD))
    assert [(dims.tolist(), values.tolist()) for dims, values in found.rows()] == [
        ([1, 7], [0.5, 2.0]),
        ([], []),
        ([3], [1.5]),
    ]


def test_chunks_are_joined_in_their_order() -> None:
    one, other = random_vectors(5, 1), random_vectors(4, 2)
    assert np.array_equal(dense(joined([one, other])), np.vstack([dense(one), dense(other)]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"values": np.array([0.5, np.nan, 1.5], dtype=np.float32)}, "not finite"),
        ({"values": np.array([0.5, 0.0, 1.5], dtype=np.float32)}, "above 0"),
        ({"indices": np.array([7, 1, 3], dtype=np.int32)}, "not ascending"),
        ({"indices": np.array([1, 1, 3], dtype=np.int32)}, "not ascending"),
        ({"indices": np.array([1, WIDTH, 3], dtype=np.int32)}, "not ascending"),
        ({"indices": np.array([-1, 7, 3], dtype=np.int32)}, "not ascending"),
        ({"counts": np.array([2, 2, -1], dtype=np.int32)}, "vectors of 3 texts"),
        ({"counts": np.array([2, 1], dtype=np.int32)}, "vectors of 3 texts"),
        ({"values": np.array([0.5, 2.0], dtype=np.float32)}, "vectors of 3 texts"),
        ({"values": np.array([0.5, 2.0, 1.5])}, "other tensors"),
    ],
)
def test_anything_else_is_refused(change: dict[str, np.ndarray], why: str) -> None:
    with pytest.raises(ValueError, match="dimensions that are" if why == "not ascending" else why):
        Vectors.from_bytes(replace(GOOD, **change).to_bytes(), 3)


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        Vectors.from_bytes(content, 0)
