"""Prints the tables of docs/verification.md: `python -m tests.verify.table` (`--write` puts them there)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby

from patcher.verify.measure.calls import MODES as MODES_OF_USE
from patcher.verify.measure.calls import SAVED
from tests.conftest import ROOT
from tests.verify.heads import HEADS, MODES, NOT_FOLLOWED, Head

PAGE = ROOT / "docs" / "verification.md"


def modes() -> Iterator[str]:
    """A line for each mode of use."""
    yield "| mode | has to repeat | optional |"
    yield "|---|---|---|"
    for mode in (*MODES_OF_USE, SAVED):
        repeats = f"`{mode.equal}`" if mode.equal else ""
        yield f"| `{mode.name}` | {repeats} | {'yes' if mode.optional else ''} |"


def outcome(head: Head) -> str:
    """What becomes of a head, as the tests of planning and of the verification assert it."""
    if head.sound:
        return "right, and refused: it is not followed" if head.name in NOT_FOLLOWED else "right: loses its cap"
    return "wrong: fails `modes_agree`" if head.dynamic else "wrong: refused by the plan"


def heads() -> Iterator[str]:
    """A line for each head, under its mode."""
    yield "| head | outcome |"
    yield "|---|---|"
    for mode, some in groupby(sorted(HEADS, key=lambda head: MODES.index(head.mode)), key=lambda head: head.mode):
        yield f"| **{mode}** | |"
        yield from (f"| {head.name.replace('|', '/')} | {outcome(head)} |" for head in some)


TABLES = {"modes": modes, "heads": heads}


def page() -> str:
    """The page with the present tables in it."""
    text = PAGE.read_text("utf-8")
    for name, lines in TABLES.items():
        found = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
        assert found.search(text), name
        text = found.sub(lambda _, lines=lines: "\n".join(lines()) + "\n", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), "utf-8")
    else:
        for lines in TABLES.values():
            print("\n".join(lines()), end="\n\n")
