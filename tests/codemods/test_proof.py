"""The proof has to see every change that was not intended, on the lines and in the tree."""

from __future__ import annotations

import pytest

from patcher.codemods import Span
from patcher.errors import CodeError
from tests.codemods.tools import assert_only_intended

BEFORE = "a = 1\nif a:\n    b = 2\n    c = 3\nd = 4\n"


def prove(after: str, *spans: Span) -> None:
    assert_only_intended(BEFORE, after, spans, "modeling.py")


def test_an_intended_change_passes() -> None:
    prove(BEFORE.replace("b = 2", "b = 5"), Span(3, 3))


def test_an_intended_insertion_passes() -> None:
    prove(BEFORE.replace("    c", "    x = 0\n    c"), Span(4, 3))


@pytest.mark.parametrize(
    "after",
    [
        BEFORE.replace("d = 4", "d = 5"),
        BEFORE.replace("a = 1\n", ""),
        BEFORE + "e = 5\n",
        BEFORE.replace("d = 4\n", "d = 4"),
        BEFORE.replace("d = 4", "d  = 4"),
        BEFORE.replace("a = 1\n", "a = 1\r\n"),
    ],
    ids=["changed", "removed", "added", "no last newline", "a blank", "a line end"],
)
def test_a_change_on_another_line_is_found(after: str) -> None:
    with pytest.raises(CodeError, match="was not meant to"):
        prove(after.replace("b = 2", "b = 5"), Span(3, 3))


def test_a_statement_that_moves_into_another_block_is_found() -> None:
    with pytest.raises(CodeError, match="outside the changed lines differs"):
        prove(BEFORE.replace("if a:", "if a:\n    pass\nif b:"), Span(2, 2))


def test_a_result_that_does_not_parse_is_found() -> None:
    with pytest.raises(CodeError, match="is not valid Python"):
        prove(BEFORE.replace("b = 2", "b ="), Span(3, 3))
