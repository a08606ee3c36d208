"""Finds other callers of a function that a removal would change."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

import libcst as cst

from patcher.codemods.chunks import Chunk
from patcher.codemods.dataflow.flow import Flow, called
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.nodes import last_name, walk
from patcher.codemods.soft_cap.recognition import Cap


def other_callers(package: Package, caps: Iterable[Cap], flows: Iterable[Flow]) -> Iterator[tuple[Frame, cst.Call]]:
    """Calls of a function that a removal would change, as far as they can be resolved, on no path of the logits."""
    changed = {id(s.frame.function): s.frame for cap in caps for s in cap.removed if s.frame.call is not None}
    if not changed:
        return
    followed = {id(frame.call) for flow in flows for frame in flow.frames}
    names = _aliases(package, changed.values())
    for frame in _functions(package, names):
        for node in walk(frame.function.body):
            if isinstance(node, cst.Call) and id(node) not in followed and _last_name(node) in names:
                target, _, _ = called(frame, frame.meaning(node.func, frame.body.statement(node)), node)
                if target is not None and id(target.node) in changed:
                    yield frame, node


def _functions(package: Package, names: AbstractSet[str]) -> Iterator[Frame]:
    """The functions and methods at the top level in the chunks that call one of these names."""
    for code in package.codes.values():
        for node in (node for chunk in code.chunks if _calls(chunk, names) for node in code.parsed(chunk).body):
            if isinstance(node, cst.FunctionDef):
                yield Frame(package, code, node)
            elif isinstance(node, cst.ClassDef):
                owner = Class(code, node)
                for function in owner.methods.values():
                    yield Frame(package, code, function, owner, owner)


def _calls(chunk: Chunk, names: AbstractSet[str]) -> bool:
    nodes = (node for statement in chunk.statements for node in ast.walk(statement))
    return chunk.newer_syntax or any(isinstance(node, ast.Call) and _last_name(node) in names for node in nodes)


def _aliases(package: Package, frames: Iterable[Frame]) -> set[str]:
    """The last names under which some functions may be called.

    A function is called by its name, or as the `forward` of its class by that of an object; names are passed on by
    assignments, imports and base classes. Resolving only the calls of these names saves most of the time of a plan.
    """
    found = {name for frame in frames for name in (frame.function.name.value, frame.owner and frame.owner.name) if name}
    chunks = [chunk for code in package.codes.values() for chunk in code.chunks]
    if any(chunk.newer_syntax for chunk in chunks):  # which Python's parser can't read
        return found | {word for chunk in chunks for word in chunk.words}
    nodes = (node for chunk in chunks for statement in chunk.statements for node in ast.walk(statement))
    passed_on = [pair for node in nodes for pair in _passed_on(node)]
    while new := {name for name, origin in passed_on if name and origin in found} - found:
        found |= new
    return found


def _passed_on(node: ast.AST) -> Iterator[tuple[str | None, str | None]]:
    """Last names that a node of Python's tree binds, each with the last name of what it refers to."""
    if isinstance(node, ast.alias):
        yield node.asname or node.name, node.name.rpartition(".")[2]
    elif isinstance(node, ast.ClassDef):
        yield from ((node.name, _last_name(base)) for base in node.bases)
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            targets, values = _items(target), _items(node.value)
            yield from ((_last_name(one), _last_name(value)) for one in targets for value in values)


def _items(node: ast.expr | None) -> list[ast.expr]:
    if isinstance(node, (ast.Tuple, ast.List)):
        return [item for element in node.elts for item in _items(element)]
    return [node] if node is not None else []


def _last_name(node: ast.AST | cst.CSTNode) -> str | None:
    """The last name in what is called, subscripted or named."""
    while isinstance(node, (ast.Call, ast.Subscript, cst.Call, cst.Subscript)):
        node = node.func if isinstance(node, (ast.Call, cst.Call)) else node.value
    if isinstance(node, (ast.Name, ast.Attribute)):
        return node.id if isinstance(node, ast.Name) else node.attr
    return last_name(node) if isinstance(node, cst.CSTNode) else None
