"""Finds other code that reads a value which is half capped, and so would change with a removal."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.reaching import mutated, written_into
from patcher.codemods.dataflow.steps import Link, Passthrough, Step
from patcher.codemods.nodes import walk
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
            found, _ = body.reaching_definitions(link.definition.name, statement)
            same = any(one.statement is link.definition.statement for one in found)
            if (
                same
                and id(use) not in flow.used
                and id(statement) not in removed
                and statement is not link.definition.statement
            ):
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
            nearest = next((item for item in items if not isinstance(item, Passthrough)), None)
            if isinstance(nearest, Link):
                yield nearest


def _mutated_elsewhere(step: Step) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """Later readers of a tensor that a step changes in place while its result is bound to another name."""
    body = step.frame.body
    if not step.in_place:
        return
    statement = body.statement(step.node)
    assert isinstance(step.node, cst.Call)
    name = mutated(step.node)
    if name is None or isinstance(statement, cst.Expr):
        return
    before, _ = body.reaching_definitions(name, statement)
    for use in body.later_uses(name, statement):
        found, is_definite = body.reaching_definitions(name, body.statement(use))
        if not is_definite or any(one.statement is other.statement for one in found for other in before):
            yield step.frame, use
