"""Names, assignments and the order of nodes in LibCST's trees."""

from __future__ import annotations

import libcst as cst
import pytest

from patcher.codemods.nodes import assignments, base_names, definitions, dotted, last_name, mentions, methods, walk

MODULE = cst.parse_module("class A(nn.Module, Base, *rest(), metaclass=M):\n    x = 1\n    def f(self): ...\n")


def test_a_class_has_its_methods_and_the_last_names_of_its_bases() -> None:
    (node,) = MODULE.body
    assert isinstance(node, cst.ClassDef)
    assert list(methods(node)) == ["f"]
    assert base_names(node) == ["Module", "Base"]


@pytest.mark.parametrize(
    ("code", "last", "whole"),
    [("x", "x", "x"), ("a.b.c", "c", "a.b.c"), ("f().c", "c", None), ("a[0].c", "c", None), ("f()", None, None)],
)
def test_the_last_and_the_whole_of_a_dotted_name(code: str, last: str | None, whole: str | None) -> None:
    node = cst.parse_expression(code)
    assert (last_name(node), dotted(node)) == (last, whole)


def test_assignments_are_those_to_plain_names() -> None:
    code = "a = b = 1\nc: int = 2\nd: int\ne.f = 3\ng, h = 4, 5\ni += 6\nif a:\n    j = 7\n"
    assert [name for name, _ in assignments(cst.parse_module(code).body)] == ["a", "b", "c"]


def test_a_part_of_a_dotted_name_is_mentioned() -> None:
    node = cst.parse_expression("f(config.scale)")
    assert mentions(node, "scale") and mentions(node, "config") and not mentions(node, "scales")


def test_a_walk_meets_each_node_once_in_the_order_of_the_code() -> None:
    names = [node.value for node in walk(cst.parse_expression("a + f(b, [c, d.e])")) if isinstance(node, cst.Name)]
    assert names == ["a", "f", "b", "c", "d", "e"]
    assert len(list(walk(MODULE))) == len({id(node) for node in walk(MODULE)})


def test_definitions_are_also_found_below_conditions() -> None:
    code = "if a:\n    def f(): ...\nelse:\n    class C:\n        def g(self): ...\n"
    code += "try:\n    with b:\n        def h(): ...\nfinally: ..."
    assert [node.name.value for node in definitions(cst.parse_module(code).body)] == ["f", "C", "h"]
