"""A model of NorBERT4-xlarge's size, 987 M parameters with random weights on the disk, verified without swapping.

Memory is held against the memory of the machine, and the pages that the whole machine swapped out meanwhile are told.
Its size is the one that the family states, with input and output matrix counted once; the file holds both, 4.3 GB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.shapes import XLARGE, Shape
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import Workshop

TEXTS = ("Oslo er hovedstaden i Norge.", "Fjorden ligg stille om morgonen.", "Mun hálan sámegiela.")


def verify(workshop: Workshop, shape: Shape = XLARGE) -> Iterator[Comparison]:
    """Two rows of one run: peak against the weights, and swapping against the memory of the machine."""
    pair = workshop.model(shape)
    weights = (pair.patched / "model.safetensors").stat().st_size
    texts = workshop.write_texts("few", TEXTS)
    before = pages_swapped_out()
    run = workshop.run(workshop.verify(pair, texts))
    swapped = run.swapped + (pages_swapped_out() - before) * os.sysconf("SC_PAGE_SIZE")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Comparison(f"verify, {shape.name}-shaped: memory against the weights", [run.peak], [weights], "B")
    yield Comparison(f"verify, {shape.name}-shaped: memory against the machine's", [run.peak], [memory], "B", 1.0)
    yield Comparison(f"verify, {shape.name}-shaped: swapped out against the machine's", [swapped], [memory], "B", 0.0)


def pages_swapped_out() -> int:
    """Pages that this machine has swapped out since it was started."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("pswpout ")).split()[1])
