"""`patcher encode` against `SparseEncoder.encode_document`, and its memory for many documents against few.

Texts per second are those that each prints, loading not included. Theirs runs at the batch size that was fastest in a
run of its own (`programs/sparse_encoder.py`); ours at its default, and it also checks and stores the vectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks.many_texts import LIMIT, sentence
from tests.benchmarks.processes import python
from tests.benchmarks.shapes import HEAD_OF_BASE, SMALLEST, Pair
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop

SIZES = (2, 4, 8, 32)  # 32 is the default


def miniature(workshop: Workshop) -> Iterator[Comparison]:
    yield from throughput(workshop, workshop.miniature, "miniature", times=4)


def head(workshop: Workshop) -> Iterator[Comparison]:
    yield from throughput(workshop, workshop.model(HEAD_OF_BASE), "vocabulary 51,200", times=1)


def throughput(
    workshop: Workshop, pair: Pair, name: str, times: int, sizes: Sequence[int] = SIZES
) -> Iterator[Comparison]:
    """One row: the bundled probe texts, `times` times over."""
    bundled = [text for batch in json.loads(workshop.batches(pair).read_text()) for text in batch]
    texts = _write(workshop, f"encode-{pair.patched.name}", bundled * times)
    theirs = partial(python, PROGRAMS / "sparse_encoder.py", pair.patched, texts.with_suffix(".json"))
    tried = json.loads(workshop.run(theirs(*map(str, sizes))).output)
    best = max(tried, key=tried.__getitem__)
    ours = [*command(pair, texts, workshop.root / "vectors"), "--json"]
    # The output of one run would be in the way of the next.
    runs = workshop.alternate(["sh", "-c", 'rm -f "$0"; exec "$@"', workshop.root / "vectors", *ours], theirs(best))
    yield Comparison(
        f"encode against SparseEncoder.encode_document at batch size {best}, {name}: throughput",
        [json.loads(run.output)["texts_per_second"] for run, _ in runs],
        [json.loads(run.output)[best] for _, run in runs],
        "texts/s",
        1.0,
        at_least=True,
    )


def flat(workshop: Workshop, few: int = 2_000, many: int = 20_000) -> Iterator[Comparison]:
    """One pair, as in `many_texts`."""
    pair = workshop.model(SMALLEST)
    peaks = []
    for count in (many, few):
        texts = _write(workshop, f"encode-{count}", [sentence(number) for number in range(count)])
        peaks.append(workshop.run(command(pair, texts, workshop.root / f"vectors-{count}")).peak)
    yield Comparison(f"encode, {many:,} short documents against {few:,}: memory", peaks[:1], peaks[1:], "B", LIMIT)


def flat_100000(workshop: Workshop) -> Iterator[Comparison]:
    yield from flat(workshop, 10_000, 100_000)


def command(pair: Pair, texts: Path, out: Path) -> list[str | Path]:
    """`patcher encode` as a user types it."""
    options = ("--to", "parquet", "--out", out, "--trust-remote-code", "--device", "cpu", "--quiet")
    return python("-m", "patcher", "encode", pair.patched, texts, *options)


def _write(workshop: Workshop, name: str, texts: Sequence[str]) -> Path:
    """A file with ids, and beside it the texts as a JSON list."""
    path = workshop.write_texts(name, texts)
    path.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)), "utf-8")
    return path
