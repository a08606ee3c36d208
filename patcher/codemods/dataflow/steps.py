"""What a path of the logits is made of, and which step each function, method and layer of torch is."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.frame import Frame, Meaning
from patcher.codemods.dataflow.numbers import Number
from patcher.codemods.dataflow.package import External
from patcher.codemods.dataflow.reaching import Definition
from patcher.codemods.nodes import last_name, walk

Extractor = Callable[[cst.CSTNode], cst.BaseExpression]


@dataclass(frozen=True, eq=False)
class Step:
    """One elementwise step with a number, a bounded function or an activation.

    `what` is mul, div, add, sub, rsub, sigmoid, tanh or activation. `extract` gives what remains of the node when the
    step is removed; None stands for a statement that is removed as a whole. A `number` of None is one that can't be
    read from the code.
    """

    frame: Frame
    node: cst.CSTNode
    what: str
    extract: Extractor | None
    number: Number | None = None
    in_place: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether it is a sigmoid or a tanh."""
        return self.what in BOUNDED.values()


@dataclass(frozen=True, eq=False)
class Link:
    """A name that carries the value: defined by `definition`, read at `use`."""

    frame: Frame
    definition: Definition
    use: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Passthrough:
    """A cast, a slice, a change of shape: it commutes with every elementwise step."""

    node: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Container:
    """A tuple, a dictionary or an output object that the value is put into."""

    node: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Merge:
    """Several values become one, of which the value is this part."""

    frame: Frame
    node: cst.CSTNode
    part: cst.CSTNode


@dataclass(frozen=True, eq=False)
class CallEntry:
    """The value is the result of this call in `caller`; the items of `frame` follow."""

    frame: Frame
    call: cst.Call
    caller: Frame

    def as_step(self, parameter: str) -> Step:
        """The call as a step that leaves the argument for this parameter when it is removed."""
        argument, caller, _ = self.frame.arguments[parameter]
        return Step(caller, self.call, "call", make_extractor(self.call, argument))


@dataclass(frozen=True, eq=False)
class CallExit:
    """The value is parameter `name` of `frame`; the items of its caller follow."""

    frame: Frame
    name: str


@dataclass(frozen=True, eq=False)
class End:
    """Where a path begins, and what the value is there.

    - `projection`: the result of a matrix product, or of a layer that the package does not define
    - `input`: a parameter of the function that the walk began in
    - `constant`, `weight` (an attribute of the object), `statistic` (a mean or the like)
    - `unbound`: a name that has no value there, so that no run takes the path
    - `unknown`: anything else
    """

    frame: Frame
    node: cst.CSTNode
    kind: str


@dataclass(frozen=True, eq=False)
class Obstacle:
    """A statement that may change the logits in some mode, and why; an `ast` node where LibCST's tree is not needed."""

    code: Code
    node: cst.CSTNode | ast.AST
    reason: str

    @classmethod
    def at(cls, frame: Frame, node: cst.CSTNode, reason: str) -> Obstacle:
        """The statement around a node of a function."""
        return cls(frame.code, frame.body.statement(node), reason)


PathItem = Step | Link | Passthrough | Container | Merge | CallEntry | CallExit
# From the logits backwards: the first item is what happened to them last.
LogitPath = tuple[PathItem, ...]


@dataclass(frozen=True, eq=False)
class Position:
    """Where the walk is: the statement at which names are read, the call that it runs in, and the path so far."""

    at: cst.CSTNode
    frame: Frame
    path: LogitPath = ()
    is_divisor: bool = False  # the value divides the logits
    steps: tuple[Step, ...] = ()  # those on the path

    def then(self, *items: PathItem, at: cst.CSTNode | None = None, frame: Frame | None = None) -> Position:
        """The position after more items, at another statement and in another frame where these are given."""
        steps = (*self.steps, *(item for item in items if isinstance(item, Step)))
        return Position(at or self.at, frame or self.frame, (*self.path, *items), self.is_divisor, steps)


