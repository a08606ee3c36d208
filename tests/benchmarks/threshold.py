"""A threshold at the vocabulary of NorBERT4, 51,200: what it adds to an encode, and the memory of a sweep.

Two layers of the base's width under the base's head: less work for a text than any published model has, so that the
share of the threshold shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from tests.benchmarks.processes import python
from tests.benchmarks.shapes import HEAD_OF_BASE, SMALLEST, Pair, Shape
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop

PAIRS = 60  # an encode takes less than a second
FEW, MANY, LARGEST = 512, 4096, 100_000  # documents
WIDE = replace(SMALLEST, name="wide", vocabulary=51_200)  # as little work for a text as possible, at the full width
BYTES = 6e9  # that a sweep over LARGEST may take


def encode(workshop: Workshop) -> Iterator[Comparison]:
    yield from with_against_without(workshop, workshop.model(HEAD_OF_BASE), PAIRS)


def with_against_without(workshop: Workshop, pair: Pair, pairs: int, texts: int = 8) -> Iterator[Comparison]:
    """Two rows. `workshop.pairs` counts processes, and this is one process."""
    found = json.loads(workshop.run(python(PROGRAMS / "threshold.py", pair.base, str(pairs), str(texts))).output)
    pruned, dropped, plain = zip(*found, strict=True)
    for name, ours in (("a threshold", pruned), ("a threshold and a dropped dimension", dropped)):
        yield Comparison(f"encode with {name} against without, vocabulary 51,200: CPU time", ours, plain, "s", 1.02)


def sweep(workshop: Workshop) -> Iterator[Comparison]:
    """Memory must not grow with the number of documents."""
    yield from flat(workshop, WIDE, FEW, MANY)


def largest_sweep(workshop: Workshop) -> Iterator[Comparison]:
    """Memory against the limit, and throughput against that of few documents. Takes an hour or more."""
    (few, _), (many, peak) = (_swept(workshop, WIDE, count) for count in (FEW, LARGEST))
    yield Comparison(f"sweep over {LARGEST:,} documents against 6 GB: memory", [peak], [BYTES], "B", 1.0)
    yield Comparison(f"sweep over {LARGEST:,} documents against {FEW:,}", [many], [few], "documents/s")


def flat(workshop: Workshop, shape: Shape, few: int, many: int) -> Iterator[Comparison]:
    """One pair whatever the number of pairs asked for: bytes hardly vary."""
    (slow, low), (fast, high) = (_swept(workshop, shape, count) for count in (few, many))
    name = f"sweep over {many:,} documents against {few:,}"
    yield Comparison(f"{name}: memory", [high], [low], "B", 1.1)
    yield Comparison(name, [fast], [slow], "documents/s")


def _swept(workshop: Workshop, shape: Shape, documents: int) -> tuple[float, int]:
    """Documents per second, and the peak of memory in bytes."""
    done = workshop.run(python(PROGRAMS / "scored.py", workshop.model(shape).base, str(documents)))
    return documents / float(done.output.split()[-1]), done.peak
