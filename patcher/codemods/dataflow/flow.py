"""Follows the logits backwards, from what `forward` returns to the vocabulary projection, and lists every step.

The analysis is a demand-driven data flow: it goes through assignments, casts and slices, into methods, base classes,
head modules and helper functions of the same package of files, and follows both branches of each condition. It ends at
a matrix product or a linear layer, and at anything that it does not know, which it remembers.
"""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from patcher.codemods.dataflow import outputs, steps
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Function
from patcher.codemods.dataflow.steps import Container, Link, Position
from patcher.codemods.dataflow.values import Values
from patcher.codemods.nodes import is_name


class Flow(Values):
    """All paths from the logits of a model class back to their origins, with the end of each.

    `frames` are the functions on them, `statements` those that give a name on them its value, by id, and `layers` the
    attributes whose objects are called. `unknown` is what may do anything to the logits, `masks` is what chooses
    between values, `divisors` are the ends of what divides them.
    """

    def __init__(self, frame: Frame, starts: Iterable[tuple[cst.CSTNode, cst.BaseExpression]] | None = None) -> None:
        super().__init__(frame)
        for statement, value in starts if starts is not None else outputs.returned(frame):
            self.follow(self._logits, value, Position(statement, frame))
        self.run()

    # What a model returns

    def _logits(self, node: cst.BaseExpression, here: Position) -> None:
        """Follow a whole output: an object with `logits`, a tuple, or the logits themselves."""
        if not self.visit(node, here, 1):
            return
        if isinstance(node, cst.Call):
            named = steps.argument_of(node, "logits", outputs.logits_position(here.frame, node, here.at))
            if named is None and (starred := outputs.starred(node)) is not None:
                if not outputs.keeps_logits(here.frame, node, here.at):
                    self.follow(self.cannot_follow, here, node)
                self.follow(self._mapping, starred, here.then(Container(node)))
                return
            if named is None and outputs.is_output(node):
                self.follow(self.cannot_follow, here, node)
                return
            if named is not None and not isinstance(here.frame.meaning(node.func, here.at), Function):
                if not outputs.keeps_logits(here.frame, node, here.at):
                    self.follow(self.cannot_follow, here, node)
                self.follow(self._value, named, here.then(Container(node)))
                return
            if self._follow_call(node, here, self._logits):
                return
        elif isinstance(node, cst.Dict):
            if (item := outputs.item_of(node, "logits")) is None:
                self.follow(self.cannot_follow, here, node)
            else:
                self.follow(self._value, item, here.then(Container(node)))
            return
        elif isinstance(node, (cst.Tuple, cst.List)):
            first = next((item for item in node.elements if not outputs.mentions_loss(item.value)), None)
            if isinstance(first, cst.Element):
                self.follow(self._value, first.value, here.then(Container(node)))
            else:
                self.follow(self.cannot_follow, here, node)
            return
        elif isinstance(node, cst.BinaryOperation) and outputs.is_tuple_sum(node):
            loss = isinstance(node.left, cst.Tuple) and all(outputs.mentions_loss(e.value) for e in node.left.elements)
            self.follow(self._logits, node.right if loss else node.left, here.then(Container(node)))
            return
        elif isinstance(node, cst.IfExp):
            self.follow(self._logits, node.body, here)
            self.follow(self._logits, node.orelse, here)
            return
        elif isinstance(node, cst.Name):
            attributes, is_definite = here.frame.body.reaching_definitions(f"{node.value}.logits", here.at)
            for one in attributes:
                self.follow(self._definition, one, node, here)
            found, _ = here.frame.body.reaching_definitions(node.value, here.at)
            if attributes and is_definite:
                return
            for one in found:
                self.statements.add(id(one.statement))
                if one.unpacked is not None:
                    self.follow(self._definition, one, node, here)
                elif outputs.lacks_logits(one, found):
                    continue
                elif one.augmented is None and (one.value is None or one.iterated):
                    self.follow(self.cannot_follow, here, one.statement)
                elif one.augmented is None and one.value is not None and not one.partial:
                    self.used.add(id(node))
                    self.follow(self._logits, one.value, here.then(Link(here.frame, one, node), at=one.statement))
                elif one.augmented is not None or (one.partial and not outputs.sets_other_key(one)):
                    self.follow(self._definition, one, node, here)
            if found:
                return
        self.follow(self._value, node, here)

    def _mapping(self, node: cst.BaseExpression, here: Position) -> None:
        """Follow a dictionary whose entry `logits` is wanted."""
        if not self.visit(node, here, -1):
            return
        if isinstance(node, cst.Dict) or (isinstance(node, cst.Call) and is_name(node.func, "dict")):
            self.follow(self._logits, node, here)
        elif isinstance(node, cst.IfExp):
            self.follow(self._mapping, node.body, here)
            self.follow(self._mapping, node.orelse, here)
        elif isinstance(node, cst.Name):
            found, is_definite = here.frame.body.reaching_definitions(node.value, here.at)
            for one in found:
                self.statements.add(id(one.statement))
                if one.partial and not outputs.sets_other_key(one):
                    self.follow(self._definition, one, node, here)
                elif one.value is None or one.iterated or one.augmented is not None:
                    self.follow(self.cannot_follow, here, one.statement)
                elif not one.partial and not outputs.lacks_logits(one, found):
                    inner = here.then(Link(here.frame, one, node), at=one.statement)
                    self.follow(self._mapping, one.value, inner)
            if not is_definite:
                self.follow(self.cannot_follow, here, node)
        elif not isinstance(node, cst.Call) or not self._follow_call(node, here, self._mapping):
            self.follow(self.cannot_follow, here, node)
