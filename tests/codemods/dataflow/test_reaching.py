"""Which assignments may have given a name its value at a statement."""

from __future__ import annotations

from textwrap import indent

import libcst as cst
import pytest

from patcher.codemods.dataflow.reaching import mutated, written_into
from tests.codemods.dataflow.functions import body_of, node_of, source, statement_of


def reaching(*lines: str) -> tuple[list[str | None], bool]:
    """The values of `x` that reach the `return x` after these lines, sorted, and whether one of them always does."""
    body = body_of("def f(a):\n" + indent("\n".join([*lines, "return x"]), "    "))
    found, is_definite = body.reaching_definitions("x", node_of(body, cst.Return, "return x"))
    return sorted((source(one.value) for one in found), key=str), is_definite


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (["x = 1", "x = 2"], ["2"]),
        (["x: int = 1"], ["1"]),
        (["x, y = 1, 2"], ["1"]),
        (["x, y = get()"], [None]),
        (["x = 1", "if a:", "    x = 2"], ["1", "2"]),
        (["if a:", "    x = 1", "else:", "    x = 2"], ["1", "2"]),
        (["x = 1", "if a:", "    x = 2", "    return x + 1"], ["1"]),
        (["x = 1", "for i in a:", "    x = 2"], ["1", "2"]),
        (["x = 1", "try:", "    x = 2", "except ValueError:", "    x = 3"], ["1", "2", "3"]),
        (["with a:", "    x = 1"], ["1"]),
        (["if (x := 1):", "    pass", "x = 2"], ["2"]),
        (["x = 1", "x[0] = 2"], ["1", "2"]),
        (["x = []", "x.append(2)"], ["2", "[]"]),
        (["def x(): ..."], [None]),
    ],
)
def test_the_values_that_may_reach_a_use(lines: list[str], values: list[str | None]) -> None:
    assert reaching(*lines) == (values, True)


@pytest.mark.parametrize("lines", [["pass"], ["if a:", "    x = 1"], ["while a:", "    x = 1"]])
def test_a_name_that_a_path_leaves_without_value_is_not_definite(lines: list[str]) -> None:
    assert not reaching(*lines)[1]


def test_the_end_of_a_loop_reaches_its_beginning() -> None:
    body = body_of("def f(a):\n    x = 1\n    while a:\n        y = x\n        x = 2\n")
    found, _ = body.reaching_definitions("x", node_of(body, cst.Assign, "y = x"))
    assert {source(one.value) for one in found} == {"1", "2"}


def test_a_target_a_keyword_and_an_attribute_are_no_uses() -> None:
    body = body_of("def f(x):\n    x = g(x=1) + a.x\n    return x\n")
    assert [type(body.parent(use)) for use in body.uses("x")] == [cst.Return]


def test_later_uses_are_those_behind_a_statement_and_outside_of_it() -> None:
    body = body_of("def f(x):\n    y = x\n    x = x + 1\n    return x\n")
    later = body.later_uses("x", node_of(body, cst.Assign, "x = x + 1"))
    assert [source(body.statement(use)) for use in later] == ["return x"]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("x.div_(7.5).sigmoid_()", "x"),
        ("torch.sigmoid_(x)", "x"),
        ("out.logits.mul_(2)", "out.logits"),
        ("x.sigmoid()", None),
        ("x.div_(2).sigmoid()", None),
        ("x", None),
    ],
)
def test_a_chain_of_methods_in_place_changes_the_tensor_it_begins_with(code: str, name: str | None) -> None:
    assert mutated(cst.parse_expression(code)) == name


@pytest.mark.parametrize("code", ["x.zero_()", "x[0].fill_(1)", "x += 1", "x[0] *= 2", "x[:, 0] = 1"])
def test_a_statement_that_writes_into_a_tensor_names_it(code: str) -> None:
    body = body_of(f"def f(x):\n    {code}\n")
    assert written_into(statement_of(body, code)) == "x"


@pytest.mark.parametrize("code", ["x = 1", "x.sum()", "x.__len__()", "pass"])
def test_a_statement_that_writes_into_no_tensor_names_none(code: str) -> None:
    body = body_of(f"def f(x):\n    {code}\n")
    assert written_into(statement_of(body, code)) is None
