"""Peak memory of `patcher verify` on 100,000 short texts against 100 of them: it must not grow with their number.

The model is the smallest of the family's code, one layer of 64, so that what piles up per text would show beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.shapes import SMALLEST
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import Workshop

FEW, MANY = 100, 100_000
LIMIT = 1.05
_NOUNS = ("hest", "båt", "fjord", "skog", "elv", "hytte", "bil", "katt", "hund", "fugl", "bok", "stol", "vind", "sau")
_VERBS = ("ser", "finner", "henter", "følger", "tegner", "maler", "kjenner", "liker", "møter", "trenger")


def flat(workshop: Workshop, few: int = FEW, many: int = MANY) -> Iterator[Comparison]:
    """One pair whatever the number of pairs asked for: bytes hardly vary, and the larger run takes minutes."""
    pair = workshop.model(SMALLEST)
    peaks = []
    for count in (many, few):
        texts = workshop.write_texts(f"{count}-texts", [sentence(number) for number in range(count)])
        peaks.append(workshop.run(workshop.verify(pair, texts)).peak)
    yield Comparison(f"verify, {many:,} short texts against {few:,}: memory", peaks[:1], peaks[1:], "B", LIMIT)


def sentence(number: int) -> str:
    """A short sentence, another one for each number."""
    nouns, verbs = len(_NOUNS), len(_VERBS)
    first, verb, second = number % nouns, number // nouns % verbs, number // (nouns * verbs) % nouns
    return f"En {_NOUNS[first]} {_VERBS[verb]} en {_NOUNS[second]} {number}."
