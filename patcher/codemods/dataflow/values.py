"""Follows an expression that is a tensor of logits back through everything that it is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import libcst as cst

from patcher.codemods.dataflow import outputs, steps
from patcher.codemods.dataflow.frame import Instance, called
from patcher.codemods.dataflow.numbers import Number
from patcher.codemods.dataflow.package import External
from patcher.codemods.dataflow.reaching import Definition, mutated
from patcher.codemods.dataflow.steps import CallEntry, CallExit, Container, Link, Merge, Passthrough, Position, Step
from patcher.codemods.dataflow.walk import Walk
from patcher.codemods.nodes import dotted, is_name, last_name

_MAX_DEPTH = 12  # nested calls
Follow = Callable[[cst.BaseExpression, Position], None]


class Values(Walk):
    """The part of a flow that knows tensors."""

    def _logits(self, node: cst.BaseExpression, here: Position) -> None:
        """Follow a whole output."""
        raise NotImplementedError

    def _value(self, node: cst.BaseExpression, here: Position) -> None:
        """Follow an expression that is a tensor."""
        if not self.visit(node, here, 2):
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
            self.follow(self._value, node.expression, here.then(step))
        elif isinstance(node, cst.IfExp):
            self.follow(self._value, node.body, here)
            self.follow(self._value, node.orelse, here)
        elif isinstance(node, cst.NamedExpr):
            self.follow(self._value, node.value, here)
        elif isinstance(node, cst.Subscript):
            here, index = here.then(Passthrough(node)), outputs.index_of(node)
            if index == 0 and isinstance(node.value, cst.Call):
                self.follow(self._logits, node.value, here)
            elif index is not None:
                self.follow(partial(self._item, index, is_slice=True), node.value, here)
            else:
                self.follow(self._value, node.value, here)
        elif isinstance(node, cst.Attribute):
            self._attribute(node, here)
        elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
            self.follow(self._value, node.elt, here.then(Merge(here.frame, node, node.elt)))
        elif isinstance(node, cst.List):  # what torch.cat gets
            for element in node.elements:
                self.follow(self._value, element.value, here.then(Merge(here.frame, node, element.value)))
        else:
            self.end(here, node, "constant" if isinstance(node, cst.BaseNumber) else "unknown")

    def _follow_name(self, node: cst.Name, here: Position) -> None:
        if (loop := here.frame.body.comprehension(node)) is not None:
            if is_name(loop.target, node.value):
                self.follow(self._value, loop.iter, here.then(Passthrough(loop)))
            else:
                self.end(here, loop)
            return
        found, is_definite = here.frame.body.reaching_definitions(node.value, here.at)
        for one in found:
            self.follow(self._definition, one, node, here)
        if not is_definite or not found:
            bound = here.frame.arguments.get(node.value)
            if bound is not None:
                argument, caller, at = bound
                self.follow(self._value, argument, here.then(CallExit(here.frame, node.value), at=at, frame=caller))
            else:
                self.end(here, node, here.frame.kind_of_name(node.value, is_local=bool(found)))

    def _definition(self, one: Definition, use: cst.CSTNode, here: Position) -> None:
        here = here.then(Link(here.frame, one, use), at=one.statement)
        self.used.add(id(use))
        self.statements.add(id(one.statement))
        augmented = one.augmented
        if augmented is not None:
            what = steps.OPERATORS.get(type(augmented.operator))
            if what is None:
                self.end(here, augmented)
                return
            if not self.visit(augmented, here, 3):
                return
            number = here.frame.number(augmented.value, augmented)
            step = Step(here.frame, augmented, what, None, number)
            self.follow(self._value, augmented.target, here.then(step, at=augmented))
        elif one.unpacked is not None:
            value, index = one.unpacked
            follow = partial(self._item, index, is_slice=False)
            self.follow(follow, value, here.then(Passthrough(one.statement)))
        elif one.value is None:
            self.end(here, one.statement)
        elif one.partial:
            self.follow(self._value, one.value, here.then(Merge(here.frame, one.statement, one.value)))
        elif one.iterated:
            self.follow(self._value, one.value, here.then(Passthrough(one.statement)))
        else:
            self.follow(self._value, one.value, here)

    def _item(self, index: int, node: cst.BaseExpression, here: Position, *, is_slice: bool) -> None:
        """Follow one item of a tuple, or one row of a tensor; only what `is_slice` may be a tensor of any kind."""
        if not self.visit(node, here, 4 + (index << 3) + is_slice):
            return
        follow = partial(self._item, index, is_slice=is_slice)
        if isinstance(node, (cst.Tuple, cst.List)):
            starred = any(isinstance(one, cst.StarredElement) for one in node.elements)
            if starred or not -len(node.elements) <= index < len(node.elements):
                self.end(here, node)
            else:
                self.follow(self._value, node.elements[index].value, here.then(Container(node)))
        elif isinstance(node, cst.IfExp):
            self.follow(follow, node.body, here)
            self.follow(follow, node.orelse, here)
        elif isinstance(node, cst.Name) and here.frame.body.comprehension(node) is None:
            self._item_of_name(follow, node, here)
        elif isinstance(node, cst.Call) and self._follow_call(node, here, follow):
            return
        elif is_slice or (isinstance(node, cst.Call) and last_name(node.func) in steps.SPLITS):
            self.follow(self._value, node, here)
        else:
            self.end(here, node)

    def _item_of_name(self, follow: Follow, node: cst.Name, here: Position) -> None:
        found, is_definite = here.frame.body.reaching_definitions(node.value, here.at)
        bound = here.frame.arguments.get(node.value) if not found else None
        is_plain = is_definite and not any(one.value is None or one.partial or one.iterated for one in found)
        if bound is not None:
            argument, caller, at = bound
            self.follow(follow, argument, here.then(CallExit(here.frame, node.value), at=at, frame=caller))
        elif not is_plain or any(mutated(one.value) == node.value for one in found if one.value is not None):
            self.follow(self._value, node, here)
        for one in found if is_plain else ():
            if one.value is not None:
                self.used.add(id(node))
                self.statements.add(id(one.statement))
                self.follow(follow, one.value, here.then(Link(here.frame, one, node), at=one.statement))

    def _attribute(self, node: cst.Attribute, here: Position) -> None:
        name = dotted(node)
        if name is not None:
            found, is_definite = here.frame.body.reaching_definitions(name, here.at)
            for one in found:
                self.follow(self._definition, one, node, here)
            if found and is_definite:
                return
        if node.attr.value == "logits":
            self.follow(self._logits, node.value, here.then(Passthrough(node)))
        elif node.attr.value in {"T", "mT"}:
            self.follow(self._value, node.value, here.then(Passthrough(node)))
        else:
            self.end(here, node, "weight" if here.frame.is_weight(node) else "unknown")

    def _binary(self, node: cst.BinaryOperation, here: Position) -> None:
        what = steps.OPERATORS.get(type(node.operator))
        if what == "div" and (exponential := self._one_plus_exp(node.right, here)) is not None:
            step = Step(here.frame, node, "mul", steps.right_of, here.frame.number(node.left, here.at))
            self._logistic(exponential, node.right, here.then(step))
            return
        if what is None:
            self.end(here, node, "projection" if isinstance(node.operator, cst.MatrixMultiply) else "unknown")
            return
        frame = here.frame
        left, right = frame.number(node.left, here.at), frame.number(node.right, here.at)
        if right is not None:
            self.follow(self._value, node.left, here.then(Step(frame, node, what, steps.left_of, right)))
        elif left is not None and what != "div":
            self.follow(
                self._value, node.right, here.then(Step(frame, node, steps.mirrored(what), steps.right_of, left))
            )
        else:
            self.follow(self._value, node.left, here.then(Step(frame, node, what, steps.left_of)))
            if what == "div":
                self.follow(self._value, node.right, replace(here, is_divisor=True))
            else:
                self.follow(self._value, node.right, here.then(Step(frame, node, steps.mirrored(what), steps.right_of)))

    def _one_plus_exp(self, node: cst.BaseExpression, here: Position) -> cst.Call | None:
        """The call of `exp` in `1 + torch.exp(x)`; None for any other expression."""
        if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Add):
            return None
        for one, other in ((node.left, node.right), (node.right, node.left)):
            number = here.frame.number(one, here.at)
            if number is not None and number.value == 1 and isinstance(other, cst.Call):
                meaning = here.frame.meaning(other.func, here.at)
                is_method = meaning is None and not other.args and last_name(other.func) == "exp"
                if is_method or (steps.function_of_torch(meaning) == "exp" and len(other.args) == 1):
                    return other
        return None

    def _logistic(self, exponential: cst.Call, divisor: cst.BaseExpression, here: Position) -> None:
        """Follow 1 / (1 + exp(x)), which is the sigmoid of -x; the removal leaves x with its sign turned."""
        assert isinstance(divisor, cst.BinaryOperation)
        argument = steps.argument_of(exponential, "input", 0)
        if argument is None and isinstance(exponential.func, cst.Attribute):
            argument = exponential.func.value
        if argument is None:
            self.end(here, exponential)
            return
        extract = steps.left_of if divisor.left is exponential else steps.right_of
        sigmoid = Step(here.frame, divisor, "sigmoid", extract)
        turned = Step(here.frame, exponential, "mul", steps.make_extractor(exponential, argument), Number(-1.0))
        self.follow(self._value, argument, here.then(sigmoid, turned))

    def _call(self, node: cst.Call, here: Position) -> None:
        meaning = here.frame.meaning(node.func, here.at)
        function = steps.function_of_torch(meaning)
        if isinstance(meaning, Instance):
            self.layers |= set((dotted(node.func) or "").split(".")[1:])
        if here.frame.is_projection(meaning, node.func, here.at):
            self.end(here, node, "projection")
        elif isinstance(meaning, Instance) and isinstance(meaning.cls, External):
            layer = steps.bounded_layer(meaning.cls.name)
            argument = steps.argument_of(node, "input", 0)
            if argument is None or (layer is None and meaning.cls.name not in steps.PASSTHROUGH_LAYERS):
                self._sequential(meaning, node, here)
            elif layer is None:
                self.follow(self._value, argument, here.then(Passthrough(node)))
            else:
                self.follow(
                    self._value,
                    argument,
                    here.then(Step(here.frame, node, layer, steps.make_extractor(node, argument))),
                )
        elif function is not None:
            self._torch(function, node, here)
        elif self._follow_call(node, here, self._value):
            return
        elif meaning is None and isinstance(node.func, cst.Attribute) and not here.frame.is_self(node.func.value):
            self._method(node, here)
        else:
            self.end(here, node, here.frame.kind_of_callee(node.func, here.at))

    def _sequential(self, made: Instance, node: cst.Call, here: Position) -> None:
        """A layer of torch: nn.Sequential is followed from its last layer as long as the layers are known."""
        argument = steps.argument_of(node, "input", 0)
        if not isinstance(made.cls, External) or made.cls.name != "torch.nn.Sequential" or argument is None:
            self.end(here, node)
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
                self.end(replace(here, frame=made.frame), item, "projection" if is_linear else "unknown")
                return
        self.follow(self._value, argument, here.then(Passthrough(node)))

    def _torch(self, name: str, node: cst.Call, here: Position) -> None:
        """A function of torch by its last name."""
        argument, kind = steps.argument_of(node, "input", 0), steps.kind_of_call(name)
        if kind != "unknown":
            self.end(here, node, kind)
        elif argument is None or any(item.keyword is not None and item.keyword.value == "out" for item in node.args):
            bounded = steps.BOUNDED.get(name)  # in a form that can't be removed, so that a refusal can quote it
            self.end(here.then(Step(here.frame, node, bounded, None)) if bounded else here, node)
        elif name in steps.BOUNDED:
            extract = steps.make_extractor(node, argument)
            step = Step(here.frame, node, steps.BOUNDED[name], extract, None, name.endswith("_"))
            self.follow(self._value, argument, here.then(step))
        elif name in steps.ARITHMETIC:
            other = steps.argument_of(node, "other", 1)
            self._arithmetic(steps.ARITHMETIC[name], node, argument, other, here)
        elif (merged := steps.merged(name, node, None)) is not None:
            self._merge(node, *merged, here)
        elif name in steps.PASSTHROUGHS and not steps.narrows(node, here.frame, here.at):
            self.follow(self._value, argument, here.then(Passthrough(node)))
        elif name in steps.ACTIVATIONS:
            self.follow(self._value, argument, here.then(Step(here.frame, node, "activation", None)))
        elif name == "reciprocal" and (exponential := self._one_plus_exp(argument, here)) is not None:
            step = Step(here.frame, node, "mul", steps.make_extractor(node, argument), Number(1.0))
            self._logistic(exponential, argument, here.then(step))
        elif name in {"neg", "negative"}:
            step = Step(here.frame, node, "mul", steps.make_extractor(node, argument), Number(-1.0))
            self.follow(self._value, argument, here.then(step))
        else:
            self.end(here, node)

    def _merge(
        self, node: cst.Call, parts: list[cst.BaseExpression], masks: list[cst.BaseExpression], here: Position
    ) -> None:
        self.masks += [(here.frame, mask, here.at) for mask in masks]
        for part in parts:
            self.follow(self._value, part, here.then(Merge(here.frame, node, part)))

    def _method(self, node: cst.Call, here: Position) -> None:
        """A method of a tensor."""
        assert isinstance(node.func, cst.Attribute)
        name, receiver = node.func.attr.value, node.func.value
        if name in steps.BOUNDED and not node.args:
            step = Step(here.frame, node, steps.BOUNDED[name], steps.receiver_of, None, name.endswith("_"))
            self.follow(self._value, receiver, here.then(step))
        elif name in steps.ARITHMETIC and node.args:
            self._arithmetic(steps.ARITHMETIC[name], node, receiver, steps.argument_of(node, "other", 0), here)
        elif name == "reciprocal" and (exponential := self._one_plus_exp(receiver, here)) is not None:
            step = Step(here.frame, node, "mul", steps.receiver_of, Number(1.0))
            self._logistic(exponential, receiver, here.then(step))
        elif name in {"neg", "neg_"} and not node.args:
            step = Step(here.frame, node, "mul", steps.receiver_of, Number(-1.0), name == "neg_")
            self.follow(self._value, receiver, here.then(step))
        elif name in steps.PASSTHROUGHS and not steps.narrows(node, here.frame, here.at):
            self.follow(self._value, receiver, here.then(Passthrough(node)))
        elif (merged := steps.merged(name, node, receiver)) is not None:
            self._merge(node, *merged, here)
        else:
            self.end(here, node, steps.kind_of_call(name))

    def _arithmetic(
        self, what: str, node: cst.Call, one: cst.BaseExpression, other: cst.BaseExpression | None, here: Position
    ) -> None:
        """`torch.mul(one, other)` or `one.mul(other)`."""
        extra = any(item.keyword is not None and item.keyword.value not in {"input", "other"} for item in node.args)
        if other is None or extra:  # alpha=, rounding_mode=, out=
            self.end(here, node)
            return
        in_place = (last_name(node.func) or "").endswith("_")
        right, left = here.frame.number(other, here.at), here.frame.number(one, here.at)
        if right is not None or left is None:
            step = Step(here.frame, node, what, steps.make_extractor(node, one), right, in_place)
            self.follow(self._value, one, here.then(step))
        if right is None and what == "div":
            self.follow(self._value, other, replace(here, is_divisor=True))
        if right is None and what != "div":
            step = Step(here.frame, node, steps.mirrored(what), steps.make_extractor(node, other), left, in_place)
            self.follow(self._value, other, here.then(step))

    def _follow_call(self, node: cst.Call, here: Position, follow: Follow) -> bool:
        """Follow the result of a function of the package; False where the call is not one of those."""
        frame = here.frame
        target, self_class, instance = called(frame, frame.meaning(node.func, here.at), node)
        recursive = any(item.call is node for item in here.path if isinstance(item, CallEntry))
        if target is None or frame.depth > _MAX_DEPTH or recursive:
            return False
        inner = frame.enter(target, node, here.at, self_class, instance)
        self.frames.append(inner)
        if not (values := list(outputs.returned(inner))):
            self.follow(self.cannot_follow, here, node)
        for statement, value in values:
            self.follow(follow, value, here.then(CallEntry(inner, node, frame), at=statement, frame=inner))
        return True
