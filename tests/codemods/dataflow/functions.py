"""Functions of one file, ready for the data flow, and the nodes in them by their code."""

from __future__ import annotations

from typing import Any, TypeVar

import libcst as cst

from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.dataflow.reaching import Body
from patcher.codemods.nodes import walk
from tests.codemods.tools import HOME, package_of

Node = TypeVar("Node", bound=cst.CSTNode)


def frame_of(code: str, name: str = "f", config: dict[str, Any] | None = None) -> Frame:
    """The frame of a function at the top level of a file."""
    package = package_of({HOME: code}, config or {})
    function = package.codes[HOME].definition(cst.FunctionDef, name)
    assert function is not None
    return Frame(package, package.codes[HOME], function)


def method_frame(package: Package, name: str, method: str, path: str = HOME) -> Frame:
    """The frame of a method of a class."""
    cls = package.top_level(package.codes[path], name)
    assert isinstance(cls, Class)
    found = package.method(cls, method)
    assert found is not None
    return Frame(package, found.code, found.node, found.owner, cls)


def body_of(code: str) -> Body:
    """The body of a function that is the whole text."""
    function = cst.parse_module(code).body[0]
    assert isinstance(function, cst.FunctionDef)
    return Body(function)


def source(node: cst.CSTNode | None) -> str | None:
    """The code of a node."""
    return None if node is None else cst.Module([]).code_for_node(node).strip()


def node_of(frame_or_body: Frame | Body, kind: type[Node], code: str) -> Node:
    """The first node of a kind with this code."""
    found = (node for node in walk(frame_or_body.function) if isinstance(node, kind) and source(node) == code)
    return next(found)


def statement_of(body: Body, code: str) -> cst.BaseSmallStatement:
    """The first small statement with this code."""
    nodes = (node for node in walk(body.function) if isinstance(node, cst.BaseSmallStatement))
    return next(node for node in nodes if source(node) == code)


def parsed_call(code: str) -> cst.Call:
    """A call, parsed."""
    call = cst.parse_expression(code)
    assert isinstance(call, cst.Call)
    return call
