"""Follows the logits backwards, from what `forward` returns to the vocabulary projection, and lists every step.

The analysis is a demand-driven data flow: it goes through assignments, casts and slices, into methods, base classes,
head modules and helper functions of the same package of files, and takes each way that a branch leaves open. It ends at
a matrix product or a linear layer, and at anything that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import libcst as cst

from patcher.codemods.dataflow.frame import Frame, Instance, Meaning, Number
from patcher.codemods.dataflow.package import Class, External, Function
from patcher.codemods.dataflow.reaching import Definition
from patcher.codemods.nodes import assignments, dotted, last_name, walk

_TORCH = ("torch.", "torch.nn.functional.", "torch.special.", "torch.Tensor.")
_MODULES = ("torch.nn.", "torch.nn.modules.activation.")
BOUNDED = {"sigmoid": "sigmoid", "expit": "sigmoid", "sigmoid_": "sigmoid", "tanh": "tanh", "tanh_": "tanh"}
_SCALED = {
    **dict.fromkeys(("mul", "mul_", "multiply", "multiply_"), "mul"),
    **dict.fromkeys(("div", "div_", "divide", "divide_", "true_divide", "true_divide_"), "div"),
    **dict.fromkeys(("add", "add_"), "add"),
    **dict.fromkeys(("sub", "sub_", "subtract", "subtract_"), "sub"),
}
# Functions and methods that move, copy or cast numbers and leave each of them what it is.
_MOVES = {
    *("float", "half", "double", "bfloat16", "to", "type", "type_as", "contiguous", "clone", "detach", "cpu", "cuda"),
    *("view", "view_as", "reshape", "transpose", "permute", "squeeze", "unsqueeze", "flatten", "unflatten", "expand"),
    *("narrow", "select", "index_select", "requires_grad_", "movedim", "t"),
}
_JOINS = {"cat", "concat", "concatenate", "stack", "where", "masked_fill", "masked_fill_", "pad"}
_PASSING_LAYERS = {"torch.nn.Identity", "torch.nn.Dropout"}
_PLAIN = {cst.Add: "add", cst.Subtract: "sub", cst.Multiply: "mul", cst.Divide: "div"}
_PLAIN_AUGMENTED = {
    cst.AddAssign: "add",
    cst.SubtractAssign: "sub",
    cst.MultiplyAssign: "mul",
    cst.DivideAssign: "div",
}
_STEPS, _WAYS = 4000, 200  # far beyond any head that was seen; an end to what nobody should have written

Take = Callable[[cst.CSTNode], cst.BaseExpression]


@dataclass(frozen=True, eq=False)
class Op:
    """One elementwise step with a number or a bounded function: `what` is mul, div, add, sub, rsub, sigmoid or tanh.

    `take` gives what is left when the step goes; None stands for a statement that goes whole. A `number` of None is
    one that can't be read off.
    """

    frame: Frame
    node: cst.CSTNode
    what: str
    take: Take | None
    number: Number | None = None
    in_place: bool = False


@dataclass(frozen=True, eq=False)
class Link:
    """A name that carries the value: defined by `definition`, read at `use`."""

    frame: Frame
    definition: Definition
    use: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Move:
    """A cast, a slice, a change of shape: it commutes with every elementwise step."""

    node: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Join:
    """Several values become one, or the value is combined with something that is not a number."""

    node: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Enter:
    """The value is what this call gives; the steps of `frame` follow."""

    frame: Frame
    call: cst.Call


@dataclass(frozen=True, eq=False)
class Leave:
    """The value is parameter `name` of `frame`; the steps of its caller follow."""

    frame: Frame
    name: str


Step = Op | Link | Move | Join | Enter | Leave
Way = tuple[Step, ...]


class Flow:
    """All ways from the logits of a model class back to where they come from. `frames`: the functions on them."""

    def __init__(self, frame: Frame) -> None:
        self.start = frame
        self.ways: list[Way] = []
        self.frames: list[Frame] = [frame]
        self.used: set[int] = set()  # the names that carry the logits, where they are read
        self.unfinished = False  # there are more ways than anybody should have written
        self._left = _STEPS
        self._seen: set[tuple[int, ...]] = set()
        for statement, value in _returned(frame):
            self._logits(value, statement, frame, ())

    # What a model returns

    def _logits(self, node: cst.BaseExpression, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        """Go on from a whole output: an object with `logits`, a tuple, or the logits themselves."""
        if not self._go(node, frame, way, 1):
            return
        if isinstance(node, cst.Call):
            named = _argument(node, "logits", _position(frame, node, at))
            if named is not None:
                self._value(named, at, frame, way)
                return
            if self._enter(node, at, frame, way, self._logits):
                return
            if (last_name(node.func) or "").endswith("Output"):
                return
        elif isinstance(node, cst.Dict):
            for element in node.elements:
                if isinstance(element, cst.DictElement) and _is_text(element.key, "logits"):
                    self._value(element.value, at, frame, way)
            return
        elif isinstance(node, (cst.Tuple, cst.List)):
            items = [element.value for element in node.elements if isinstance(element, cst.Element)]
            first = next((item for item in items if not _speaks_of_loss(item)), None)
            if first is not None:
                self._value(first, at, frame, way)
            return
        elif isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add) and _is_tuple(node):
            loss = isinstance(node.left, cst.Tuple) and all(_speaks_of_loss(e.value) for e in node.left.elements)
            self._logits(node.right if loss else node.left, at, frame, way)
            return
        elif isinstance(node, cst.IfExp):
            self._logits(node.body, at, frame, way)
            self._logits(node.orelse, at, frame, way)
            return
        elif isinstance(node, cst.Name):
            attributes, is_definite = frame.body.reaching_definitions(f"{node.value}.logits", at)
            for one in attributes:
                if one.value is not None:
                    self._value(one.value, one.statement, frame, (*way, Link(frame, one, node)))
            found, _ = frame.body.reaching_definitions(node.value, at)
            if attributes and is_definite:
                return
            if found:
                for one in found:
                    if one.augmented is None and one.value is not None and not one.partial:
                        self.used.add(id(node))
                        self._logits(one.value, one.statement, frame, (*way, Link(frame, one, node)))
                    elif one.augmented is not None or (one.partial and not _is_other_key(one)):
                        self._definition(one, node, frame, way)
                return
        self._value(node, at, frame, way)

    # What the logits are made of

    def _value(self, node: cst.BaseExpression, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        """Go on from an expression that is a tensor."""
        if not self._go(node, frame, way, 2):
            return
        if isinstance(node, cst.Name):
            self._name(node, at, frame, way)
        elif isinstance(node, cst.Call):
            self._call(node, at, frame, way)
        elif isinstance(node, cst.BinaryOperation):
            self._binary(node, at, frame, way)
        elif isinstance(node, cst.UnaryOperation) and isinstance(node.operator, (cst.Minus, cst.Plus)):
            number = Number(-1.0 if isinstance(node.operator, cst.Minus) else 1.0)
            step = Op(frame, node, "mul", lambda new: new.expression, number)  # type: ignore[attr-defined]
            self._value(node.expression, at, frame, (*way, step))
        elif isinstance(node, cst.IfExp):
            self._value(node.body, at, frame, way)
            self._value(node.orelse, at, frame, way)
        elif isinstance(node, cst.NamedExpr):
            self._value(node.value, at, frame, way)
        elif isinstance(node, cst.Subscript):
            if _index(node) == 0 and isinstance(node.value, cst.Call):
                self._logits(node.value, at, frame, (*way, Move(node)))
            else:
                self._value(node.value, at, frame, (*way, Move(node)))
        elif isinstance(node, cst.Attribute):
            self._attribute(node, at, frame, way)
        elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
            self._value(node.elt, at, frame, (*way, Join(node)))
        elif isinstance(node, cst.List):  # what torch.cat gets
            for element in node.elements:
                self._value(element.value, at, frame, (*way, Join(node)))
        else:
            self._end(way)

    def _name(self, node: cst.Name, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        found, is_definite = frame.body.reaching_definitions(node.value, at)
        for one in found:
            self._definition(one, node, frame, way)
        if not is_definite or not found:
            bound = frame.arguments.get(node.value)
            if bound is not None:
                self._value(bound[0], bound[2], bound[1], (*way, Leave(frame, node.value)))
            else:
                self._end(way)

    def _definition(self, one: Definition, use: cst.CSTNode, frame: Frame, way: Way) -> None:
        way = (*way, Link(frame, one, use))
        self.used.add(id(use))
        augmented = one.augmented
        if augmented is not None:
            what = _PLAIN_AUGMENTED.get(type(augmented.operator))
            if what is None:
                self._end(way)
                return
            if not self._go(augmented, frame, way, 3):
                return
            number = frame.number(augmented.value, augmented)
            step = Op(frame, augmented, what, None, number)
            self._value(augmented.target, augmented, frame, (*way, step))
        elif one.value is None:
            self._end(way)
        elif one.partial:
            self._value(one.value, one.statement, frame, (*way, Join(one.statement)))
        else:
            self._value(one.value, one.statement, frame, way)

    def _attribute(self, node: cst.Attribute, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        name = dotted(node)
        if name is not None:
            found, is_definite = frame.body.reaching_definitions(name, at)
            for one in found:
                self._definition(one, node, frame, way)
            if found and is_definite:
                return
        if node.attr.value == "logits":
            self._logits(node.value, at, frame, (*way, Move(node)))
        elif node.attr.value in {"T", "mT"}:
            self._value(node.value, at, frame, (*way, Move(node)))
        else:
            self._end(way)

    def _binary(self, node: cst.BinaryOperation, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        what = _PLAIN.get(type(node.operator))
        if what is None:
            self._end(way)
            return
        left, right = frame.number(node.left, at), frame.number(node.right, at)
        if right is not None:
            self._value(node.left, at, frame, (*way, Op(frame, node, what, _left, right)))
        elif left is not None and what != "div":
            step = Op(frame, node, "rsub" if what == "sub" else what, _right, left)
            self._value(node.right, at, frame, (*way, step))
        elif what == "mul":
            self._value(node.left, at, frame, (*way, Op(frame, node, what, _left)))
            self._value(node.right, at, frame, (*way, Op(frame, node, what, _right)))
        elif what == "div":
            self._value(node.left, at, frame, (*way, Op(frame, node, what, _left)))
        else:
            self._value(node.left, at, frame, (*way, Op(frame, node, what, _left)))
            self._value(node.right, at, frame, (*way, Op(frame, node, "rsub" if what == "sub" else what, _right)))

    def _call(self, node: cst.Call, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        meaning = frame.meaning(node.func, at)
        function = _of_torch(meaning)
        if isinstance(meaning, Instance) and isinstance(meaning.cls, External):
            layer = _layer(meaning.cls.name)
            argument = _argument(node, "input", 0)
            if argument is None or (layer is None and meaning.cls.name not in _PASSING_LAYERS):
                self._layers(meaning, node, at, frame, way)
            elif layer is None:
                self._value(argument, at, frame, (*way, Move(node)))
            else:
                self._value(argument, at, frame, (*way, Op(frame, node, layer, taker(node, argument))))
        elif function is not None:
            self._torch(function, node, at, frame, way)
        elif self._enter(node, at, frame, way, self._value):
            return
        elif meaning is None and isinstance(node.func, cst.Attribute) and not frame.is_me(node.func.value):
            self._method(node, at, frame, way)
        else:
            self._end(way)

    def _layers(self, made: Instance, node: cst.Call, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        """A layer of torch: through nn.Sequential from its end as far as its layers are known; else the end."""
        argument = _argument(node, "input", 0)
        if not isinstance(made.cls, External) or made.cls.name != "torch.nn.Sequential" or argument is None:
            self._end(way)
            return
        statement = made.frame.body.statement(made.call)
        for item in reversed(made.call.args):
            layer = made.frame.meaning(item.value, statement)
            name = layer.cls.name if isinstance(layer, Instance) and isinstance(layer.cls, External) else ""
            bounded = _layer(name)
            if bounded is not None:  # no way to take it out without renumbering what the checkpoint names
                way = (*way, Op(made.frame, item, bounded, None))
            elif name not in _PASSING_LAYERS:
                self._end(way)
                return
        self._value(argument, at, frame, (*way, Move(node)))

    def _torch(self, name: str, node: cst.Call, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        """A function of torch by its last name."""
        argument = _argument(node, "input", 0)
        if argument is None or any(item.keyword is not None and item.keyword.value == "out" for item in node.args):
            self._end((*way, *_lost(frame, node, name)))
        elif name in BOUNDED:
            step = Op(frame, node, BOUNDED[name], taker(node, argument), None, name.endswith("_"))
            self._value(argument, at, frame, (*way, step))
        elif name in _SCALED:
            other = _argument(node, "other", 1)
            self._scaled(_SCALED[name], node, argument, other, at, frame, way)
        elif name in _JOINS:
            for item in node.args:
                parts = item.value.elements if isinstance(item.value, (cst.List, cst.Tuple)) else [item]
                for part in parts:
                    self._value(part.value, at, frame, (*way, Join(node)))
        elif name in _MOVES:
            self._value(argument, at, frame, (*way, Move(node)))
        elif name in {"neg", "negative"}:
            step = Op(frame, node, "mul", taker(node, argument), Number(-1.0))
            self._value(argument, at, frame, (*way, step))
        else:
            self._end(way)

    def _method(self, node: cst.Call, at: cst.CSTNode, frame: Frame, way: Way) -> None:
        """A method of a tensor."""
        assert isinstance(node.func, cst.Attribute)
        name, receiver = node.func.attr.value, node.func.value
        if name in BOUNDED and not node.args:
            step = Op(frame, node, BOUNDED[name], _receiver, None, name.endswith("_"))
            self._value(receiver, at, frame, (*way, step))
        elif name in _SCALED and node.args:
            self._scaled(_SCALED[name], node, receiver, _argument(node, "other", 0), at, frame, way)
        elif name in {"neg", "neg_"} and not node.args:
            self._value(receiver, at, frame, (*way, Op(frame, node, "mul", _receiver, Number(-1.0), name == "neg_")))
        elif name in _MOVES:
            self._value(receiver, at, frame, (*way, Move(node)))
        elif name in _JOINS:
            self._value(receiver, at, frame, (*way, Join(node)))
        else:
            self._end(way)

    def _scaled(
        self,
        what: str,
        node: cst.Call,
        one: cst.BaseExpression,
        other: cst.BaseExpression | None,
        at: cst.CSTNode,
        frame: Frame,
        way: Way,
    ) -> None:
        """`torch.mul(one, other)` or `one.mul(other)`."""
        extra = [
            item for item in node.args if item.keyword is not None and item.keyword.value not in {"input", "other"}
        ]
        if other is None or extra:  # alpha=, rounding_mode=, out=
            self._end((*way, *_lost(frame, node, what)))
            return
        in_place = (last_name(node.func) or "").endswith("_")
        right, left = frame.number(other, at), frame.number(one, at)
        if right is not None or left is None:
            self._value(one, at, frame, (*way, Op(frame, node, what, taker(node, one), right, in_place)))
        if right is None and what != "div":
            turned = "rsub" if what == "sub" else what
            self._value(other, at, frame, (*way, Op(frame, node, turned, taker(node, other), left, in_place)))

    def _enter(self, node: cst.Call, at: cst.CSTNode, frame: Frame, way: Way, go_on: Callable[..., None]) -> bool:
        """Go into a function of the package that is called; False where the call is none."""
        meaning = frame.meaning(node.func, at)
        target, this, made = called(frame, meaning, node)
        if target is None or frame.depth > 12 or any(s.call is node for s in way if isinstance(s, Enter)):
            return False
        inner = frame.enter(target, node, at, this, made)
        self.frames.append(inner)
        for statement, value in _returned(inner):
            go_on(value, statement, inner, (*way, Enter(inner, node)))
        return True

    # The bookkeeping

    def _go(self, node: cst.CSTNode, frame: Frame, way: Way, mode: int) -> bool:
        """Whether this place was not reached in this way before, and there is still patience left."""
        turn = next((i for i, s in enumerate(way) if isinstance(s, Op) and s.node is node and s.frame is frame), None)
        if turn is not None:  # a loop: its steps a second time say enough
            self._end((*way, *way[turn:]))
            return False
        key = (
            mode,
            id(node),
            id(frame),
            *(id(item) for step in way if isinstance(step, Op) for item in (step.node, step.frame)),
        )
        if key in self._seen:
            return False
        if self._left <= 0 or len(self.ways) >= _WAYS:
            self.unfinished = True
            return False
        self._seen.add(key)
        self._left -= 1
        return True

    def _end(self, way: Way) -> None:
        self.ways.append(way)


def _position(frame: Frame, call: cst.Call, at: cst.CSTNode) -> int | None:
    """Where the logits stand among the arguments of an output object; transformers' own put them behind the loss."""
    if not (last_name(call.func) or "").endswith("Output"):
        return None
    made = frame.meaning(call.func, at)
    if not isinstance(made, Class):
        return 1
    init = made.methods.get("__init__")
    names = [p.name.value for p in init.params.params[1:]] if init else [n for n, _ in assignments(made.node.body.body)]
    return names.index("logits") if "logits" in names else 1


