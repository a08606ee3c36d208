"""Refusals are part of the interface: each has a name that never changes, a hint, lines that it quotes, and a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import patcher.codemods
from patcher.codemods import Refused
from patcher.errors import DOCUMENTATION
from patcher.planning.refusals import REFUSALS, refusal
from tests.codemods.shapes import REFUSED

NAME, HYPHENED = re.compile(r"[a-z]+(-[a-z]+)*"), re.compile(r"[a-z]+(-[a-z]+)+")
INTERNAL = {"switched-off"}  # ends as "not needed"
MADE = {"Refused", "UnrecognizedCap"}


def names_in_the_source() -> set[str]:
    """What is given to the classes of MADE, what a function returns for them, and every other text with hyphens."""
    found: set[str] = set()
    root = Path(patcher.codemods.__file__).parent
    for path in [*root.rglob("*.py"), *(root.parent / "planning").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MADE:
                found |= texts(node.args[0], NAME)
            elif path.name == "recognition.py":
                found |= texts(node.value, NAME) if isinstance(node, ast.Return) else texts(node, HYPHENED)
    return found - INTERNAL


def texts(node: ast.AST | None, pattern: re.Pattern[str]) -> set[str]:
    value = node.value if isinstance(node, ast.Constant) else None
    return {value} if isinstance(value, str) and pattern.fullmatch(value) else set()


def names_in_tests() -> set[str]:
    """The names with which the tests of the codemods compare an outcome."""
    tests = Path(__file__).parents[1] / "codemods"
    text = "".join(path.read_text("utf-8") for path in sorted(tests.rglob("test_*.py")))
    found = re.findall(r'name == "([a-z-]+)"|Refused\(\s*"([a-z-]+)"|"(rotary-[a-z-]+)"', text)
    return {shape.refused for shape in REFUSED} | {name for names in found for name in names if name}


def test_every_refusal_has_a_name_in_the_table_and_a_test() -> None:
    names = names_in_the_source()
    assert names == set(REFUSALS), names ^ set(REFUSALS)
    assert names <= names_in_tests(), names - names_in_tests()


def test_every_refusal_says_what_to_do_next() -> None:
    assert all(hint.endswith(".") for hint in REFUSALS.values())


def test_a_refusal_ends_with_the_address_of_its_entry() -> None:
    for name in REFUSALS:
        error = refusal("modeling.py", Refused(name, "it is learned"))
        assert error.hint.endswith(f" See {DOCUMENTATION}recognised/#{name}")
