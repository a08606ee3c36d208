"""The README's tables of shapes and the tests' tables name the same rows."""

import re
from pathlib import Path

from patcher.planning.refusals import REFUSALS
from tests.codemods.shapes import ACCEPTED, BESIDE, SIGNED_CAPS

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def rows(head: str) -> set[str]:
    """The first column of the table whose head begins with a word."""
    table = re.search(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table, f"the README has no table `{head}`"
    return {line.split(" | ")[0].removeprefix("| ") for line in table[1].splitlines()}


def test_what_the_readme_calls_recognised_is_what_the_shapes_test() -> None:
    assert rows("recognised") == {shape.row for shape in ACCEPTED}


def test_what_the_readme_calls_left_alone_is_what_the_shapes_test() -> None:
    assert rows("left alone") == {shape.row for shape in [*BESIDE, *SIGNED_CAPS]}


def test_the_readme_lists_every_refusal() -> None:
    assert {name for row in rows("refused as") for name in row.split(", ")} == set(REFUSALS)