def _returned(frame: Frame) -> Iterator[tuple[cst.CSTNode, cst.BaseExpression]]:
    """What a function returns, with the statement; functions inside of it do not count."""
    waiting: list[cst.CSTNode] = [frame.function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, cst.Return):
            if node.value is not None:
                yield node, node.value
        elif isinstance(node, (cst.IndentedBlock, cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            waiting += reversed(_alive(node.body))
        elif not isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.BaseExpression)):
            waiting += reversed(node.children)


def _alive(statements: Sequence[cst.CSTNode]) -> Sequence[cst.CSTNode]:
    """The statements of a block up to the first that always leaves it."""
    for index, item in enumerate(statements):
        last = item.body[-1] if isinstance(item, cst.SimpleStatementLine) else item
        if isinstance(last, (cst.Return, cst.Raise)):
            return statements[: index + 1]
    return statements


def called(
    frame: Frame, meaning: Meaning | None, node: cst.Call
) -> tuple[Function | None, Class | None, Instance | None]:
    """The function that a call runs, the class of its `self`, and the object it belongs to."""
    if isinstance(meaning, Function):
        same = meaning.owner is not None
        return meaning, frame.this if same else None, frame.instance if same else None
    if isinstance(meaning, Instance) and isinstance(meaning.cls, Class):
        return frame.package.method(meaning.cls, "forward"), meaning.cls, meaning
    return None, None, None


