"""Finds other code that a removal would change: readers of a half-capped value, and callers of a changed function."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

import libcst as cst

from patcher.codemods.chunks import Chunk
from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame, called
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.dataflow.reaching import mutated, written_into
from patcher.codemods.dataflow.steps import Container, Link, Passthrough, Step
from patcher.codemods.nodes import definitions, last_name, walk
from patcher.codemods.soft_cap.recognition import Cap


def used_elsewhere(cap: Cap, flow: Flow) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """The nodes that read an intermediate value of the cap for another purpose, which a removal would change."""
    removed = {id(step.node) for step in cap.removed}
    frames = {id(step.frame) for step in cap.removed if step.what != "call"}
    for link in cap.links:
        body = link.frame.body
        if id(link.frame) not in frames or "." in link.definition.name:
            continue
        for use in body.uses(link.definition.name):
            statement = body.statement(use)
            if id(use) in flow.used or id(statement) in removed or statement is link.definition.statement:
                continue
            found, _ = body.reaching_definitions(link.definition.name, statement)
            if any(one.statement is link.definition.statement for one in found):
                yield link.frame, use
    for step in cap.removed:
        yield from _mutated_elsewhere(step)
    yield from _aliased(cap, flow)


def _aliased(cap: Cap, flow: Flow) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """Readers of a tensor after another name of it is changed in place: with the cap these were two tensors."""
    removed = {id(step.frame.body.statement(step.node)) for step in cap.removed}
    names: dict[Frame, dict[str, None]] = {}
    for link in (*cap.links, *_neighbours(cap, flow)):
        names.setdefault(link.frame, {})[link.definition.name] = None
    for frame, same in names.items():
        if len(same) < 2:
            continue
        for statement in (node for node in walk(frame.function.body) if isinstance(node, cst.BaseSmallStatement)):
            changed = written_into(statement)
            if changed in same and id(statement) not in removed:
                for other in same:
                    for use in frame.body.later_uses(other, statement) if other != changed else ():
                        yield frame, statement if id(use) in flow.used else use


def _neighbours(cap: Cap, flow: Flow) -> Iterator[Link]:
    """The names of the input and of the result of a cap."""
    nodes = {id(step.node) for step in cap.steps}
    for path in flow.paths:
        inside = [index for index, item in enumerate(path) if isinstance(item, Step) and id(item.node) in nodes]
        for items in (reversed(path[: inside[0]]), path[inside[-1] + 1 :]) if inside else ():
            nearest = next((item for item in items if not isinstance(item, (Passthrough, Container))), None)
            if isinstance(nearest, Link):
                yield nearest


def _mutated_elsewhere(step: Step) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """Later readers of a tensor that a step changes in place while its result is bound to another name."""
    body = step.frame.body
    statement = body.statement(step.node)
    name = mutated(step.node) if step.in_place and isinstance(step.node, cst.Call) else None
    if name is None or isinstance(statement, cst.Expr):
        return
    before, _ = body.reaching_definitions(name, statement)
    for use in body.later_uses(name, statement):
        found, is_definite = body.reaching_definitions(name, body.statement(use))
        if not is_definite or any(one.statement is other.statement for one in found for other in before):
            yield step.frame, use


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
        chunks = (chunk for chunk in code.chunks if _calls(chunk, names))
        for node in (node for chunk in chunks for node in definitions(code.parsed(chunk).body)):
            if isinstance(node, cst.FunctionDef):
                yield Frame(package, code, node)
            elif isinstance(node, cst.ClassDef):
                owner = Class(code, node)
                for function in owner.methods.values():
                    yield Frame(package, code, function, owner, owner)


def _calls(chunk: Chunk, names: AbstractSet[str]) -> bool:
    nodes = _nodes([chunk])
    return chunk.newer_syntax or any(isinstance(node, ast.Call) and _last_name(node) in names for node in nodes)


def _nodes(chunks: Iterable[Chunk]) -> Iterator[ast.AST]:
    return (node for chunk in chunks for statement in chunk.statements for node in ast.walk(statement))


def _aliases(package: Package, frames: Iterable[Frame]) -> set[str]:
    """The last names under which some functions may be called.

    A function is called by its name, or as the `forward` of its class by that of an object; names are passed on by
    assignments, imports and base classes. Resolving only the calls of these names saves most of the time of a plan.
    """
    found = {name for frame in frames for name in (frame.function.name.value, frame.owner and frame.owner.name) if name}
    chunks = [chunk for code in package.codes.values() for chunk in code.chunks]
    if any(chunk.newer_syntax for chunk in chunks):  # which Python's parser can't read
        return found | {word for chunk in chunks for word in chunk.words}
    targets: dict[str | None, set[str]] = {}
    for names, origins in (_passed_on(node) for node in _nodes(chunks) if isinstance(node, _PASSING_ON)):
        for origin in origins:
            targets.setdefault(origin, set()).update(name for name in names if name)
    waiting = list(found)
    while waiting:
        new = targets.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


_PASSING_ON = (ast.alias, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.NamedExpr)


def _passed_on(node: ast.AST) -> tuple[set[str | None], set[str | None]]:
    """The last names that a node of Python's tree binds, and those that they may refer to."""
    if isinstance(node, ast.alias):
        return {node.asname or node.name}, {node.name.rpartition(".")[2]}
    parts = (item for part in getattr(node, "bases", [node]) for item in ast.walk(part))
    names = [item for item in parts if isinstance(item, (ast.Name, ast.Attribute))]
    bound = {_last_name(item) for item in names if isinstance(item.ctx, ast.Store)}
    return bound or {getattr(node, "name", None)}, {_last_name(item) for item in names} - bound


def _last_name(node: ast.AST | cst.CSTNode) -> str | None:
    """The last name in what is called, subscripted or named."""
    while isinstance(node, (ast.Call, ast.Subscript, cst.Call, cst.Subscript)):
        node = node.func if isinstance(node, (ast.Call, cst.Call)) else node.value
    if isinstance(node, (ast.Name, ast.Attribute)):
        return node.id if isinstance(node, ast.Name) else node.attr
    return last_name(node) if isinstance(node, cst.CSTNode) else None
