"""What a function returns, and where the logits are in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class
from patcher.codemods.dataflow.reaching import Definition
from patcher.codemods.nodes import assignments, last_name, walk


def returned(frame: Frame) -> Iterator[tuple[cst.CSTNode, cst.BaseExpression]]:
    """What a function returns, with the statement; nested functions do not count."""
    waiting: list[cst.CSTNode] = [frame.function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, cst.Return):
            if node.value is not None:
                yield node, node.value
        elif isinstance(node, (cst.IndentedBlock, cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            waiting += reversed(_reachable(node.body))
        elif not isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.BaseExpression)):
            waiting += reversed(node.children)


def _reachable(statements: Sequence[cst.CSTNode]) -> Sequence[cst.CSTNode]:
    """The statements of a block up to the first that always leaves it."""
    for index, item in enumerate(statements):
        last = item.body[-1] if isinstance(item, cst.SimpleStatementLine) else item
        if isinstance(last, (cst.Return, cst.Raise)):
            return statements[: index + 1]
    return statements


def is_output(call: cst.Call) -> bool:
    """Whether a call constructs an output object, by transformers' convention for their names."""
    return (last_name(call.func) or "").endswith("Output")


def logits_position(frame: Frame, call: cst.Call, at: cst.CSTNode) -> int | None:
    """The position of the logits among the arguments of an output object; in those of transformers the loss is first.

    None where the call constructs no output object.
    """
    if not is_output(call):
        return None
    made = frame.meaning(call.func, at)
    if not isinstance(made, Class):
        return 1
    init = made.methods.get("__init__")
    names = [p.name.value for p in init.params.params[1:]] if init else [n for n, _ in assignments(made.node.body.body)]
    return names.index("logits") if "logits" in names else 1


def sets_other_key(one: Definition) -> bool:
    """Whether a statement sets another item of an output: `outputs["loss"] = x`."""
    if not isinstance(one.statement, cst.Assign):
        return False
    target = one.statement.targets[0].target
    item = target.slice[0].slice if isinstance(target, cst.Subscript) else None
    key = item.value if isinstance(item, cst.Index) else None
    return isinstance(key, cst.SimpleString) and key.evaluated_value != "logits"


def is_tuple_sum(node: cst.BaseExpression) -> bool:
    """Whether an expression is a tuple or a sum of tuples: `(logits,) + outputs[1:]`."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add):
        return is_tuple_sum(node.left) or is_tuple_sum(node.right)
    return isinstance(node, cst.Tuple)


def is_text(node: cst.BaseExpression, text: str) -> bool:
    """Whether a node is this string literal."""
    return isinstance(node, cst.SimpleString) and node.evaluated_value == text


def index_of(node: cst.Subscript) -> int | None:
    """The number in `outputs[0]`; None for any other subscript."""
    item = node.slice[0].slice if len(node.slice) == 1 else None
    value = item.value if isinstance(item, cst.Index) else None
    return int(value.evaluated_value) if isinstance(value, cst.Integer) else None


def mentions_loss(node: cst.BaseExpression) -> bool:
    """Whether an expression reads a name with `loss` in it."""
    return any(isinstance(item, cst.Name) and "loss" in item.value.lower() for item in walk(node))
