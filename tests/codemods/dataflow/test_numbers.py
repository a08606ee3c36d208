"""A constant expression has the value that Python gives it, or none."""

from __future__ import annotations

import math

import libcst as cst
import pytest
import torch

from patcher.codemods import Applied, Refused
from patcher.codemods.dataflow.numbers import Known, Number, evaluate
from tests.codemods.heads import head
from tests.codemods.tools import run

NAMES = {"a": Known(7.5), "b": Known(None, ("b",)), "t": Known((3, 4)), "d": Known({"x": [1, {"y": 9}]}, ("d",))}


def value_of(code: str) -> Known | None:
    def read(node: cst.BaseExpression) -> Known | None:
        if isinstance(node, cst.Name) and node.value in NAMES:
            return NAMES[node.value]
        return evaluate(node, read, name_of)

    def name_of(node: cst.BaseExpression) -> str:
        text = cst.Module([]).code_for_node(node)
        return text if "." in text else f"builtins.{text}"

    return read(cst.parse_expression(code))


@pytest.mark.parametrize(
    "code",
    [
        *("a ** -1", "7 // 2", "-7 // 2", "7 % 3", "-7 % 3", "2 ** 0.5", "1e3 - 1", "0x10", "1_000", "+(-3)", "not 0"),
        *(
            "float(30)",
            "float('30')",
            "int('8')",
            "int(7.9)",
            "round(7.5)",
            "round(7.123, 1)",
            "abs(-3)",
            "min(2, 1.5)",
        ),
        *("math.sqrt(2)", "math.log(8, 2)", "math.pi / 2", "math.exp(1)", "math.pow(2, 3)", "math.floor(-2.5)"),
        *("a if b is None else 2", "b or 5", "a or 5", "a and 5", "0 or 4.5", "3 if a > 7 else 4", "a == 7.5"),
        *("t[0]", "t[-1]", "(1, 2, 3)[1]", "{'x': 4}['x']", "{1: 2, 1: 3}[1]", "d['x'][0]", "d['x'][1]['y']"),
        *("dict(x=6)['x']", "[1, open][0]"),
    ],
)
def test_a_constant_expression_has_the_value_that_python_gives_it(code: str) -> None:
    scope = {name: known.value for name, known in NAMES.items()}
    found = value_of(code)
    assert found is not None and found.value == eval(code, {"math": math}, scope)


@pytest.mark.parametrize(
    "code",
    [
        *("c", "1 / 0", "9 ** 9 ** 9", "2 ** 1e6", "(-8) ** 0.5", "1e308 * 10", "b + 1", "'x' * 3", "t[5]", "t['x']"),
        *("d['z']", "[1, open][1]", "(*t, 1)[0]", "{**d}['x']", "{open: 1}[1]", "float('x')", "float(x=1)", "min(*t)"),
        *("round('7')", "math.sqrt(-1)", "other.sqrt(4)", "t[0:1]", "1 < 2 < 3", "f'{a}'", "a is 7.5", "lambda: 3"),
    ],
)
def test_what_has_no_certain_value_has_none(code: str) -> None:
    assert value_of(code) is None


def test_a_number_is_finite_and_no_boolean() -> None:
    assert Known(3).number() == Number(3.0)
    assert [Known(value).number() for value in (True, None, "3", math.inf, math.nan)] == [None] * 5
    off = Known(None, ("cap",)).number()
    assert off is not None and math.isnan(off.value) and off.key == ("cap",)


@pytest.mark.parametrize(
    ("scale", "is_exact"),
    [
        *(("x.new_tensor(30.)", True), ("torch.tensor(30.)", True), ("torch.tensor(29.875)", True)),
        *(("torch.tensor(30.1)", False), ("x.new_tensor(1e-6)", False), ("torch.tensor(7e4)", False)),
        *(("torch.tensor([30.])", False), ("torch.tensor(30., dtype=torch.int8)", False), ("other.tensor(30.)", False)),
    ],
)
def test_a_tensor_of_one_number_is_read_where_every_dtype_holds_it(scale: str, is_exact: bool) -> None:
    outcome = run("soft_cap", "import torch\n" + head(f"x = {scale} * torch.sigmoid(x / 7.5)", "return x"))
    if not is_exact:
        assert isinstance(outcome, Refused) and outcome.name == "scale-unknown"
        return
    assert isinstance(outcome, Applied) and outcome.soft_cap is not None
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.zeros((), dtype=dtype)
        assert eval(scale, {"torch": torch, "x": x}).to(dtype).item() == outcome.soft_cap.scale
