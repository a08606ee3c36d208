"""`patcher verify` against what a user would run for the same figures: `SparseEncoder.encode` with both models.

Theirs is one process that loads the base, encodes, takes `sparsity()`, lets it go, and does the same with the patched
model, with sentence-transformers' own batch size (`programs/encode.py`). Active dims and sparsity come out of both;
ours also checks. Tokens per second are those of the whole process, imports included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.processes import python
from tests.benchmarks.shapes import BASE, Pair
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop


def miniature(workshop: Workshop) -> Iterator[Comparison]:
    yield from against_encode(workshop, workshop.miniature, "miniature", times=20)


def base(workshop: Workshop) -> Iterator[Comparison]:
    yield from against_encode(workshop, workshop.model(BASE), "base-shaped, 149 M", times=1)


def against_encode(workshop: Workshop, pair: Pair, name: str, times: int) -> Iterator[Comparison]:
    """Two rows, throughput and bytes; both read the bundled texts `times` times over, ours once without being told."""
    bundled = [text for batch in json.loads(workshop.batches(pair).read_text()) for text in batch]
    more = workshop.write_texts(f"more-{pair.patched.name}", bundled * (times - 1)) if times > 1 else None
    every = workshop.write_texts(f"every-{pair.patched.name}", bundled * times)
    theirs = python(PROGRAMS / "encode.py", pair.base, pair.patched, every.with_suffix(".json"))
    runs = workshop.alternate(workshop.verify(pair, more), theirs)
    tokens = 2 * times * _tokens(pair, bundled)
    ours, encode = zip(*runs, strict=True)
    yield Comparison(
        f"verify against SparseEncoder.encode, {name}: throughput",
        [tokens / run.seconds for run in ours],
        [tokens / run.seconds for run in encode],
        "tokens/s",
        1.0,
        at_least=True,
    )
    yield Comparison(
        f"verify against SparseEncoder.encode, {name}: memory",
        [run.peak for run in ours],
        [run.peak for run in encode],
        "B",
        1.0,
    )


def _tokens(pair: Pair, texts: list[str]) -> int:
    """Tokens of the texts after truncation, as the tokenizers library counts them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(pair.patched) / "tokenizer.json"))
    tokenizer.enable_truncation(520)
    return sum(len(found.ids) for found in tokenizer.encode_batch(texts))
