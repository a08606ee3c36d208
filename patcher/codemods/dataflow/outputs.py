"""What a function returns, and where the logits are in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class, External
from patcher.codemods.dataflow.reaching import Body, Definition
from patcher.codemods.nodes import assignments, children, is_name, last_name, methods

# Packages whose classes of outputs give back what they get.
_KNOWN = {"transformers", "types", "builtins", "collections", "torch"}


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


def keeps_logits(frame: Frame, call: cst.Call, at: cst.CSTNode) -> bool:
    """Whether what a call constructs gives the logits back as it got them; so do the outputs of known packages."""
    made = frame.meaning(call.func, at)
    if isinstance(made, External):
        return made.name.partition(".")[0] in _KNOWN
    if not isinstance(made, Class):
        return not frame.code.full_names(call.func)  # undefined
    return all(_only_stores(one.node) for one in frame.package.lineage(made))


def _only_stores(node: cst.ClassDef) -> bool:
    """Whether a class has fields, and no method but an `__init__` that assigns its parameter `logits` or passes it."""
    own = methods(node)
    if set(own) - {"__init__"} or node.keywords:
        return False
    init = Body(own["__init__"]) if own else None
    return init is None or all(_is_passed(use, init) for use in init.names("logits"))


def _is_passed(use: cst.CSTNode, body: Body) -> bool:
    parent = body.parent(use)
    if isinstance(parent, cst.Element):
        return isinstance(body.parent(body.parent(parent)), cst.Assign)
    if isinstance(parent, cst.Arg) and use is parent.value:
        func = body.parent(parent).func  # type: ignore[attr-defined]
        return isinstance(func, cst.Attribute) and func.attr.value == "__init__"
    if isinstance(parent, cst.Attribute):
        return use is parent.attr
    return isinstance(parent, (cst.Assign, cst.Param)) or is_keyword(parent, use)


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
    return _key(one) not in {None, "logits"}


def _key(one: Definition) -> object:
    """The text in `outputs["loss"] = x`; None for any other statement."""
    if not isinstance(one.statement, cst.Assign):
        return None
    target = one.statement.targets[0].target
    item = target.slice[0].slice if isinstance(target, cst.Subscript) else None
    key = item.value if isinstance(item, cst.Index) else None
    return key.evaluated_value if isinstance(key, cst.SimpleString) else None


def lacks_logits(one: Definition, found: Sequence[Definition]) -> bool:
    """Whether a definition is a dictionary without logits, which another of them puts into it."""
    if not isinstance(one.value, cst.Dict) or one.partial:
        return False
    keys = [getattr(item, "key", None) for item in one.value.elements]
    is_known = all(isinstance(key, cst.SimpleString) and not is_text(key, "logits") for key in keys)
    return is_known and any(_key(each) == "logits" for each in found)


def starred(call: cst.Call) -> cst.BaseExpression | None:
    """The dictionary in `Output(**out)` and `dict(**out)`; None for any other call."""
    is_known = is_output(call) or is_name(call.func, "dict")
    found = [item.value for item in call.args if item.star == "**"]
    return found[0] if is_known and len(found) == 1 and not any(item.star == "*" for item in call.args) else None


def is_tuple_sum(node: cst.BaseExpression) -> bool:
    """Whether an expression is a tuple or a sum of tuples: `(logits,) + outputs[1:]`."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add):
        return is_tuple_sum(node.left) or is_tuple_sum(node.right)
    return isinstance(node, cst.Tuple)


def is_text(node: cst.BaseExpression, text: str) -> bool:
    """Whether a node is this string literal."""
    return isinstance(node, cst.SimpleString) and node.evaluated_value == text


def item_of(node: cst.Dict, key: str) -> cst.BaseExpression | None:
    """The value of a key of a dictionary literal; None where there is none, or another dictionary may replace it."""
    for element in reversed(node.elements):
        if not isinstance(element, cst.DictElement):
            return None
        if is_text(element.key, key):
            return element.value
    return None


def index_of(node: cst.Subscript) -> int | None:
    """The number in `outputs[0]`; None for any other subscript."""
    item = node.slice[0].slice if len(node.slice) == 1 else None
    value = item.value if isinstance(item, cst.Index) else None
    return int(value.evaluated_value) if isinstance(value, cst.Integer) else None


def mentions_loss(node: cst.CSTNode) -> bool:
    """Whether an expression is made of a name with `loss` in it; one that a condition tests does not count."""
    if isinstance(node, cst.Name):
        return "loss" in node.value.lower()
    if isinstance(node, cst.IfExp):
        return all(mentions_loss(arm) for arm in (node.body, node.orelse) if not is_name(arm, "None"))
    return any(mentions_loss(item) for item in children(node) if not is_keyword(node, item))


def is_keyword(node: cst.CSTNode, name: cst.CSTNode) -> bool:
    """Whether a name is the keyword of an argument."""
    return isinstance(node, cst.Arg) and node.keyword is name
