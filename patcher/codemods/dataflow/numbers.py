"""The value that an expression of constants has, as Python would compute it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import libcst as cst

_MAX_EXPONENT = 64  # larger powers of whole numbers cost time and are no scale
_MAX_NUMBER = 1e300
_MAX_LENGTH = 1000  # of a text or a container


@dataclass(frozen=True)
class Number:
    """A number that the code names, and the key of config.json that it is read from, if it is.

    NaN where that key is null.
    """

    value: float
    key: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Known:
    """A value that an expression always has, and the key of config.json that it is read from, if it is.

    The items of a container are values of Python, or Known, or UNKNOWN.
    """

    value: Any
    key: tuple[str, ...] | None = None

    def number(self) -> Number | None:
        """The value as a number; NaN for a key of config.json that is null, None for anything else."""
        if self.value is None and self.key is not None:
            return Number(math.nan, self.key)
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)) or not math.isfinite(self.value):
            return None
        return Number(float(self.value), self.key)

    def item(self, index: object) -> Known | None:
        """One item of a container."""
        try:
            found = self.value[index]
        except (TypeError, LookupError):
            return None
        if isinstance(found, Known) or found is UNKNOWN:
            return found if isinstance(found, Known) else None
        return Known(found, (*self.key, str(index)) if self.key is not None else None)


UNKNOWN = object()
Read = Callable[[cst.BaseExpression], Known | None]
_OPERATIONS: Mapping[type[cst.CSTNode], Callable[..., Any]] = MappingProxyType(
    {
        **{cst.Add: operator.add, cst.Subtract: operator.sub, cst.Multiply: operator.mul, cst.Divide: operator.truediv},
        **{cst.FloorDivide: operator.floordiv, cst.Modulo: operator.mod, cst.Power: operator.pow},
        **{cst.Is: operator.is_, cst.IsNot: operator.is_not, cst.Equal: operator.eq, cst.NotEqual: operator.ne},
        **{cst.LessThan: operator.lt, cst.LessThanEqual: operator.le, cst.GreaterThan: operator.gt},
        **{cst.GreaterThanEqual: operator.ge, cst.Minus: operator.neg, cst.Plus: operator.pos, cst.Not: operator.not_},
    }
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **{f"builtins.{one.__name__}": one for one in (float, int, bool, abs, round, min, max)},
        **{f"math.{one.__name__}": one for one in (math.sqrt, math.exp, math.log, math.log2, math.log10, math.pow)},
        **{f"math.{one.__name__}": one for one in (math.floor, math.ceil, math.trunc, math.fabs)},
    }
)
_CONSTANTS = MappingProxyType({"math.pi": math.pi, "math.e": math.e, "math.tau": math.tau})
_TENSORS = {"torch.tensor", "torch.as_tensor", "torch.scalar_tensor", "new_tensor"}
NAMES = MappingProxyType({"None": None, "True": True, "False": False})


def evaluate(node: cst.BaseExpression, read: Read, name_of: Callable[[cst.BaseExpression], str]) -> Known | None:
    """The value of a literal, or of operations and known functions on values; None for anything else.

    `read` gives the values of the parts, `name_of` the full name of a function or a constant of another package.
    """
    if isinstance(node, (cst.Integer, cst.Float, cst.SimpleString)):
        return Known(node.evaluated_value)
    if isinstance(node, cst.Name) and node.value in NAMES:
        return Known(NAMES[node.value])
    if isinstance(node, (cst.Tuple, cst.List)):
        return _container(node, read)
    if isinstance(node, cst.Dict):
        return _dictionary(node, read)
    if isinstance(node, cst.UnaryOperation):
        return _applied(_OPERATIONS.get(type(node.operator)), read(node.expression))
    if isinstance(node, cst.BinaryOperation):
        return _applied(_OPERATIONS.get(type(node.operator)), read(node.left), read(node.right))
    if isinstance(node, cst.Comparison) and len(node.comparisons) == 1:
        (one,) = node.comparisons
        return _applied(_OPERATIONS.get(type(one.operator)), read(node.left), read(one.comparator))
    if isinstance(node, cst.BooleanOperation):
        left = read(node.left)
        is_left = left is not None and bool(left.value) is isinstance(node.operator, cst.Or)
        return left if left is None or is_left else read(node.right)
    if isinstance(node, cst.IfExp):
        test = read(node.test)
        return None if test is None else read(node.body if test.value else node.orelse)
    if isinstance(node, cst.Subscript) and len(node.slice) == 1 and isinstance(node.slice[0].slice, cst.Index):
        base, index = read(node.value), read(node.slice[0].slice.value)
        return base.item(index.value) if base is not None and index is not None else None
    if isinstance(node, cst.Call):
        return _called(node, read, name_of)
    if isinstance(node, cst.Attribute) and (name := name_of(node)) in _CONSTANTS:
        return Known(_CONSTANTS[name])
    return None


def _applied(function: Callable[..., Any] | None, *operands: Known | None) -> Known | None:
    values = [one.value for one in operands if one is not None]
    is_simple = all(one is None or isinstance(one, (bool, int, float)) for one in values)
    if function is None or len(values) < len(operands) or not is_simple:
        return None
    if function in {operator.is_, operator.is_not} and None not in values:
        return None
    try:
        if function in {operator.pow, math.pow} and abs(values[1]) > _MAX_EXPONENT:
            return None
        result = function(*values)
        return Known(result) if isinstance(result, (bool, int, float)) and abs(result) < _MAX_NUMBER else None
    except (ArithmeticError, ValueError, TypeError):
        return None


def _container(node: cst.Tuple | cst.List, read: Read) -> Known | None:
    if len(node.elements) > _MAX_LENGTH or any(isinstance(one, cst.StarredElement) for one in node.elements):
        return None
    return Known(tuple(read(one.value) or UNKNOWN for one in node.elements))


def _dictionary(node: cst.Dict, read: Read) -> Known | None:
    found: dict[Any, object] = {}
    for one in node.elements[:_MAX_LENGTH]:
        key = read(one.key) if isinstance(one, cst.DictElement) else None
        if key is None or not isinstance(key.value, (str, int)):
            return None
        found[key.value] = read(one.value) or UNKNOWN
    return Known(found) if len(node.elements) <= _MAX_LENGTH else None


def _called(node: cst.Call, read: Read, name_of: Callable[[cst.BaseExpression], str]) -> Known | None:
    name = name_of(node.func)
    if name in _TENSORS:
        return _scalar(node, read)
    if name == "builtins.dict" and all(one.keyword is not None for one in node.args):
        return Known({one.keyword.value: read(one.value) or UNKNOWN for one in node.args if one.keyword is not None})
    if name not in _FUNCTIONS or any(one.star or one.keyword is not None for one in node.args):
        return None
    values = [read(one.value) for one in node.args]
    if name in {"builtins.float", "builtins.int"} and values and values[0] and isinstance(values[0].value, str):
        return _parsed(values[0].value, _FUNCTIONS[name]) if len(values) == 1 else None
    return _applied(_FUNCTIONS[name], *values)


def _parsed(text: str, kind: Callable[[str], Any]) -> Known | None:
    try:
        return Known(kind(text)) if len(text) <= _MAX_LENGTH else None
    except ValueError:
        return None


def _scalar(node: cst.Call, read: Read) -> Known | None:
    """The number in a tensor of one number, where every dtype of a head holds it exactly."""
    others = [one.keyword.value if one.keyword is not None else one.star for one in node.args[1:]]
    if not node.args or node.args[0].star or node.args[0].keyword is not None or any(one != "device" for one in others):
        return None
    found = read(node.args[0].value)
    number = found.number() if found is not None else None
    return Known(number.value) if number is not None and _is_exact(number.value) else None


def _is_exact(value: float) -> bool:
    """Whether bfloat16 and float16 hold a number exactly: 8 binary digits, and neither very large nor very small."""
    if not math.isfinite(value):
        return False
    digits, exponent = math.frexp(value)
    return (digits * 256).is_integer() and -14 < exponent <= 15