def _of_torch(meaning: Meaning | None) -> str | None:
    """The last name of a function of torch; None for anything else."""
    if not isinstance(meaning, External):
        return None
    prefix, _, name = meaning.name.rpartition(".")
    return name if f"{prefix}." in _TORCH else None


def _layer(name: str) -> str | None:
    """The bounded function that a layer of torch applies: `torch.nn.Sigmoid`."""
    prefix, _, last = name.rpartition(".")
    return {"Sigmoid": "sigmoid", "Tanh": "tanh"}.get(last) if f"{prefix}." in _MODULES else None


def _lost(frame: Frame, node: cst.Call, name: str) -> tuple[Step, ...]:
    """A bounded function in a form that can't be taken out, so that a refusal can name it."""
    return (Op(frame, node, BOUNDED[name], None),) if name in BOUNDED else ()


def _argument(call: cst.Call, keyword: str, position: int | None = None) -> cst.BaseExpression | None:
    """An argument by keyword, or by position where nothing with a star stands before it."""
    for index, item in enumerate(call.args):
        if item.star:
            return None
        if item.keyword is not None and item.keyword.value == keyword:
            return item.value
        if item.keyword is None and index == position:
            return item.value
    return None


def taker(call: cst.Call, wanted: cst.BaseExpression) -> Take:
    """How to get at an argument, or at what a method is called on, in the call as it is after other changes."""
    for index, item in enumerate(call.args):
        if item.value is wanted:
            return lambda new: new.args[index].value  # type: ignore[attr-defined]
    return _receiver


