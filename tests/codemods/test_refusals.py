"""Refusals are part of the interface: each has a name that never changes, a hint, lines that it quotes, and a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import patcher.codemods
from patcher.codemods import Refused, Target
from patcher.planning.refusals import REFUSALS
from tests.codemods.shapes import IMPORTS, REFUSED
from tests.codemods.tools import HOME, find_and_remove, package_of, run

NAME, HYPHENED = re.compile(r"[a-z]+(-[a-z]+)*"), re.compile(r"[a-z]+(-[a-z]+)+")
INTERNAL = {"switched-off"}  # ends as "not needed"
MADE = {"Refused", "UnrecognizedCap"}
CAP = "        return 30 * torch.sigmoid(x / 7.5)\n"
CLASS = "class {}(nn.Module):\n    def forward(self, x):\n"


def test_a_class_without_forward() -> None:
    outcome = run("soft_cap", IMPORTS + f"class Head(Base):\n    def other(self, x):\n{CAP}")
    assert outcome == Refused(
        "no-forward", "Head has no forward method in these files, so its logits can't be followed"
    )


def test_a_cap_that_another_class_of_the_model_needs() -> None:
    code = IMPORTS + CLASS.format("Head") + CAP + "class Other(Head):\n    pass\n"
    outcome = find_and_remove(package_of({HOME: code}), others=(Target("Other", HOME),))
    assert isinstance(outcome, Refused) and outcome.name == "shared"
    assert "Head shares its soft cap with Other: line 7: return 30 * torch.sigmoid(x / 7.5)" in outcome.reason


ROTARY = """\
class Tables(nn.Module):
    def __init__({arguments}):
        {init}
        self.register_buffer("cos", torch.ones(size), persistent=False)
{more}"""
HOME_OF_TABLES = "class Model(PreTrainedModel):\n    pass\n"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("rotary-no-home", ROTARY.format(arguments="self, size", init="super().__init__()", more="")),
        (
            "rotary-in-model",
            ROTARY.format(arguments="self, size", init="super().__init__()", more=HOME_OF_TABLES).replace(
                "Tables(nn.Module)", "Tables(PreTrainedModel)"
            ),
        ),
        (
            "rotary-star-arguments",
            ROTARY.format(arguments="self, *size", init="super().__init__()", more=HOME_OF_TABLES),
        ),
        (
            "rotary-positional-only",
            ROTARY.format(arguments="self, /, size", init="super().__init__()", more=HOME_OF_TABLES),
        ),
        ("rotary-no-super-init", ROTARY.format(arguments="self, size", init="pass", more=HOME_OF_TABLES)),
    ],
)
def test_tables_that_cannot_be_filled_again(name: str, code: str) -> None:
    outcome = run("rotary_tables", IMPORTS + code)
    assert isinstance(outcome, Refused) and outcome.name == name and "Tables" in outcome.reason


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
    text = Path(__file__).read_text("utf-8")
    own = {
        part
        for part in re.findall(
            r'name == "([a-z-]+)"|Refused\(\s*"([a-z-]+)"|\("([a-z-]+)"|"(rotary-[a-z-]+)"|\[([a-z-]+)\\\]', text
        )
    }
    return {shape.refused for shape in REFUSED} | {name for found in own for name in found if name}


def test_every_refusal_has_a_name_in_the_table_and_a_test() -> None:
    names = names_in_the_source()
    assert names == set(REFUSALS), names ^ set(REFUSALS)
    assert names <= names_in_tests(), names - names_in_tests()


def test_every_refusal_says_what_to_do_next() -> None:
    assert all(hint.endswith(".") for hint in REFUSALS.values())
