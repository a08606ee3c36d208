"""A name stands for a number only where no other one is possible."""

from __future__ import annotations

import math
from typing import Any

import libcst as cst
import pytest

from patcher.codemods import Applied, Refused
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.numbers import Number
from patcher.codemods.dataflow.package import External
from patcher.codemods.nodes import walk
from tests.codemods.dataflow.functions import method_frame
from tests.codemods.heads import head
from tests.codemods.tools import HOME, package_of, run


@pytest.mark.parametrize(
    "code",
    [
        head("if x is None:", "    CAP = 99", "x = CAP * torch.sigmoid(x / 7.5)", "return x"),
        head("x = CAP * torch.sigmoid(x / 7.5)", "return x").replace("(self, x)", "(self, x, CAP)"),
        head("x = CAP * torch.sigmoid(x)", "return x") + "    def f(self):\n        global CAP\n        CAP = 1\n",
        "CAP = 31\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x"),
        head("x = self.CAP * torch.sigmoid(x / 7.5)", "return x") + "    CAP = 1\n    CAP = 2\n",
        head("x = self.CAP * torch.sigmoid(x / 7.5)", "return x") + "    def f(self):\n        self.CAP = 1\n",
    ],
)
def test_a_constant_that_may_be_another_number_is_not_understood(code: str) -> None:
    outcome = run("soft_cap", "import torch\nCAP = 30\n" + code)
    assert isinstance(outcome, Refused) and outcome.name == "scale-unknown"


def test_a_constant_of_another_function_does_not_hide_that_of_the_file() -> None:
    hidden = "    def other(self, CAP):\n        CAP = 99\n"
    code = "import torch\nCAP = 30\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x") + hidden
    assert isinstance(run("soft_cap", code), Applied)


def test_a_constant_that_is_bound_a_second_time_among_others_is_not_understood() -> None:
    code = "import torch\nCAP = 30\nCAP, OTHER = 40, 1\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x")
    outcome = run("soft_cap", code)
    assert isinstance(outcome, Refused) and outcome.name == "scale-unknown"


NUMBERS = """\
import torch as t
from torch import nn
SCALE = 30
PAIR = 1, 2
TABLE = dict(a=3, b=[5, t.ones(1)])
HALF = SCALE / 2
squash = t.sigmoid
class Head(nn.Module):
    RATIO = 0.5
    def __init__(self, config, temperature=7.5):
        self.scale, self.temperature = config.cap, temperature
    @property
    def half(self):
        return self.scale / 2
    def forward(self, x, n):
        local = 4
        first, second = (5, 2)
        return ({})
"""


def returned_in_forward(expression: str, config: dict[str, Any] | None = None) -> tuple[Frame, Any, cst.CSTNode]:
    """The frame of Head.forward, the expression that it returns, and the statement around it."""
    package = package_of({HOME: NUMBERS.format(expression)}, config or {"cap": 20, "off": None, "pair": [5, 6]})
    frame = method_frame(package, "Head", "forward")
    statement = next(node for node in walk(frame.function) if isinstance(node, cst.Return))
    return frame, statement.value, statement


@pytest.mark.parametrize(
    ("expression", "value", "key"),
    [
        ("1 / 8", 0.125, None),
        ("PAIR[1] + TABLE['a'] + TABLE['b'][0]", 10, None),
        ("first - second", 3, None),
        ("self.half", 10, None),
        ("self.config.pair[1]", 6, ("pair", "1")),
        ("-HALF + +1", -14, None),
        ("local * 2", 8, None),
        ("Head.RATIO", 0.5, None),
        ("self.RATIO", 0.5, None),
        ("self.scale", 20, ("cap",)),
        ("self.config.cap", 20, ("cap",)),
        ('getattr(self.config, "cap", 99)', 20, ("cap",)),
        ('getattr(self.config, "other", 99)', 99, None),
    ],
)
def test_the_number_of_an_expression_and_its_key(expression: str, value: float, key: tuple[str, ...] | None) -> None:
    frame, node, statement = returned_in_forward(expression)
    assert frame.number(node, statement) == Number(value, key)


@pytest.mark.parametrize(
    "expression", ["n", "x.mean()", "1 / 0", "self.config.other", "other", "self.temperature", "2**9**9"]
)
def test_what_is_no_certain_number_has_none(expression: str) -> None:
    frame, node, statement = returned_in_forward(expression)
    assert frame.number(node, statement) is None


def test_a_key_that_config_json_sets_to_null_is_switched_off() -> None:
    frame, node, statement = returned_in_forward("self.config.off")
    number = frame.number(node, statement)
    assert number is not None and math.isnan(number.value) and number.key == ("off",)


@pytest.mark.parametrize(
    ("expression", "name"),
    [("t.sigmoid", "torch.sigmoid"), ("squash", "torch.sigmoid"), ("nn.functional.tanh", "torch.nn.functional.tanh")],
)
def test_an_alias_means_what_it_was_imported_as(expression: str, name: str) -> None:
    frame, node, statement = returned_in_forward(expression)
    assert frame.meaning(node, statement) == External(name)


@pytest.mark.parametrize("expression", ["x.sigmoid", "n", "local.sigmoid"])
def test_a_method_of_a_value_means_nothing_outside(expression: str) -> None:
    frame, node, statement = returned_in_forward(expression)
    assert frame.meaning(node, statement) is None


def test_the_section_of_the_text_is_the_configuration_where_there_is_none() -> None:
    config = {"cap": 1, "text_config": {"cap": 2}}
    for expression, number in (
        ("self.config.get_text_config().cap", Number(2, ("text_config", "cap"))),
        ("self.config.text_config.cap", Number(2, ("text_config", "cap"))),
    ):
        frame, node, statement = returned_in_forward(expression, config)
        assert frame.number(node, statement) == number
    frame, node, statement = returned_in_forward("self.config.get_text_config().cap", {"cap": 1})
    assert frame.number(node, statement) == Number(1, ("cap",))
