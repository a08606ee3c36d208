"""Helpers for LibCST trees: names, methods, assignments, the nodes below a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import libcst as cst


def methods(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    """The methods of a class by name."""
    return {item.name.value: item for item in node.body.body if isinstance(item, cst.FunctionDef)}


def definitions(statements: Iterable[cst.CSTNode]) -> Iterator[cst.ClassDef | cst.FunctionDef]:
    """The classes and functions that statements define in their own scope, also below `if`, `try`, `with` and loops."""
    waiting = list(statements)[::-1]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (cst.ClassDef, cst.FunctionDef)):
            yield node
        elif not isinstance(node, (cst.SimpleStatementLine, cst.BaseExpression)):
            waiting += [child for child in children(node)][::-1]


def base_names(node: cst.ClassDef) -> list[str]:
    """Names of the base classes as written; a dotted name gives its last part."""
    values = [argument.value for argument in node.bases]
    return [name for value in values if (name := last_name(value))]


def last_name(node: cst.CSTNode) -> str | None:
    """`sigmoid` for `sigmoid` and for `torch.sigmoid`; None for anything that isn't a name."""
    if isinstance(node, cst.Name):
        return node.value
    return node.attr.value if isinstance(node, cst.Attribute) else None


def dotted(node: cst.CSTNode) -> str | None:
    """`a.b.c` as text; None for anything but names and dots."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        before = dotted(node.value)
        return None if before is None else f"{before}.{node.attr.value}"
    return None


def assignments(statements: Iterable[cst.CSTNode]) -> Iterator[tuple[str, cst.BaseExpression]]:
    """Each name that simple statements assign a value to, with the value."""
    for line in statements:
        for item in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            if isinstance(item, cst.Assign):
                for target in item.targets:
                    if isinstance(target.target, cst.Name):
                        yield target.target.value, item.value
            elif isinstance(item, cst.AnnAssign) and isinstance(item.target, cst.Name) and item.value is not None:
                yield item.target.value, item.value


def is_name(node: cst.CSTNode | None, name: str) -> bool:
    """Whether a node is this name, undotted."""
    return isinstance(node, cst.Name) and node.value == name


def mentions(node: cst.CSTNode, name: str) -> bool:
    """Whether a name is in an expression or a statement, undotted or as a part of a dotted one."""
    return any(is_name(item, name) for item in walk(node))


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The node and all nodes below it, in the order of the fields; several times faster than a LibCST visitor."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(list(children(node)))


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The nodes right below a node, in the order of its fields."""
    kind: Any = type(node)
    for name in _fields(kind):
        value = getattr(node, name)
        kind = type(value)
        if _is_node(kind):
            yield value
        elif kind is list or kind is tuple:
            yield from (item for item in value if _is_node(item.__class__))


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)


@cache  # isinstance is slow for the abstract base classes of nodes
def _is_node(kind: Any) -> bool:
    return issubclass(kind, cst.CSTNode)
