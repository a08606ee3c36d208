"""Sparse vectors of some texts, and their form on disk, which is checked when it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

_TYPES = {"width": np.int64, "counts": np.int32, "indices": np.int32, "values": np.float32}


@dataclass(frozen=True)
class Vectors:
    """Sparse vectors of `width` dimensions.

    `counts` [texts] are the active dims of each text; `indices` and `values` [sum of counts] are those dims, ascending
    within a text, and their activations, all above 0.
    """

    width: int
    counts: NDArray[np.int32]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """The active dims and the activations of each text."""
        ends = np.cumsum(self.counts)[:-1]
        yield from zip(np.split(self.indices, ends), np.split(self.values, ends), strict=True)

    def row_numbers(self) -> NDArray[np.int64]:
        """The number of the text of each activation."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.counts)

    def to_bytes(self) -> bytes:
        """The content of a file."""
        width = np.array([self.width], dtype=np.int64)
        tensors = {"width": width, "counts": self.counts, "indices": self.indices, "values": self.values}
        return bytes(save(tensors))

    @classmethod
    def from_bytes(cls, content: bytes, texts: int | None) -> Vectors:
        """The vectors of a file. Raises ValueError for anything but valid vectors of so many `texts`."""
        try:
            found = load(content)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if {name: array.dtype for name, array in found.items()} != _TYPES or found["width"].shape != (1,):
            raise ValueError("other tensors than those of sparse vectors")
        vectors = cls(int(found["width"][0]), found["counts"], found["indices"], found["values"])
        vectors._check(len(vectors) if texts is None else texts)
        return vectors

    def _check(self, texts: int) -> None:
        shapes = (self.counts.shape, self.indices.shape, self.values.shape)
        if shapes[0] != (texts,) or np.any(self.counts < 0) or shapes[1:] != ((int(self.counts.sum()),),) * 2:
            raise ValueError(f"not the vectors of {texts} texts")
        if not (np.isfinite(self.values).all() and np.all(self.values > 0)):
            raise ValueError("activations that are not finite numbers above 0")
        inside = np.all((self.indices >= 0) & (self.indices < self.width))
        if not inside or np.any(np.diff(self.row_numbers() * self.width + self.indices) <= 0):
            raise ValueError("dimensions that are not ascending numbers below the width")


def joined(chunks: list[Vectors]) -> Vectors:
    """The vectors of several chunks, at least one, in their order."""
    return Vectors(
        chunks[0].width,
        np.concatenate([chunk.counts for chunk in chunks]),
        np.concatenate([chunk.indices for chunk in chunks]),
        np.concatenate([chunk.values for chunk in chunks]),
    )
