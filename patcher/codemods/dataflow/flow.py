"""Follows the logits backwards, from what `forward` returns to the vocabulary projection, and lists every step.

The analysis is a demand-driven data flow: it goes through assignments, casts and slices, into methods, base classes,
head modules and helper functions of the same package of files, and follows both branches of each condition. It ends at
a matrix product or a linear layer, and at anything that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import libcst as cst

from patcher.codemods.dataflow import outputs, steps
from patcher.codemods.dataflow.frame import Frame, Instance, Meaning, Number
from patcher.codemods.dataflow.package import Class, External, Function
from patcher.codemods.dataflow.reaching import Definition
from patcher.codemods.dataflow.steps import CallEntry, CallExit, Link, LogitPath, Merge, Passthrough, PathItem, Step
from patcher.codemods.nodes import dotted, last_name

_MAX_VISITS, _MAX_PATHS = 4000, 200  # far beyond any known head; they bound the work on hostile code
_MAX_DEPTH = 12  # nested calls


@dataclass(frozen=True, eq=False)
class _Position:
    """Where the walk is: the statement at which names are read, the call that it runs in, and the path so far."""

    at: cst.CSTNode
    frame: Frame
    path: LogitPath = ()

    def then(self, *items: PathItem, at: cst.CSTNode | None = None, frame: Frame | None = None) -> _Position:
        """The position after more items, at another statement and in another frame where these are given."""
        return _Position(at or self.at, frame or self.frame, (*self.path, *items))


class Flow:
    """All paths from the logits of a model class back to their origins. `frames`: the functions on them."""

    def __init__(self, frame: Frame) -> None:
        self.paths: list[LogitPath] = []
        self.frames: list[Frame] = [frame]
        self.used: set[int] = set()  # the names that carry the logits, where they are read
        self.unfinished = False  # there are more paths than the limits allow to follow
        self._visits_left = _MAX_VISITS
        self._seen: set[tuple[int, ...]] = set()
        for statement, value in outputs.returned(frame):
            self._logits(value, _Position(statement, frame))

    # What a model returns

    def _logits(self, node: cst.BaseExpression, here: _Position) -> None:
        """Follow a whole output: an object with `logits`, a tuple, or the logits themselves."""
        if not self._visit(node, here, 1):
            return
        if isinstance(node, cst.Call):
            named = steps.argument_of(node, "logits", outputs.logits_position(here.frame, node, here.at))
            if named is not None:
                self._value(named, here)
                return
            if self._follow_call(node, here, self._logits) or outputs.is_output(node):
                return
        elif isinstance(node, cst.Dict):
            for element in node.elements:
                if isinstance(element, cst.DictElement) and outputs.is_text(element.key, "logits"):
                    self._value(element.value, here)
            return
        elif isinstance(node, (cst.Tuple, cst.List)):
            items = [element.value for element in node.elements if isinstance(element, cst.Element)]
            first = next((item for item in items if not outputs.mentions_loss(item)), None)
            if first is not None:
                self._value(first, here)
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
                if one.value is not None:
                    self._value(one.value, here.then(Link(here.frame, one, node), at=one.statement))
            found, _ = here.frame.body.reaching_definitions(node.value, here.at)
            if attributes and is_definite:
                return
            for one in found:
                if one.augmented is None and one.value is not None and not one.partial:
                    self.used.add(id(node))
                    self._logits(one.value, here.then(Link(here.frame, one, node), at=one.statement))
                elif one.augmented is not None or (one.partial and not outputs.sets_other_key(one)):
                    self._definition(one, node, here)
            if found:
                return
        self._value(node, here)

    # What the logits are made of

    def _value(self, node: cst.BaseExpression, here: _Position) -> None:
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
            self._value(node.elt, here.then(Merge(node)))
        elif isinstance(node, cst.List):  # what torch.cat gets
            for element in node.elements:
                self._value(element.value, here.then(Merge(node)))
        else:
            self._end(here)

    def _follow_name(self, node: cst.Name, here: _Position) -> None:
        found, is_definite = here.frame.body.reaching_definitions(node.value, here.at)
        for one in found:
            self._definition(one, node, here)
        if not is_definite or not found:
            bound = here.frame.arguments.get(node.value)
            if bound is not None:
                argument, caller, at = bound
                self._value(argument, here.then(CallExit(here.frame, node.value), at=at, frame=caller))
            else:
                self._end(here)

    def _definition(self, one: Definition, use: cst.CSTNode, here: _Position) -> None:
        here = here.then(Link(here.frame, one, use), at=one.statement)
        self.used.add(id(use))
        augmented = one.augmented
        if augmented is not None:
            what = steps.OPERATORS.get(type(augmented.operator))
            if what is None:
                self._end(here)
                return
            if not self._visit(augmented, here, 3):
                return
            number = here.frame.number(augmented.value, augmented)
            step = Step(here.frame, augmented, what, None, number)
            self._value(augmented.target, here.then(step, at=augmented))
        elif one.value is None:
            self._end(here)
        elif one.partial:
            self._value(one.value, here.then(Merge(one.statement)))
        else:
            self._value(one.value, here)

    def _attribute(self, node: cst.Attribute, here: _Position) -> None:
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
            self._end(here)

    def _binary(self, node: cst.BinaryOperation, here: _Position) -> None:
        what = steps.OPERATORS.get(type(node.operator))
        if what is None:
            self._end(here)
            return
        frame = here.frame
        left, right = frame.number(node.left, here.at), frame.number(node.right, here.at)
        if right is not None:
            self._value(node.left, here.then(Step(frame, node, what, steps.left_of, right)))
        elif left is not None and what != "div":
            self._value(node.right, here.then(Step(frame, node, _mirrored(what), steps.right_of, left)))
        else:
            self._value(node.left, here.then(Step(frame, node, what, steps.left_of)))
            if what != "div":
                self._value(node.right, here.then(Step(frame, node, _mirrored(what), steps.right_of)))

    def _call(self, node: cst.Call, here: _Position) -> None:
        meaning = here.frame.meaning(node.func, here.at)
        function = steps.function_of_torch(meaning)
        if isinstance(meaning, Instance) and isinstance(meaning.cls, External):
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
            self._end(here)

    def _sequential(self, made: Instance, node: cst.Call, here: _Position) -> None:
        """A layer of torch: nn.Sequential is followed from its last layer as long as the layers are known."""
        argument = steps.argument_of(node, "input", 0)
        if not isinstance(made.cls, External) or made.cls.name != "torch.nn.Sequential" or argument is None:
            self._end(here)
            return
        statement = made.frame.body.statement(made.call)
        for item in reversed(made.call.args):
            layer = made.frame.meaning(item.value, statement)
            name = layer.cls.name if isinstance(layer, Instance) and isinstance(layer.cls, External) else ""
            bounded = steps.bounded_layer(name)
            if bounded is not None:  # can't be removed: the checkpoint names the layers by their position
                here = here.then(Step(made.frame, item, bounded, None))
            elif name not in steps.PASSTHROUGH_LAYERS:
                self._end(here)
                return
        self._value(argument, here.then(Passthrough(node)))

    def _torch(self, name: str, node: cst.Call, here: _Position) -> None:
        """A function of torch by its last name."""
        argument = steps.argument_of(node, "input", 0)
        if argument is None or any(item.keyword is not None and item.keyword.value == "out" for item in node.args):
            bounded = steps.BOUNDED.get(name)  # in a form that can't be removed, so that a refusal can quote it
            self._end(here.then(Step(here.frame, node, bounded, None)) if bounded else here)
        elif name in steps.BOUNDED:
            extract = steps.make_extractor(node, argument)
            step = Step(here.frame, node, steps.BOUNDED[name], extract, None, name.endswith("_"))
            self._value(argument, here.then(step))
        elif name in steps.ARITHMETIC:
            other = steps.argument_of(node, "other", 1)
            self._arithmetic(steps.ARITHMETIC[name], node, argument, other, here)
        elif name in steps.MERGES:
            for item in node.args:
                parts = item.value.elements if isinstance(item.value, (cst.List, cst.Tuple)) else [item]
                for part in parts:
                    self._value(part.value, here.then(Merge(node)))
        elif name in steps.PASSTHROUGHS:
            self._value(argument, here.then(Passthrough(node)))
        elif name in {"neg", "negative"}:
            step = Step(here.frame, node, "mul", steps.make_extractor(node, argument), Number(-1.0))
            self._value(argument, here.then(step))
        else:
            self._end(here)

    def _method(self, node: cst.Call, here: _Position) -> None:
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
        elif name in steps.PASSTHROUGHS:
            self._value(receiver, here.then(Passthrough(node)))
        elif name in steps.MERGES:
            self._value(receiver, here.then(Merge(node)))
        else:
            self._end(here)

    def _arithmetic(
        self, what: str, node: cst.Call, one: cst.BaseExpression, other: cst.BaseExpression | None, here: _Position
    ) -> None:
        """`torch.mul(one, other)` or `one.mul(other)`."""
        extra = any(item.keyword is not None and item.keyword.value not in {"input", "other"} for item in node.args)
        if other is None or extra:  # alpha=, rounding_mode=, out=
            self._end(here)
            return
        in_place = (last_name(node.func) or "").endswith("_")
        right, left = here.frame.number(other, here.at), here.frame.number(one, here.at)
        if right is not None or left is None:
            step = Step(here.frame, node, what, steps.make_extractor(node, one), right, in_place)
            self._value(one, here.then(step))
        if right is None and what != "div":
            step = Step(here.frame, node, _mirrored(what), steps.make_extractor(node, other), left, in_place)
            self._value(other, here.then(step))

    def _follow_call(
        self, node: cst.Call, here: _Position, follow: Callable[[cst.BaseExpression, _Position], None]
    ) -> bool:
        """Follow the result of a function of the package; False where the call is not one of those."""
        frame = here.frame
        target, self_class, instance = called(frame, frame.meaning(node.func, here.at), node)
        recursive = any(item.call is node for item in here.path if isinstance(item, CallEntry))
        if target is None or frame.depth > _MAX_DEPTH or recursive:
            return False
        inner = frame.enter(target, node, here.at, self_class, instance)
        self.frames.append(inner)
        for statement, value in outputs.returned(inner):
            follow(value, here.then(CallEntry(inner, node), at=statement, frame=inner))
        return True

    # The bookkeeping

    def _visit(self, node: cst.CSTNode, here: _Position, mode: int) -> bool:
        """Whether to follow this node: not seen in the same state before, and within the limits."""
        path, frame = here.path, here.frame
        taken = [(index, item) for index, item in enumerate(path) if isinstance(item, Step)]
        turn = next((index for index, step in taken if step.node is node and step.frame is frame), None)
        if turn is not None:  # a loop: a second turn shows all that it does
            self._end(here.then(*path[turn:]))
            return False
        key = (mode, id(node), id(frame), *(id(part) for _, step in taken for part in (step.node, step.frame)))
        if key in self._seen:
            return False
        if self._visits_left <= 0 or len(self.paths) >= _MAX_PATHS:
            self.unfinished = True
            return False
        self._seen.add(key)
        self._visits_left -= 1
        return True

    def _end(self, here: _Position) -> None:
        self.paths.append(here.path)


def called(
    frame: Frame, meaning: Meaning | None, node: cst.Call
) -> tuple[Function | None, Class | None, Instance | None]:
    """The function that a call runs, the class of its `self`, and the object it belongs to."""
    if isinstance(meaning, Function):
        same = meaning.owner is not None
        return meaning, frame.self_class if same else None, frame.instance if same else None
    if isinstance(meaning, Instance) and isinstance(meaning.cls, Class):
        return frame.package.method(meaning.cls, "forward"), meaning.cls, meaning
    return None, None, None


def _mirrored(what: str) -> str:
    """The step for the right operand: `number - x` is not `x - number`."""
    return "rsub" if what == "sub" else what
