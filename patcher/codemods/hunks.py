"""The lines of a text, and the hunks in which two texts differ."""

from __future__ import annotations

import io
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True)
class Hunk:
    """Lines `before` of the old text became lines `after` of the new one (0-based, end excluded)."""

    before: tuple[int, int]
    after: tuple[int, int]


def lines(text: str) -> list[str]:
    """The lines of a source file with their ends; a form feed ends none, as in Python and unlike str.splitlines."""
    return io.StringIO(text, newline="").readlines()


def hunks(before: str, after: str) -> tuple[Hunk, ...]:
    """The changed line ranges between two texts. A line is compared with its line end."""
    old, new = lines(before), lines(after)
    same = 0  # the equal lines at the start, which need no search
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    matcher = SequenceMatcher(None, old[same:], new[same:], autojunk=False)
    found = []
    for tag, *ranges in matcher.get_opcodes():
        i1, i2, j1, j2 = (same + index for index in ranges)
        # An insertion next to equal blank lines has several positions; report the first.
        while tag == "insert" and i1 and old[i1 - 1] == new[j2 - 1]:
            i1, i2, j1, j2 = i1 - 1, i2 - 1, j1 - 1, j2 - 1
        if tag != "equal":
            found.append(Hunk((i1, i2), (j1, j2)))
    return tuple(found)