def _receiver(new: cst.CSTNode) -> cst.BaseExpression:
    return new.func.value  # type: ignore[attr-defined, no-any-return]


def _left(new: cst.CSTNode) -> cst.BaseExpression:
    return new.left  # type: ignore[attr-defined, no-any-return]


def _right(new: cst.CSTNode) -> cst.BaseExpression:
    return new.right  # type: ignore[attr-defined, no-any-return]


def _is_other_key(one: Definition) -> bool:
    """Whether a statement sets something else of an output: `outputs["loss"] = x`."""
    if not isinstance(one.statement, cst.Assign):
        return False
    target = one.statement.targets[0].target
    item = target.slice[0].slice if isinstance(target, cst.Subscript) else None
    key = item.value if isinstance(item, cst.Index) else None
    return isinstance(key, cst.SimpleString) and key.evaluated_value != "logits"


def _is_tuple(node: cst.BaseExpression) -> bool:
    """Whether a sum is one of tuples: `(logits,) + outputs[1:]`."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add):
        return _is_tuple(node.left) or _is_tuple(node.right)
    return isinstance(node, cst.Tuple)


def _is_text(node: cst.BaseExpression, text: str) -> bool:
    return isinstance(node, cst.SimpleString) and node.evaluated_value == text


def _index(node: cst.Subscript) -> int | None:
    """The number in `outputs[0]`."""
    item = node.slice[0].slice if len(node.slice) == 1 else None
    value = item.value if isinstance(item, cst.Index) else None
    return int(value.evaluated_value) if isinstance(value, cst.Integer) else None


def _speaks_of_loss(node: cst.BaseExpression) -> bool:
    return any(isinstance(item, cst.Name) and "loss" in item.value.lower() for item in walk(node))


__all__ = ["BOUNDED", "Enter", "Flow", "Join", "Leave", "Link", "Move", "Op", "Step", "Take", "Way", "called", "taker"]
