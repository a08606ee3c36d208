"""Runs one codemod on a piece of code and proves its result, as the plan does."""

from __future__ import annotations

import ast
from textwrap import dedent
from typing import Any

from patcher.codemods import CODEMODS, Applied, Code, NotNeeded, Outcome
from patcher.codemods.proof import assert_only_intended

CONFIG: dict[str, Any] = {}


def run(name: str, code: str | bytes, classes: tuple[str, ...] = ("Head",), config: dict[str, Any] = CONFIG) -> Outcome:
    """The outcome of a codemod on dedented code; bytes are taken as they are."""
    content = dedent(code).encode() if isinstance(code, str) else code
    return CODEMODS[name](Code("modeling.py", content, config, classes))


def applied(name: str, code: str | bytes, classes: tuple[str, ...] = ("Head",)) -> str:
    """The new code, after the proof, a second run, and a parse of it."""
    content = dedent(code).encode() if isinstance(code, str) else code
    before = Code("modeling.py", content, CONFIG, classes)
    outcome = CODEMODS[name](before)
    assert isinstance(outcome, Applied), outcome
    after = Code("modeling.py", outcome.code, CONFIG, classes)
    ast.parse(after.text)
    assert_only_intended(before.text, after.text, outcome.spans, "modeling.py")
    assert isinstance(CODEMODS[name](after), NotNeeded), "a second run would change something"
    return after.text


def check(name: str, before: str, after: str, classes: tuple[str, ...] = ("Head",)) -> None:
    """`before` becomes `after`, byte for byte."""
    assert applied(name, before, classes) == dedent(after)
