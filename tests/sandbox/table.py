"""Prints the table of docs/security.md: `python -m tests.sandbox.table` (`--write` puts it there)."""

from __future__ import annotations

import re
import sys
from itertools import groupby

from tests.conftest import ROOT
from tests.sandbox.acts import ACTS, DENIES, DONE, ENDS, NOTHING, Act

PAGE = ROOT / "docs" / "security.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end of the table -->)", re.DOTALL)
_CONTAINED = ("processes", "memory and compiled code")  # kinds that harm nobody inside of bubblewrap


def words(act: Act, outcome: str, *, contained: bool) -> str:
    """What comes of an act, as the page says it."""
    if outcome == DONE:
        if act.kind == "honest code":
            return "works"
        return "runs inside" if contained and act.kind in _CONTAINED else "**not stopped**"
    return {ENDS: "ends the run", DENIES: "denied", NOTHING: "reaches nothing"}[outcome]


def table() -> str:
    """Markdown."""
    lines = ["| the code tries | hook alone | bubblewrap |", "|---|---|---|"]
    for kind, acts in groupby(ACTS, key=lambda act: act.kind):
        lines.append(f"| **{kind}** | | |")
        for act in acts:
            hook, bubblewrap = words(act, act.hook, contained=False), words(act, act.bubblewrap, contained=True)
            lines.append(f"| {act.what} | {hook} | {bubblewrap} |")
    return "\n".join(lines)


def page() -> str:
    """The page with the present table in it."""
    return _TABLE.sub(lambda _: f"{table()}\n", PAGE.read_text("utf-8"))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), "utf-8")
    else:
        print(table())
