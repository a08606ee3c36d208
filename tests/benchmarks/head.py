"""Forward time of the patched model against the base model's, at the vocabulary of NorBERT4, 51,200.

Two layers of the base's width under the base's head, 8 texts of 128 tokens: what a step of training sees. The patched
model skips a division, a sigmoid and a product over batch x length x vocabulary, so it must not be the slower one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.benchmarks.processes import python
from tests.benchmarks.shapes import HEAD_OF_BASE, Pair
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop

PAIRS = 30  # a pass takes well under a second


def forward(workshop: Workshop) -> Iterator[Comparison]:
    yield from patched_against_base(workshop, workshop.model(HEAD_OF_BASE), PAIRS)


def patched_against_base(
    workshop: Workshop, pair: Pair, pairs: int, batch: int = 8, length: int = 128
) -> Iterator[Comparison]:
    """One row. `workshop.pairs` counts processes, and this is one process."""
    words = map(str, (pairs, batch, length))
    found = json.loads(workshop.run(python(PROGRAMS / "forward.py", pair.base, pair.patched, *words)).output)
    ours, base = zip(*found, strict=True)
    yield Comparison("forward pass, patched against base, vocabulary 51,200: time", ours, base, "s", 1.0)
