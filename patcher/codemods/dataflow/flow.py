"""Follows the logits backwards, from what `forward` returns to the vocabulary projection, and lists every step.

The analysis is a demand-driven data flow: it goes through assignments, casts and slices, into methods, base classes,
head modules and helper functions of the same package of files, and follows both branches of each condition. It ends at
a matrix product or a linear layer, and at anything that it does not know, which it remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import libcst as cst

from patcher.codemods.dataflow import outputs, steps
from patcher.codemods.dataflow.frame import Frame, Instance, called
from patcher.codemods.dataflow.numbers import Number
from patcher.codemods.dataflow.package import External, Function
from patcher.codemods.dataflow.reaching import Definition
from patcher.codemods.dataflow.steps import (
    CallEntry,
    CallExit,
    End,
    Link,
    LogitPath,
    Merge,
    Passthrough,
    Position,
    Step,
)
from patcher.codemods.nodes import dotted, is_name, last_name

_MAX_VISITS, _MAX_PATHS = 4000, 200  # far beyond any known head; they bound the work on hostile code
_MAX_DEPTH = 12  # nested calls


class Flow:
    """All paths from the logits of a model class back to their origins, with the end of each.

    `frames` are the functions on them, `statements` those that give a name on them its value, by id, and `layers` the
    attributes whose objects are called. `unknown` is what may do anything to the logits, `masks` is what chooses
    between values, `divisors` are the ends of what divides them.
    """

    def __init__(self, frame: Frame, starts: Iterable[tuple[cst.CSTNode, cst.BaseExpression]] | None = None) -> None:
        self.paths: list[LogitPath] = []
        self.ends: list[End] = []
        self.divisors: list[End] = []
        self.unknown: list[tuple[Frame, cst.CSTNode]] = []
        self.masks: list[tuple[Frame, cst.BaseExpression, cst.CSTNode]] = []
        self.statements: set[int] = set()
        self.layers: set[str] = set()
        self.frames: list[Frame] = [frame]
        self.used: set[int] = set()  # the names that carry the logits, where they are read
        self.unfinished = False  # there are more paths than the limits allow to follow
        self._visits_left = _MAX_VISITS
        self._seen: set[tuple[int, ...]] = set()
        for statement, value in starts if starts is not None else outputs.returned(frame):
            self._logits(value, Position(statement, frame))

    # What a model returns

    def _logits(self, node: cst.BaseExpression, here: Position) -> None:
        """Follow a whole output: an object with `logits`, a tuple, or the logits themselves."""
        if not self._visit(node, here, 1):
            return
        if isinstance(node, cst.Call):
            named = steps.argument_of(node, "logits", outputs.logits_position(here.frame, node, here.at))
            if named is None and outputs.is_output(node):
                self._unknown(here, node)
                return
            if named is not None and not isinstance(here.frame.meaning(node.func, here.at), Function):
                if not outputs.keeps_logits(here.frame, node, here.at):
                    self._unknown(here, node)
                self._value(named, here)
                return
            if self._follow_call(node, here, self._logits):
                return
        elif isinstance(node, cst.Dict):
            if (item := outputs.item_of(node, "logits")) is None:
                self._unknown(here, node)
            else:
                self._value(item, here)
            return
        elif isinstance(node, (cst.Tuple, cst.List)):
            first = next((item for item in node.elements if not outputs.mentions_loss(item.value)), None)
            if isinstance(first, cst.Element):
                self._value(first.value, here)
            else:
                self._unknown(here, node)
            return
        elif isinstance(node, cst.BinaryOperation) and outputs.is_tuple_sum(node):
            loss = isinstance(node.left, cst.Tuple) and all(outputs.mentions_loss(e.value) for e in node.left.elements)
            self._logits(node.right if loss else node.left, here)
            return
        elif isinstance(node, cst.IfExp):
            self._logits(node.body, here)
            self._logits(node.orelse, here)
            return
        elif isinstance(node, cst.Name):
            attributes, is_definite = here.frame.body.reaching_definitions(f"{node.value}.logits", here.at)
            for one in attributes:
                self._definition(one, node, here)
            found, _ = here.frame.body.reaching_definitions(node.value, here.at)
            if attributes and is_definite:
                return
            for one in found:
                self.statements.add(id(one.statement))
                if one.augmented is None and (one.value is None or one.iterated):
                    self._unknown(here, one.statement)
                elif one.augmented is None and one.value is not None and not one.partial:
                    self.used.add(id(node))
                    self._logits(one.value, here.then(Link(here.frame, one, node), at=one.statement))
                elif one.augmented is not None or (one.partial and not outputs.sets_other_key(one)):
                    self._definition(one, node, here)
            if found:
                return
        self._value(node, here)

    # What the logits are made of

    def _value(self, node: cst.BaseExpression, here: Position) -> None:
        """Follow an expression that is a tensor."""
        if not self._visit(node, here, 2):
            return
        if isinstance(node, cst.Name):
            self._follow_name(node, here)
        elif isinstance(node, cst.Call):
            self._call(node, here)
        elif isinstance(node, cst.BinaryOperation):
            self._binary(node, here)
        elif isinstance(node, cst.UnaryOperation) and isinstance(node.operator, (cst.Minus, cst.Plus)):
            number = Number(-1.0 if isinstance(node.operator, cst.Minus) else 1.0)
            step = Step(here.frame, node, "mul", lambda new: new.expression, number)  # type: ignore[attr-defined]
            self._value(node.expression, here.then(step))
        elif isinstance(node, cst.IfExp):
            self._value(node.body, here)
            self._value(node.orelse, here)
        elif isinstance(node, cst.NamedExpr):
            self._value(node.value, here)
        elif isinstance(node, cst.Subscript):
            if outputs.index_of(node) == 0 and isinstance(node.value, cst.Call):
                self._logits(node.value, here.then(Passthrough(node)))
            else:
                self._value(node.value, here.then(Passthrough(node)))
        elif isinstance(node, cst.Attribute):
            self._attribute(node, here)
        elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
            self._value(node.elt, here.then(Merge(here.frame, node, node.elt)))
        elif isinstance(node, cst.List):  # what torch.cat gets
            for element in node.elements:
                self._value(element.value, here.then(Merge(here.frame, node, element.value)))
        else:
            self._end(here, node, "constant" if isinstance(node, cst.BaseNumber) else "unknown")

    def _follow_name(self, node: cst.Name, here: Position) -> None:
        if (loop := here.frame.body.comprehension(node)) is not None:
            if is_name(loop.target, node.value):
                self._value(loop.iter, here.then(Passthrough(loop)))
            else:
                self._end(here, loop)
            return
        found, is_definite = here.frame.body.reaching_definitions(node.value, here.at)
        for one in found:
            self._definition(one, node, here)
        if not is_definite or not found:
            bound = here.frame.arguments.get(node.value)
            if bound is not None:
                argument, caller, at = bound
                self._value(argument, here.then(CallExit(here.frame, node.value), at=at, frame=caller))
            else:
                self._end(here, node, here.frame.kind_of_name(node.value, is_local=bool(found)))

    def _definition(self, one: Definition, use: cst.CSTNode, here: Position) -> None:
        here = here.then(Link(here.frame, one, use), at=one.statement)
        self.used.add(id(use))
        self.statements.add(id(one.statement))
        augmented = one.augmented
        if augmented is not None:
            what = steps.OPERATORS.get(type(augmented.operator))
            if what is None:
                self._end(here, augmented)
                return
            if not self._visit(augmented, here, 3):
                return
            number = here.frame.number(augmented.value, augmented)
            step = Step(here.frame, augmented, what, None, number)
            self._value(augmented.target, here.then(step, at=augmented))
        elif one.value is None:
            self._end(here, one.statement)
        elif one.partial:
            self._value(one.value, here.then(Merge(here.frame, one.statement, one.value)))
        elif one.iterated:
            self._value(one.value, here.then(Passthrough(one.statement)))
        else:
            self._value(one.value, here)

    def _attribute(self, node: cst.Attribute, here: Position) -> None:
        name = dotted(node)
        if name is not None:
            found, is_definite = here.frame.body.reaching_definitions(name, here.at)
            for one in found:
                self._definition(one, node, here)
            if found and is_definite:
                return
        if node.attr.value == "logits":
            self._logits(node.value, here.then(Passthrough(node)))
        elif node.attr.value in {"T", "mT"}:
            self._value(node.value, here.then(Passthrough(node)))
        else:
            self._end(here, node, "weight" if here.frame.is_weight(node) else "unknown")

    def _binary(self, node: cst.BinaryOperation, here: Position) -> None:
        what = steps.OPERATORS.get(type(node.operator))
        if what is None:
            self._end(here, node, "projection" if isinstance(node.operator, cst.MatrixMultiply) else "unknown")
            return
        frame = here.frame
        left, right = frame.number(node.left, here.at), frame.number(node.right, here.at)
        if right is not None:
            self._value(node.left, here.then(Step(frame, node, what, steps.left_of, right)))
        elif left is not None and what != "div":
            self._value(node.right, here.then(Step(frame, node, steps.mirrored(what), steps.right_of, left)))
        else:
            self._value(node.left, here.then(Step(frame, node, what, steps.left_of)))
            if what == "div":
                self._value(node.right, replace(here, is_divisor=True))
            else:
                self._value(node.right, here.then(Step(frame, node, steps.mirrored(what), steps.right_of)))

    def _call(self, node: cst.Call, here: Position) -> None:
        meaning = here.frame.meaning(node.func, here.at)
        function = steps.function_of_torch(meaning)
        if isinstance(meaning, Instance):
            self.layers |= set((dotted(node.func) or "").split(".")[1:])
        if here.frame.is_projection(meaning, node.func, here.at):
            self._end(here, node, "projection")
        elif isinstance(meaning, Instance) and isinstance(meaning.cls, External):
            layer = steps.bounded_layer(meaning.cls.name)
            argument = steps.argument_of(node, "input", 0)
            if argument is None or (layer is None and meaning.cls.name not in steps.PASSTHROUGH_LAYERS):
                self._sequential(meaning, node, here)
            elif layer is None:
                self._value(argument, here.then(Passthrough(node)))
            else:
                self._value(argument, here.then(Step(here.frame, node, layer, steps.make_extractor(node, argument))))
        elif function is not None:
            self._torch(function, node, here)
        elif self._follow_call(node, here, self._value):
            return
        elif meaning is None and isinstance(node.func, cst.Attribute) and not here.frame.is_self(node.func.value):
            self._method(node, here)
        else:
            self._end(here, node, here.frame.kind_of_callee(node.func, here.at))

    def _sequential(self, made: Instance, node: cst.Call, here: Position) -> None:
        """A layer of torch: nn.Sequential is followed from its last layer as long as the layers are known."""
        argument = steps.argument_of(node, "input", 0)
        if not isinstance(made.cls, External) or made.cls.name != "torch.nn.Sequential" or argument is None:
            self._end(here, node)
            return
        statement = made.frame.body.statement(made.call)
        for item in reversed(made.call.args):
            layer = made.frame.meaning(item.value, statement)
            name = layer.cls.name if isinstance(layer, Instance) and isinstance(layer.cls, External) else ""
            bounded = steps.bounded_layer(name)
            if bounded is not None:  # can't be removed: the checkpoint names the layers by their position
                here = here.then(Step(made.frame, item, bounded, None))
            elif name not in steps.PASSTHROUGH_LAYERS:
                is_linear = made.frame.is_projection(layer, item.value, statement)
                self._end(replace(here, frame=made.frame), item, "projection" if is_linear else "unknown")
                return
        self._value(argument, here.then(Passthrough(node)))

    def _torch(self, name: str, node: cst.Call, here: Position) -> None:
        """A function of torch by its last name."""
        argument, kind = steps.argument_of(node, "input", 0), steps.kind_of_call(name)
        if kind != "unknown":
            self._end(here, node, kind)
        elif argument is None or any(item.keyword is not None and item.keyword.value == "out" for item in node.args):
            bounded = steps.BOUNDED.get(name)  # in a form that can't be removed, so that a refusal can quote it
            self._end(here.then(Step(here.frame, node, bounded, None)) if bounded else here, node)
        elif name in steps.BOUNDED:
            extract = steps.make_extractor(node, argument)
            step = Step(here.frame, node, steps.BOUNDED[name], extract, None, name.endswith("_"))
            self._value(argument, here.then(step))
        elif name in steps.ARITHMETIC:
            other = steps.argument_of(node, "other", 1)
            self._arithmetic(steps.ARITHMETIC[name], node, argument, other, here)
        elif (merged := steps.merged(name, node, None)) is not None:
            self._merge(node, *merged, here)
        elif name in steps.PASSTHROUGHS and not steps.narrows(node, here.frame, here.at):
            self._value(argument, here.then(Passthrough(node)))
        elif name in steps.ACTIVATIONS:
            self._value(argument, here.then(Step(here.frame, node, "activation", None)))
        elif name in {"neg", "negative"}:
            step = Step(here.frame, node, "mul", steps.make_extractor(node, argument), Number(-1.0))
            self._value(argument, here.then(step))
        else:
            self._end(here, node)

    def _merge(
        self, node: cst.Call, parts: list[cst.BaseExpression], masks: list[cst.BaseExpression], here: Position
    ) -> None:
        self.masks += [(here.frame, mask, here.at) for mask in masks]
        for part in parts:
            self._value(part, here.then(Merge(here.frame, node, part)))

    def _method(self, node: cst.Call, here: Position) -> None:
        """A method of a tensor."""
        assert isinstance(node.func, cst.Attribute)
        name, receiver = node.func.attr.value, node.func.value
        if name in steps.BOUNDED and not node.args:
            step = Step(here.frame, node, steps.BOUNDED[name], steps.receiver_of, None, name.endswith("_"))
            self._value(receiver, here.then(step))
        elif name in steps.ARITHMETIC and node.args:
            self._arithmetic(steps.ARITHMETIC[name], node, receiver, steps.argument_of(node, "other", 0), here)
        elif name in {"neg", "neg_"} and not node.args:
            step = Step(here.frame, node, "mul", steps.receiver_of, Number(-1.0), name == "neg_")
            self._value(receiver, here.then(step))
        elif name in steps.PASSTHROUGHS and not steps.narrows(node, here.frame, here.at):
            self._value(receiver, here.then(Passthrough(node)))
        elif (merged := steps.merged(name, node, receiver)) is not None:
            self._merge(node, *merged, here)
        else:
            self._end(here, node, steps.kind_of_call(name))

    def _arithmetic(
        self, what: str, node: cst.Call, one: cst.BaseExpression, other: cst.BaseExpression | None, here: Position
    ) -> None:
        """`torch.mul(one, other)` or `one.mul(other)`."""
        extra = any(item.keyword is not None and item.keyword.value not in {"input", "other"} for item in node.args)
        if other is None or extra:  # alpha=, rounding_mode=, out=
            self._end(here, node)
            return
        in_place = (last_name(node.func) or "").endswith("_")
        right, left = here.frame.number(other, here.at), here.frame.number(one, here.at)
        if right is not None or left is None:
            step = Step(here.frame, node, what, steps.make_extractor(node, one), right, in_place)
            self._value(one, here.then(step))
        if right is None and what == "div":
            self._value(other, replace(here, is_divisor=True))
        if right is None and what != "div":
            step = Step(here.frame, node, steps.mirrored(what), steps.make_extractor(node, other), left, in_place)
            self._value(other, here.then(step))

    def _follow_call(
        self, node: cst.Call, here: Position, follow: Callable[[cst.BaseExpression, Position], None]
    ) -> bool:
        """Follow the result of a function of the package; False where the call is not one of those."""
        frame = here.frame
        target, self_class, instance = called(frame, frame.meaning(node.func, here.at), node)
        recursive = any(item.call is node for item in here.path if isinstance(item, CallEntry))
        if target is None or frame.depth > _MAX_DEPTH or recursive:
            return False
        inner = frame.enter(target, node, here.at, self_class, instance)
        self.frames.append(inner)
        if not (values := list(outputs.returned(inner))):
            self._unknown(here, node)
        for statement, value in values:
            follow(value, here.then(CallEntry(inner, node, frame), at=statement, frame=inner))
        return True

    # The bookkeeping

    def _visit(self, node: cst.CSTNode, here: Position, mode: int) -> bool:
        """Whether to follow this node: not seen in the same state before, and within the limits."""
        path, frame = here.path, here.frame
        taken = [(index, item) for index, item in enumerate(path) if isinstance(item, Step)]
        turn = next((index for index, step in taken if step.node is node and step.frame is frame), None)
        if turn is not None:  # a loop: a second turn shows all that it does
            self._end(here.then(*path[turn:]), node, "unbound")  # the other turns show where the path begins
            return False
        key = (
            mode,
            here.is_divisor,
            id(node),
            id(frame),
            *(id(part) for _, step in taken for part in (step.node, step.frame)),
        )
        if key in self._seen:
            return False
        if self._visits_left <= 0 or len(self.paths) >= _MAX_PATHS:
            self.unfinished = True
            return False
        self._seen.add(key)
        self._visits_left -= 1
        return True

    def _end(self, here: Position, node: cst.CSTNode, kind: str = "unknown") -> None:
        end = End(here.frame, node, kind)
        if kind == "unknown":
            self._unknown(here, node)
        if here.is_divisor:
            self.divisors.append(end)
        else:
            self.paths.append(here.path)
            self.ends.append(end)

    def _unknown(self, here: Position, node: cst.CSTNode) -> None:
        self.unknown.append((here.frame, node))
