"""The page of what is recognised and the tests' tables name the same rows, and each refusal has its place there."""

import re

from patcher.planning.refusals import REFUSALS
from tests.codemods.shapes import ACCEPTED, BESIDE, SIGNED_CAPS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "recognised.md").read_text("utf-8")


def rows(head: str) -> set[str]:
    """The first column of the table whose head begins with a word."""
    table = re.search(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table, f"the page has no table `{head}`"
    return {line.split(" | ")[0].removeprefix("| ") for line in table[1].splitlines()}


def test_what_the_page_calls_recognised_is_what_the_shapes_test() -> None:
    assert rows("recognised") == {shape.row for shape in ACCEPTED}


def test_what_the_page_calls_left_alone_is_what_the_shapes_test() -> None:
    assert rows("left alone") == {shape.row for shape in [*BESIDE, *SIGNED_CAPS]}


def test_every_refusal_has_a_heading() -> None:
    assert sorted(re.findall(r"^### (.*)$", PAGE, re.MULTILINE)) == sorted(REFUSALS)
