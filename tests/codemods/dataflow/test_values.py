"""A tensor is followed into the tuple that it is taken from, and through the sigmoid written out with exp."""

from __future__ import annotations

import pytest

from tests.codemods.dataflow.test_flow import flow_of, steps_of

SIGMOID = [("mul", 30.0), ("sigmoid", None), ("mul", -1.0), ("mul", -1.0)]


@pytest.mark.parametrize(
    "lines",
    [
        ["y, z = x * 2, x * 3", "return y"],
        ["z, y = (x, x * 2)", "return y"],
        ["pair = x * 2, x * 3", "y, z = pair", "return y"],
        ["pair = (x * 2, a) if a else (x * 2, x)", "y, z = pair", "return y"],
        ["*z, y = (x, x * 3, x * 2)", "return y"],
        ["pair = x, x * 2", "return pair[1]"],
        ["y, z = (x * 2).chunk(2)", "return y"],
    ],
)
def test_an_item_is_followed_into_its_own_place(lines: list[str]) -> None:
    flow = flow_of(*lines)
    assert not flow.unknown and {tuple(steps) for steps in steps_of(*lines)} == {(("mul", 2.0),)}


@pytest.mark.parametrize(
    "lines",
    [
        ["y, z = (*x, a)", "return y"],
        ["y, z = (x,)", "return z"],
        ["y, z = a.sort()", "return y"],
        ["(y, z), w = a", "return y"],
        ["pair = x, a", "pair = a.both()", "y, z = pair", "return y"],
    ],
)
def test_an_item_without_a_certain_place_is_unknown(lines: list[str]) -> None:
    assert flow_of(*lines).unknown


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("30 / (1 + torch.exp(-x))", SIGMOID),
        ("30 / ((-x).exp() + 1)", SIGMOID),
        ("30 * (1 / (1 + torch.exp(-x)))", [("mul", 30.0), ("mul", 1.0), *SIGMOID[1:]]),
        ("30 * torch.reciprocal(1 + torch.exp(-x))", [("mul", 30.0), ("mul", 1.0), *SIGMOID[1:]]),
    ],
)
def test_the_logistic_function_is_a_sigmoid_of_what_its_exponent_negates(
    expression: str, steps: list[tuple[str, float | None]]
) -> None:
    assert steps_of(f"return {expression}") == [steps]


@pytest.mark.parametrize("expression", ["30 / (2 + torch.exp(-x))", "30 / (1 - torch.exp(-x))", "30 / (1 + x.exp(a))"])
def test_what_is_not_the_logistic_function_is_unknown(expression: str) -> None:
    assert flow_of(f"return {expression}").unknown
