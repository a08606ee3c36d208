"""What the functions, methods and layers of torch do to a tensor, as far as a path of the logits leads through them."""

from __future__ import annotations

import libcst as cst

from patcher.codemods.dataflow.frame import Meaning
from patcher.codemods.dataflow.package import External
from patcher.codemods.dataflow.steps import Extractor

_FUNCTIONS = ("torch.", "torch.nn.functional.", "torch.special.", "torch.Tensor.")
_LAYERS = ("torch.nn.", "torch.nn.modules.activation.")
BOUNDED = {"sigmoid": "sigmoid", "expit": "sigmoid", "sigmoid_": "sigmoid", "tanh": "tanh", "tanh_": "tanh"}
BOUNDED_KINDS = frozenset(BOUNDED.values())
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


def receiver_of(new: cst.CSTNode) -> cst.BaseExpression:
    """`x` of `x.sigmoid()`."""
    return new.func.value  # type: ignore[attr-defined, no-any-return]


def left_of(new: cst.CSTNode) -> cst.BaseExpression:
    """The left operand of a binary operation."""
    return new.left  # type: ignore[attr-defined, no-any-return]


def right_of(new: cst.CSTNode) -> cst.BaseExpression:
    """The right operand of a binary operation."""
    return new.right  # type: ignore[attr-defined, no-any-return]
