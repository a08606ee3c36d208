"""Follows the logits backwards, from what `forward` returns to the vocabulary projection, and lists every step.

The analysis is a demand-driven data flow: it goes through assignments, casts and slices, into methods, base classes,
head modules and helper functions of the same package of files, and follows both branches of each condition. It ends at
a matrix product or a linear layer, and at anything that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from patcher.codemods.dataflow.frame import Frame, Instance, Meaning, Number
from patcher.codemods.dataflow.outputs import (
    index_of,
    is_output,
    is_text,
    is_tuple_sum,
    logits_position,
    mentions_loss,
    returned,
    sets_other_key,
)
from patcher.codemods.dataflow.package import Class, External, Function
from patcher.codemods.dataflow.reaching import Definition
from patcher.codemods.dataflow.steps import CallEntry, CallExit, Link, LogitPath, Merge, Passthrough, PathItem, Step
from patcher.codemods.dataflow.torch_functions import (
    ARITHMETIC,
    BOUNDED,
    MERGES,
    OPERATORS,
    PASSTHROUGH_LAYERS,
    PASSTHROUGHS,
    argument_of,
    bounded_layer,
    function_of_torch,
    left_of,
    make_extractor,
    receiver_of,
    right_of,
)
from patcher.codemods.nodes import dotted, last_name

_MAX_VISITS, _MAX_PATHS = 4000, 200  # far beyond any known head; they bound the work on hostile code
_MAX_DEPTH = 12  # nested calls


class Flow:
    """All paths from the logits of a model class back to their origins. `frames`: the functions on them."""

    def __init__(self, frame: Frame) -> None:
        self.start = frame
        self.paths: list[LogitPath] = []
        self.frames: list[Frame] = [frame]
        self.used: set[int] = set()  # the names that carry the logits, where they are read
        self.unfinished = False  # there are more paths than the limits allow to follow
        self._visits_left = _MAX_VISITS
        self._seen: set[tuple[int, ...]] = set()
        for statement, value in returned(frame):
            self._logits(value, statement, frame, ())

    # What a model returns

    def _logits(self, node: cst.BaseExpression, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        """Follow a whole output: an object with `logits`, a tuple, or the logits themselves."""
        if not self._visit(node, frame, path, 1):
            return
        if isinstance(node, cst.Call):
            named = argument_of(node, "logits", logits_position(frame, node, at))
            if named is not None:
                self._value(named, at, frame, path)
                return
            if self._follow_call(node, at, frame, path, self._logits):
                return
            if is_output(node):
                return
        elif isinstance(node, cst.Dict):
            for element in node.elements:
                if isinstance(element, cst.DictElement) and is_text(element.key, "logits"):
                    self._value(element.value, at, frame, path)
            return
        elif isinstance(node, (cst.Tuple, cst.List)):
            items = [element.value for element in node.elements if isinstance(element, cst.Element)]
            first = next((item for item in items if not mentions_loss(item)), None)
            if first is not None:
                self._value(first, at, frame, path)
            return
        elif isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add) and is_tuple_sum(node):
            loss = isinstance(node.left, cst.Tuple) and all(mentions_loss(e.value) for e in node.left.elements)
            self._logits(node.right if loss else node.left, at, frame, path)
            return
        elif isinstance(node, cst.IfExp):
            self._logits(node.body, at, frame, path)
            self._logits(node.orelse, at, frame, path)
            return
        elif isinstance(node, cst.Name):
            attributes, may_be_unset = frame.body.reaching(f"{node.value}.logits", at)
            for one in attributes:
                if one.value is not None:
                    self._value(one.value, one.statement, frame, (*path, Link(frame, one, node)))
            found, _ = frame.body.reaching(node.value, at)
            if attributes and not may_be_unset:
                return
            if found:
                for one in found:
                    if one.augmented is None and one.value is not None and not one.partial:
                        self.used.add(id(node))
                        self._logits(one.value, one.statement, frame, (*path, Link(frame, one, node)))
                    elif one.augmented is not None or (one.partial and not sets_other_key(one)):
                        self._definition(one, node, frame, path)
                return
        self._value(node, at, frame, path)

    # What the logits are made of

    def _value(self, node: cst.BaseExpression, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        """Follow an expression that is a tensor."""
        if not self._visit(node, frame, path, 2):
            return
        if isinstance(node, cst.Name):
            self._follow_name(node, at, frame, path)
        elif isinstance(node, cst.Call):
            self._call(node, at, frame, path)
        elif isinstance(node, cst.BinaryOperation):
            self._binary(node, at, frame, path)
        elif isinstance(node, cst.UnaryOperation) and isinstance(node.operator, (cst.Minus, cst.Plus)):
            number = Number(-1.0 if isinstance(node.operator, cst.Minus) else 1.0)
            step = Step(frame, node, "mul", lambda new: new.expression, number)  # type: ignore[attr-defined]
            self._value(node.expression, at, frame, (*path, step))
        elif isinstance(node, cst.IfExp):
            self._value(node.body, at, frame, path)
            self._value(node.orelse, at, frame, path)
        elif isinstance(node, cst.NamedExpr):
            self._value(node.value, at, frame, path)
        elif isinstance(node, cst.Subscript):
            if index_of(node) == 0 and isinstance(node.value, cst.Call):
                self._logits(node.value, at, frame, (*path, Passthrough(node)))
            else:
                self._value(node.value, at, frame, (*path, Passthrough(node)))
        elif isinstance(node, cst.Attribute):
            self._attribute(node, at, frame, path)
        elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
            self._value(node.elt, at, frame, (*path, Merge(node)))
        elif isinstance(node, cst.List):  # what torch.cat gets
            for element in node.elements:
                self._value(element.value, at, frame, (*path, Merge(node)))
        else:
            self._end(path)

    def _follow_name(self, node: cst.Name, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        found, may_be_unset = frame.body.reaching(node.value, at)
        for one in found:
            self._definition(one, node, frame, path)
        if may_be_unset or not found:
            bound = frame.arguments.get(node.value)
            if bound is not None:
                self._value(bound[0], bound[2], bound[1], (*path, CallExit(frame, node.value)))
            else:
                self._end(path)

    def _definition(self, one: Definition, use: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        path = (*path, Link(frame, one, use))
        self.used.add(id(use))
        augmented = one.augmented
        if augmented is not None:
            what = OPERATORS.get(type(augmented.operator))
            if what is None:
                self._end(path)
                return
            if not self._visit(augmented, frame, path, 3):
                return
            number = frame.number(augmented.value, augmented)
            step = Step(frame, augmented, what, None, number)
            self._value(augmented.target, augmented, frame, (*path, step))
        elif one.value is None:
            self._end(path)
        elif one.partial:
            self._value(one.value, one.statement, frame, (*path, Merge(one.statement)))
        else:
            self._value(one.value, one.statement, frame, path)

    def _attribute(self, node: cst.Attribute, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        name = dotted(node)
        if name is not None:
            found, may_be_unset = frame.body.reaching(name, at)
            for one in found:
                self._definition(one, node, frame, path)
            if found and not may_be_unset:
                return
        if node.attr.value == "logits":
            self._logits(node.value, at, frame, (*path, Passthrough(node)))
        elif node.attr.value in {"T", "mT"}:
            self._value(node.value, at, frame, (*path, Passthrough(node)))
        else:
            self._end(path)

    def _binary(self, node: cst.BinaryOperation, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        what = OPERATORS.get(type(node.operator))
        if what is None:
            self._end(path)
            return
        left, right = frame.number(node.left, at), frame.number(node.right, at)
        if right is not None:
            self._value(node.left, at, frame, (*path, Step(frame, node, what, left_of, right)))
        elif left is not None and what != "div":
            step = Step(frame, node, "rsub" if what == "sub" else what, right_of, left)
            self._value(node.right, at, frame, (*path, step))
        elif what == "mul":
            self._value(node.left, at, frame, (*path, Step(frame, node, what, left_of)))
            self._value(node.right, at, frame, (*path, Step(frame, node, what, right_of)))
        elif what == "div":
            self._value(node.left, at, frame, (*path, Step(frame, node, what, left_of)))
        else:
            self._value(node.left, at, frame, (*path, Step(frame, node, what, left_of)))
            self._value(node.right, at, frame, (*path, Step(frame, node, "rsub" if what == "sub" else what, right_of)))

    def _call(self, node: cst.Call, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        meaning = frame.meaning(node.func, at)
        function = function_of_torch(meaning)
        if isinstance(meaning, Instance) and isinstance(meaning.cls, External):
            layer = bounded_layer(meaning.cls.name)
            argument = argument_of(node, "input", 0)
            if argument is None or (layer is None and meaning.cls.name not in PASSTHROUGH_LAYERS):
                self._sequential(meaning, node, at, frame, path)
            elif layer is None:
                self._value(argument, at, frame, (*path, Passthrough(node)))
            else:
                self._value(argument, at, frame, (*path, Step(frame, node, layer, make_extractor(node, argument))))
        elif function is not None:
            self._torch(function, node, at, frame, path)
        elif self._follow_call(node, at, frame, path, self._value):
            return
        elif meaning is None and isinstance(node.func, cst.Attribute) and not frame.is_self(node.func.value):
            self._method(node, at, frame, path)
        else:
            self._end(path)

    def _sequential(self, made: Instance, node: cst.Call, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        """A layer of torch: nn.Sequential is followed from its last layer as long as the layers are known."""
        argument = argument_of(node, "input", 0)
        if not isinstance(made.cls, External) or made.cls.name != "torch.nn.Sequential" or argument is None:
            self._end(path)
            return
        statement = made.frame.body.statement(made.call)
        for item in reversed(made.call.args):
            layer = made.frame.meaning(item.value, statement)
            name = layer.cls.name if isinstance(layer, Instance) and isinstance(layer.cls, External) else ""
            bounded = bounded_layer(name)
            if bounded is not None:  # can't be removed: the checkpoint names the layers by their position
                path = (*path, Step(made.frame, item, bounded, None))
            elif name not in PASSTHROUGH_LAYERS:
                self._end(path)
                return
        self._value(argument, at, frame, (*path, Passthrough(node)))

    def _torch(self, name: str, node: cst.Call, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        """A function of torch by its last name."""
        argument = argument_of(node, "input", 0)
        if argument is None or any(item.keyword is not None and item.keyword.value == "out" for item in node.args):
            self._end((*path, *_unremovable(frame, node, name)))
        elif name in BOUNDED:
            step = Step(frame, node, BOUNDED[name], make_extractor(node, argument), None, name.endswith("_"))
            self._value(argument, at, frame, (*path, step))
        elif name in ARITHMETIC:
            other = argument_of(node, "other", 1)
            self._arithmetic(ARITHMETIC[name], node, argument, other, at, frame, path)
        elif name in MERGES:
            for item in node.args:
                parts = item.value.elements if isinstance(item.value, (cst.List, cst.Tuple)) else [item]
                for part in parts:
                    self._value(part.value, at, frame, (*path, Merge(node)))
        elif name in PASSTHROUGHS:
            self._value(argument, at, frame, (*path, Passthrough(node)))
        elif name in {"neg", "negative"}:
            step = Step(frame, node, "mul", make_extractor(node, argument), Number(-1.0))
            self._value(argument, at, frame, (*path, step))
        else:
            self._end(path)

    def _method(self, node: cst.Call, at: cst.CSTNode, frame: Frame, path: LogitPath) -> None:
        """A method of a tensor."""
        assert isinstance(node.func, cst.Attribute)
        name, receiver = node.func.attr.value, node.func.value
        if name in BOUNDED and not node.args:
            step = Step(frame, node, BOUNDED[name], receiver_of, None, name.endswith("_"))
            self._value(receiver, at, frame, (*path, step))
        elif name in ARITHMETIC and node.args:
            self._arithmetic(ARITHMETIC[name], node, receiver, argument_of(node, "other", 0), at, frame, path)
        elif name in {"neg", "neg_"} and not node.args:
            self._value(
                receiver, at, frame, (*path, Step(frame, node, "mul", receiver_of, Number(-1.0), name == "neg_"))
            )
        elif name in PASSTHROUGHS:
            self._value(receiver, at, frame, (*path, Passthrough(node)))
        elif name in MERGES:
            self._value(receiver, at, frame, (*path, Merge(node)))
        else:
            self._end(path)

    def _arithmetic(
        self,
        what: str,
        node: cst.Call,
        one: cst.BaseExpression,
        other: cst.BaseExpression | None,
        at: cst.CSTNode,
        frame: Frame,
        path: LogitPath,
    ) -> None:
        """`torch.mul(one, other)` or `one.mul(other)`."""
        extra = [
            item for item in node.args if item.keyword is not None and item.keyword.value not in {"input", "other"}
        ]
        if other is None or extra:  # alpha=, rounding_mode=, out=
            self._end((*path, *_unremovable(frame, node, what)))
            return
        in_place = (last_name(node.func) or "").endswith("_")
        right, left = frame.number(other, at), frame.number(one, at)
        if right is not None or left is None:
            self._value(one, at, frame, (*path, Step(frame, node, what, make_extractor(node, one), right, in_place)))
        if right is None and what != "div":
            turned = "rsub" if what == "sub" else what
            self._value(
                other, at, frame, (*path, Step(frame, node, turned, make_extractor(node, other), left, in_place))
            )

    def _follow_call(
        self, node: cst.Call, at: cst.CSTNode, frame: Frame, path: LogitPath, follow: Callable[..., None]
    ) -> bool:
        """Follow the result of a function of the package; False where the call is not one of those."""
        meaning = frame.meaning(node.func, at)
        target, self_class, instance = called(frame, meaning, node)
        if target is None or frame.depth > _MAX_DEPTH or any(s.call is node for s in path if isinstance(s, CallEntry)):
            return False
        inner = frame.enter(target, node, at, self_class, instance)
        self.frames.append(inner)
        for statement, value in returned(inner):
            follow(value, statement, inner, (*path, CallEntry(inner, node)))
        return True

    # The bookkeeping

    def _visit(self, node: cst.CSTNode, frame: Frame, path: LogitPath, mode: int) -> bool:
        """Whether to follow this node: not seen in the same state before, and within the limits."""
        turn = next(
            (i for i, s in enumerate(path) if isinstance(s, Step) and s.node is node and s.frame is frame), None
        )
        if turn is not None:  # a loop: a second turn shows all that it does
            self._end((*path, *path[turn:]))
            return False
        key = (
            mode,
            id(node),
            id(frame),
            *(id(item) for step in path if isinstance(step, Step) for item in (step.node, step.frame)),
        )
        if key in self._seen:
            return False
        if self._visits_left <= 0 or len(self.paths) >= _MAX_PATHS:
            self.unfinished = True
            return False
        self._seen.add(key)
        self._visits_left -= 1
        return True

    def _end(self, path: LogitPath) -> None:
        self.paths.append(path)


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


def _unremovable(frame: Frame, node: cst.Call, name: str) -> tuple[PathItem, ...]:
    """A bounded function in a form that can't be removed, so that a refusal can quote it."""
    return (Step(frame, node, BOUNDED[name], None),) if name in BOUNDED else ()


__all__ = ["Flow", "called"]