_FUNCTIONS = ("torch.", "torch.nn.functional.", "torch.special.", "torch.Tensor.")
_LAYERS = ("torch.nn.", "torch.nn.modules.activation.")
BOUNDED = {"sigmoid": "sigmoid", "expit": "sigmoid", "sigmoid_": "sigmoid", "tanh": "tanh", "tanh_": "tanh"}
ARITHMETIC = {
    **dict.fromkeys(("mul", "mul_", "multiply", "multiply_"), "mul"),
    **dict.fromkeys(("div", "div_", "divide", "divide_", "true_divide", "true_divide_"), "div"),
    **dict.fromkeys(("add", "add_"), "add"),
    **dict.fromkeys(("sub", "sub_", "subtract", "subtract_"), "sub"),
}
OPERATORS: dict[type[cst.CSTNode], str] = {
    **{cst.Add: "add", cst.Subtract: "sub", cst.Multiply: "mul", cst.Divide: "div"},
    **{cst.AddAssign: "add", cst.SubtractAssign: "sub", cst.MultiplyAssign: "mul", cst.DivideAssign: "div"},
}
# Functions and methods that move, copy or cast numbers and do not change any of them.
PASSTHROUGHS = {
    *("float", "half", "double", "bfloat16", "to", "type", "type_as", "contiguous", "clone", "cpu", "cuda"),
    *("view", "view_as", "reshape", "transpose", "permute", "squeeze", "unsqueeze", "flatten", "unflatten", "expand"),
    *("narrow", "select", "index_select", "requires_grad_", "movedim", "t", "split", "chunk", "unbind"),
}
SPLITS = {"split", "chunk", "unbind", "tensor_split"}
# A cast to one of these, or to the dtype of one of these arguments, does change numbers.
_NARROW = {
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "short", "int32", "int", "int64", "long"),
    *("labels", "input_ids"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "attention_mask"),
}
JOINS = {"cat", "concat", "concatenate", "stack"}
PROJECTIONS = {"linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum"}
# Elementwise functions that keep the sign of every number but 0, and bound none from above.
ACTIVATIONS = {"gelu", "silu", "mish", "leaky_relu"}
STATISTICS = {"mean", "sum", "std", "var", "norm"}
CONSTANTS = {
    *("zeros", "ones", "full", "empty", "tensor", "zeros_like", "ones_like", "full_like", "empty_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"),
}
PASSTHROUGH_LAYERS = {"torch.nn.Identity"}
# `x` of `x.sigmoid()`, and the operands of a binary operation.
receiver_of, left_of, right_of = attrgetter("func.value"), attrgetter("left"), attrgetter("right")


def function_of_torch(meaning: Meaning | None) -> str | None:
    """The last name of a function of torch; None for anything else."""
    if not isinstance(meaning, External):
        return None
    prefix, _, name = meaning.name.rpartition(".")
    return name if f"{prefix}." in _FUNCTIONS else None


def bounded_layer(name: str) -> str | None:
    """The bounded function that a layer of torch applies: `sigmoid` for `torch.nn.Sigmoid`."""
    prefix, _, last = name.rpartition(".")
    return {"Sigmoid": "sigmoid", "Tanh": "tanh"}.get(last) if f"{prefix}." in _LAYERS else None


def kind_of_call(name: str) -> str:
    """The kind of end that a function or a method of torch is, by its last name."""
    kinds = {"projection": PROJECTIONS, "constant": CONSTANTS, "statistic": STATISTICS}
    return next((kind for kind, names in kinds.items() if name in names), "unknown")


def narrows(call: cst.Call, frame: Frame, at: cst.CSTNode) -> bool:
    """Whether a cast or a view may give numbers of a type that can't hold any logit."""
    names = [one.value.value for one in call.args if isinstance(one.value, cst.Name)]
    named = [frame.body.reaching_definitions(name, at)[0] for name in names]
    values = (node for found in named for one in found if one.value is not None for node in walk(one.value))
    for node in chain((item.value for item in call.args), values):
        of_dtype = isinstance(node, cst.Attribute) and node.attr.value == "dtype"
        name = last_name(node.value) if of_dtype and isinstance(node, cst.Attribute) else last_name(node)
        if isinstance(node, cst.SimpleString) or (name or "") in _NARROW:
            return True
    return False


def merged(
    name: str, call: cst.Call, receiver: cst.BaseExpression | None
) -> tuple[list[cst.BaseExpression], list[cst.BaseExpression]] | None:
    """The values that a function or method of torch merges, and the masks that choose; None for any other call."""
    if name in JOINS and (joined := argument_of(call, "tensors", 0)) is not None:
        listed = joined.elements if isinstance(joined, (cst.List, cst.Tuple)) else None
        return [one.value for one in listed] if listed is not None else [joined], []
    if any(item.star or item.keyword for item in call.args):
        return None
    values = [*([receiver] if receiver is not None else []), *(item.value for item in call.args)]
    if name == "pad" and len(values) == 2 and _pads_one_row(values[1]):
        return values[:1], []
    if name == "where" and len(values) == 3:
        mask = values.pop(0 if receiver is None else 1)
        return values, [mask]
    if name == "masked_fill" and len(values) == 3:
        return [values[0], values[2]], [values[1]]
    return None


def _pads_one_row(node: cst.BaseExpression) -> bool:
    """Whether a literal gives no side of a tensor more than one row."""
    sizes = [one.value for one in node.elements] if isinstance(node, (cst.Tuple, cst.List)) else []
    return bool(sizes) and all(isinstance(one, cst.Integer) and one.evaluated_value <= 1 for one in sizes)


def argument_of(call: cst.Call, keyword: str, position: int | None = None) -> cst.BaseExpression | None:
    """An argument by keyword, or by position where no starred argument precedes it."""
    for index, item in enumerate(call.args):
        if item.star:
            return None
        if item.keyword is not None and item.keyword.value == keyword:
            return item.value
        if item.keyword is None and index == position:
            return item.value
    return None


def make_extractor(call: cst.Call, wanted: cst.BaseExpression) -> Extractor:
    """How to get an argument, or the receiver of a method, from the call as it is after other changes."""
    for index, item in enumerate(call.args):
        if item.value is wanted:
            return lambda new: new.args[index].value  # type: ignore[attr-defined]
    return receiver_of


def mirrored(what: str) -> str:
    """The step for the right operand: `number - x` is not `x - number`."""
    return "rsub" if what == "sub" else what
