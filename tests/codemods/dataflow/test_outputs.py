"""What a function returns, and where the logits are in it."""

from __future__ import annotations

import libcst as cst
import pytest

from patcher.codemods.dataflow.outputs import (
    index_of,
    is_output,
    is_tuple_sum,
    keeps_logits,
    logits_position,
    mentions_loss,
    returned,
    sets_other_key,
)
from tests.codemods.dataflow.functions import body_of, frame_of, node_of, parsed_call, source


def test_nested_functions_and_dead_code_return_nothing() -> None:
    nested = "    def g():\n        return 1\n"
    frame = frame_of(f"def f(x):\n{nested}    if x:\n        return 2\n        return 3\n    return 4\n    return 5\n")
    assert [source(value) for _, value in returned(frame)] == ["2", "4"]


@pytest.mark.parametrize(
    ("top", "call", "position"),
    [
        ("", "MaskedLMOutput(a, b)", 1),
        ("class MyOutput:\n    logits: int = 0\n    loss: int = 0\n", "MyOutput(a, b)", 0),
        ("class MyOutput:\n    def __init__(self, a, b, logits): ...\n", "MyOutput(a, b, c)", 2),
        ("class MyOutput:\n    other: int = 0\n", "MyOutput(a, b)", 1),
        ("", "tuple(a)", None),
    ],
)
def test_the_position_of_the_logits_is_that_of_the_class(top: str, call: str, position: int | None) -> None:
    frame = frame_of(f"{top}def f(a, b, c):\n    return {call}\n")
    at = node_of(frame, cst.Return, f"return {call}")
    assert logits_position(frame, node_of(frame, cst.Call, call), at) == position


def test_an_output_object_is_known_by_its_name() -> None:
    assert is_output(parsed_call("modeling.MaskedLMOutput(x)")) and not is_output(parsed_call("Head(x)"))


@pytest.mark.parametrize(
    ("code", "other"),
    [('out["loss"] = x', True), ('out["logits"] = x', False), ("out[0] = x", False), ("out = x", False)],
)
def test_an_item_that_is_not_the_logits_is_another_key(code: str, other: bool) -> None:
    body = body_of(f"def f(x):\n    {code}\n    return out\n")
    (one,) = body.reaching_definitions("out", node_of(body, cst.Return, "return out"))[0]
    assert sets_other_key(one) is other


def test_a_sum_with_a_tuple_in_it_is_a_tuple() -> None:
    assert is_tuple_sum(cst.parse_expression("(x,) + outputs[1:] + more"))
    assert not is_tuple_sum(cst.parse_expression("a + b")) and not is_tuple_sum(cst.parse_expression("(x,) * 2"))


@pytest.mark.parametrize(
    ("code", "index"), [("o[0]", 0), ("o[12]", 12), ("o[i]", None), ("o[0, 1]", None), ("o[1:]", None)]
)
def test_only_a_whole_number_is_an_index(code: str, index: int | None) -> None:
    node = cst.parse_expression(code)
    assert isinstance(node, cst.Subscript) and index_of(node) == index


def test_a_loss_is_known_by_its_name() -> None:
    assert mentions_loss(cst.parse_expression("masked_LM_loss.mean()")) and not mentions_loss(cst.parse_expression("x"))


@pytest.mark.parametrize(
    ("top", "keeps"),
    [
        ("class Out(dict):\n    def __init__(self, logits):\n        self.logits = logits\n", True),
        ("class Out(dict):\n    def __init__(self, logits):\n        super().__init__(logits=logits)\n", True),
        ("class Out:\n    logits: int = 0\n", True),
        ("from transformers.modeling_outputs import MaskedLMOutput as Out\n", True),
        ("class Out(dict):\n    def __init__(self, logits):\n        self.logits = logits.relu()\n", False),
        ("class Out:\n    def __post_init__(self): ...\n", False),
        ("from clipping import Out\n", False),
    ],
)
def test_an_output_keeps_the_logits_where_it_only_stores_them(top: str, keeps: bool) -> None:
    frame = frame_of(f"{top}def f(x):\n    return Out(x)\n")
    call = node_of(frame, cst.Call, "Out(x)")
    assert keeps_logits(frame, call, frame.body.statement(call)) is keeps


def test_a_loss_that_only_a_condition_tests_makes_no_loss() -> None:
    assert not mentions_loss(cst.parse_expression("x if loss is None else y"))
    assert mentions_loss(cst.parse_expression("loss.mean() if x else None"))
