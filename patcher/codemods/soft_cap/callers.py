"""Finds who else calls a function from which a step of the cap is taken out, and so would change unasked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import libcst as cst

from patcher.codemods.dataflow.flow import Flow, called
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.nodes import walk
from patcher.codemods.soft_cap.caps import Cap


def other_callers(package: Package, caps: Iterable[Cap], flows: Iterable[Flow]) -> Iterator[tuple[Frame, cst.Call]]:
    """The calls of such a function, as far as they can be resolved, that are on no way of the logits."""
    changed = {id(op.frame.function) for cap in caps for op in cap.removed if op.frame.call is not None}
    if not changed:
        return
    followed = {id(frame.call) for flow in flows for frame in flow.frames}
    for frame in _functions(package):
        for node in walk(frame.function.body):
            if isinstance(node, cst.Call) and id(node) not in followed:
                target, _, _ = called(frame, frame.meaning(node.func, frame.body.statement(node)), node)
                if target is not None and id(target.node) in changed:
                    yield frame, node


def _functions(package: Package) -> Iterator[Frame]:
    for code in package.codes.values():
        for function in code.functions.values():
            yield Frame(package, code, function)
        for node in code.classes.values():
            owner = Class(code, node)
            for function in owner.methods.values():
                yield Frame(package, code, function, owner, owner)
