"""Time of an encode with a threshold on the activations against one without, at the vocabulary of NorBERT4, 51,200.

Two layers of the base's width under the base's head: less work for a text than any published model has, so that the
share of the threshold shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.benchmarks.processes import python
from tests.benchmarks.shapes import HEAD_OF_BASE, Pair
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop

PAIRS = 20  # an encode takes about a second


def encode(workshop: Workshop) -> Iterator[Comparison]:
    yield from with_against_without(workshop, workshop.model(HEAD_OF_BASE), PAIRS)


def with_against_without(workshop: Workshop, pair: Pair, pairs: int, texts: int = 32) -> Iterator[Comparison]:
    """One row. `workshop.pairs` counts processes, and this is one process."""
    found = json.loads(workshop.run(python(PROGRAMS / "threshold.py", pair.base, str(pairs), str(texts))).output)
    ours, plain = zip(*found, strict=True)
    yield Comparison("encode with a threshold against without, vocabulary 51,200: time", ours, plain, "s", 1.02)
