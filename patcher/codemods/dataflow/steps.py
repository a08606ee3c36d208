"""What a path of the logits is made of, and which step each function, method and layer of torch is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import libcst as cst

from patcher.codemods.dataflow.frame import Frame, Meaning, Number
from patcher.codemods.dataflow.package import External
from patcher.codemods.dataflow.reaching import Definition

Extractor = Callable[[cst.CSTNode], cst.BaseExpression]


@dataclass(frozen=True, eq=False)
class Step:
    """One elementwise step with a number or a bounded function: `what` is mul, div, add, sub, rsub, sigmoid or tanh.

    `extract` gives what remains of the node when the step is removed; None stands for a statement that is removed as a
    whole. A `number` of None is one that can't be read from the code.
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
class Merge:
    """Several values become one, or the value is combined with something that is not a number."""

    node: cst.CSTNode


@dataclass(frozen=True, eq=False)
class CallEntry:
    """The value is the result of this call; the items of `frame` follow."""

    frame: Frame
    call: cst.Call

    def as_step(self, parameter: str) -> Step:
        """The call as a step that leaves the argument for this parameter when it is removed."""
        argument, caller, _ = self.frame.arguments[parameter]
        return Step(caller, self.call, "call", make_extractor(self.call, argument))


@dataclass(frozen=True, eq=False)
class CallExit:
    """The value is parameter `name` of `frame`; the items of its caller follow."""

    frame: Frame
    name: str


PathItem = Step | Link | Passthrough | Merge | CallEntry | CallExit
# From the logits backwards: the first item is what happened to them last.
LogitPath = tuple[PathItem, ...]

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
    *("float", "half", "double", "bfloat16", "to", "type", "type_as", "contiguous", "clone", "detach", "cpu", "cuda"),
    *("view", "view_as", "reshape", "transpose", "permute", "squeeze", "unsqueeze", "flatten", "unflatten", "expand"),
    *("narrow", "select", "index_select", "requires_grad_", "movedim", "t"),
}
MERGES = {"cat", "concat", "concatenate", "stack", "where", "masked_fill", "masked_fill_", "pad"}
PASSTHROUGH_LAYERS = {"torch.nn.Identity", "torch.nn.Dropout"}
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
