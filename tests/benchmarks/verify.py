"""Time and memory of a whole `patcher verify` against its floor, for the miniature and for the shape of the base.

The floor is one process that imports torch and transformers, loads both models and runs the same batches of the same
texts, and computes nothing from the logits (`programs/floor.py`). Both find warm caches. Memory is that of all
processes together: `verify` runs a child.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.shapes import BASE, Pair
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import Workshop

# `verify` runs the models in modes of use that the floor does not run.
TIME_LIMIT, MEMORY_LIMIT = 1.25, 1.10


def miniature(workshop: Workshop) -> Iterator[Comparison]:
    yield from against_floor(workshop, workshop.miniature, "miniature")


def base(workshop: Workshop) -> Iterator[Comparison]:
    yield from against_floor(workshop, workshop.model(BASE), "base-shaped, 149 M")


def base_with_sparse_encoder(workshop: Workshop) -> Iterator[Comparison]:
    yield from with_sparse_encoder(workshop, workshop.model(BASE), "base-shaped, 149 M")


def with_sparse_encoder(workshop: Workshop, pair: Pair, name: str) -> Iterator[Comparison]:
    """What sentence-transformers adds, which encodes the texts with both models again: seconds and bytes."""
    commands = (workshop.verify(pair, sparse_encoder=asked) for asked in (True, False))
    ours, plain = zip(*workshop.alternate(*commands), strict=True)
    what = f"verify --sparse-encoder against without it, {name}"
    yield Comparison(f"{what}: time", [run.seconds for run in ours], [run.seconds for run in plain], "s")
    yield Comparison(f"{what}: memory", [run.peak for run in ours], [run.peak for run in plain], "B")


def against_floor(workshop: Workshop, pair: Pair, name: str) -> Iterator[Comparison]:
    """Two rows, seconds and bytes, from the same runs."""
    runs = workshop.alternate(workshop.verify(pair), workshop.floor(pair))
    ours, floor = zip(*runs, strict=True)
    yield Comparison(
        f"verify, {name}: time", [run.seconds for run in ours], [run.seconds for run in floor], "s", TIME_LIMIT
    )
    yield Comparison(
        f"verify, {name}: memory", [run.peak for run in ours], [run.peak for run in floor], "B", MEMORY_LIMIT
    )
