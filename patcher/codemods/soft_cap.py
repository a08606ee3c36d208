"""Removes the sigmoid soft cap `scale * sigmoid(x / temperature)` from the masked-LM head.

Every capped logit is positive, so the ReLU in SPLADE's log(1 + ReLU(x)) never gives a zero (Formal et al. 2021,
https://arxiv.org/abs/2109.10086). The cap is found by its meaning: a positive number times a sigmoid of something
that may be divided by a positive number, in either order, through `torch.sigmoid`, `F.sigmoid` or the method. Exactly
one may be in the class. A statement that would read `x = x` goes and leaves a comment; otherwise the expression goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import libcst as cst
import libcst.matchers as m

from patcher.codemods.base import (
    MARK,
    Applied,
    Code,
    NotNeeded,
    Outcome,
    Refused,
    Replacement,
    SoftCap,
    Span,
    comment_line,
    last_name,
    methods,
    rewrite,
    walk,
)

_SIGMOIDS = {"sigmoid", "sigmoid_", "Sigmoid", "expit", "logsigmoid", "LogSigmoid"}
_WHY = "a sigmoid is never negative, so ReLU in SPLADE gave no zeros."
_MARKED = re.compile(rf"# {MARK} removed `(.+)`; ")
_ATOMS = (cst.Name, cst.Attribute, cst.Call, cst.Subscript)


@dataclass(frozen=True)
class _Cap:
    node: cst.BinaryOperation
    inner: cst.BaseExpression
    scale: float
    temperature: float


def soft_cap(code: Code) -> Outcome:
    """Remove the cap from each of `code.capped_classes`; the first of them is the masked-LM class."""
    replacements: dict[cst.CSTNode, Replacement] = {}
    spans: list[Span] = []
    caps: list[SoftCap] = []
    done: list[NotNeeded] = []
    for name in code.capped_classes:
        found = _only_cap(code, code.classes()[name])
        if isinstance(found, Refused):
            return found
        if isinstance(found, NotNeeded):
            done.append(found)
            continue
        function, cap = found
        caps.append(_describe(code, name, function, cap))
        spans.append(_remove(code, cap, replacements))
    if not caps:
        return done[0] if done else NotNeeded("no class of this file has a masked-LM head")
    return Applied(rewrite(code, replacements), tuple(spans), caps[0])


def _only_cap(code: Code, node: cst.ClassDef) -> tuple[str, _Cap] | NotNeeded | Refused:
    """The one cap of a class and the method it stands in, or why there isn't one."""
    name = node.name.value
    caps: list[tuple[str, _Cap]] = []
    others: list[cst.CSTNode] = []
    for function, body in methods(node).items():
        for call in _sigmoids(body):
            cap = _as_cap(code, call)
            caps.append((function, cap)) if cap else others.append(call)
    listed = _listing(code, [*(cap.node for _, cap in caps), *others])
    if len(caps) == 1 and not others:
        return caps[0]
    if len(caps) > 1:
        return Refused(f"{name} has {len(caps)} soft caps where exactly one was expected: {listed}")
    if others:
        return Refused(f"{name} uses a sigmoid that is not understood as scale * sigmoid(x / temperature): {listed}")
    marked = _marked(code, node)
    if marked:
        return NotNeeded(f"{name} is already patched: `{marked.expression}` was removed before", marked)
    elsewhere: list[cst.CSTNode] = list(_sigmoids(code.module))
    hint = f"; the file has a sigmoid elsewhere: {_listing(code, elsewhere)}" if elsewhere else ""
    return Refused(f"{name} has no soft cap{hint}")


def _is_sigmoid(call: cst.Call) -> bool:
    function = call.func
    if isinstance(function, cst.Call):  # nn.Sigmoid()(x)
        function = function.func
    return last_name(function) in _SIGMOIDS


def _as_cap(code: Code, call: cst.Call) -> _Cap | None:
    product = code.parent(call)
    if not isinstance(product, cst.BinaryOperation) or not isinstance(product.operator, cst.Multiply):
        return None
    if _line(code, product) is None or isinstance(code.parent(product), (cst.BinaryOperation, cst.UnaryOperation)):
        return None  # in `30 * sigmoid(x) - 15` more than the cap would have to go
    factor = product.left if product.right is call else product.right
    scale, operand = _number(code, factor), _operand(call)
    if scale is None or operand is None:
        return None
    inner, temperature = operand, 1.0
    if isinstance(operand, cst.BinaryOperation):
        left, right = _number(code, operand.left), _number(code, operand.right)
        if isinstance(operand.operator, cst.Divide) and right:
            inner, temperature = operand.left, right
        elif isinstance(operand.operator, cst.Multiply) and (left or right):
            inner, temperature = (operand.left, 1 / right) if right else (operand.right, 1 / cast(float, left))
    return _Cap(product, inner, scale, temperature)


def _operand(call: cst.Call) -> cst.BaseExpression | None:
    """x of `torch.sigmoid(x)`, `sigmoid(input=x)` and `x.sigmoid()`; None where it can't be told."""
    if not (m.matches(call.func, m.Name("sigmoid") | m.Attribute(attr=m.Name("sigmoid")))):
        return None
    if len(call.args) == 1 and not call.args[0].star:
        keyword = call.args[0].keyword
        return call.args[0].value if keyword is None or keyword.value == "input" else None
    if not call.args and isinstance(call.func, cst.Attribute):
        return call.func.value
    return None


def _number(code: Code, node: cst.BaseExpression) -> float | None:
    """A positive number, written out or named by a constant of the module."""
    if isinstance(node, cst.Name):
        constant = _constants(code).get(node.value)
        return _number(code, constant) if isinstance(constant, (cst.Integer, cst.Float)) else None
    if isinstance(node, (cst.Integer, cst.Float)):
        value = float(node.evaluated_value)
        return value if value > 0 else None
    return None


def _constants(code: Code) -> dict[str, cst.BaseExpression]:
    """Names that the module binds once, at its top level, and that nothing below hides."""
    lines = [line for line in code.module.body if isinstance(line, cst.SimpleStatementLine)]
    pattern = m.Assign(targets=[m.AssignTarget(target=m.Name())])
    assigned = [cast(cst.Assign, item) for line in lines for item in line.body if m.matches(item, pattern)]
    bound = [node.target for node in code.nodes(cst.AssignTarget)] + [node.name for node in code.nodes(cst.Param)]
    names = [last_name(node) for node in bound]
    found = {str(last_name(item.targets[0].target)): item.value for item in assigned}
    return {name: value for name, value in found.items() if names.count(name) == 1}


def _remove(code: Code, cap: _Cap, replacements: dict[cst.CSTNode, Replacement]) -> Span:
    """Plan the removal of one cap and say which lines it touches."""
    line = cast(cst.SimpleStatementLine, _line(code, cap.node))
    span = code.span(line)
    comment = comment_line(
        f"{MARK} removed `{code.source(_statement(code, cap))}`; {_WHY}", line.trailing_whitespace.newline
    )
    if _is_identity(code, cap, line):
        _remove_line(code, line, comment, replacements)
        return span  # the comment takes the place of the line
    inner = cap.inner
    if (
        not isinstance(inner, _ATOMS)
        and not inner.lpar
        and not isinstance(code.parent(cap.node), (cst.Assign, cst.AnnAssign, cst.Return, cst.Arg))
    ):
        inner = inner.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    replacements[cap.node] = lambda _: inner
    replacements[line] = lambda node: node.with_changes(leading_lines=[*node.leading_lines, comment])
    return span


def _line(code: Code, node: cst.CSTNode) -> cst.SimpleStatementLine | None:
    """The line of statements around a node; None in the head of a compound statement or behind its colon."""
    while not isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
        node = code.parent(node)
    return node if isinstance(node, cst.SimpleStatementLine) else None


def _statement(code: Code, cap: _Cap) -> cst.CSTNode:
    """The smallest statement around the cap."""
    node: cst.CSTNode = cap.node
    while not isinstance(node, cst.BaseSmallStatement):
        node = code.parent(node)
    return node


def _is_identity(code: Code, cap: _Cap, line: cst.SimpleStatementLine) -> bool:
    """Whether nothing but `x = x` would be left of the line."""
    statement = line.body[0]
    if len(line.body) != 1 or not isinstance(statement, cst.Assign) or statement.value is not cap.node:
        return False
    return len(statement.targets) == 1 and statement.targets[0].target.deep_equals(cap.inner)


def _remove_line(
    code: Code,
    line: cst.SimpleStatementLine,
    comment: cst.EmptyLine,
    replacements: dict[cst.CSTNode, Replacement],
) -> None:
    """Take the line out; the comment goes in front of what follows, at the same indentation."""
    block = cast(cst.IndentedBlock, code.parent(line))
    kept = [*line.leading_lines, comment]
    index = next(i for i, item in enumerate(block.body) if item is line)
    if len(block.body) == 1:
        empty = cst.SimpleStatementLine([cst.Pass()], leading_lines=kept, trailing_whitespace=line.trailing_whitespace)
        replacements[line] = lambda _: empty
    elif index + 1 < len(block.body):
        replacements[line] = lambda _: cst.RemoveFromParent()
        replacements[block.body[index + 1]] = lambda node: node.with_changes(leading_lines=[*kept, *node.leading_lines])
    else:
        replacements[line] = lambda _: cst.RemoveFromParent()
        replacements[block] = lambda node: node.with_changes(footer=[*kept, *node.footer])


def _describe(code: Code, class_name: str, function: str, cap: _Cap) -> SoftCap:
    expression = code.source(_statement(code, cap))
    return SoftCap(class_name, function, code.path, code.line(cap.node), expression, cap.scale, cap.temperature)


def _marked(code: Code, node: cst.ClassDef) -> SoftCap | None:
    """The cap that an earlier run removed, read from the comment it left."""
    for function, body in methods(node).items():
        for comment in walk(body):
            found = _MARKED.match(comment.value) if isinstance(comment, cst.Comment) else None
            if found:
                return _remembered(code, node.name.value, function, found[1], code.line(comment))
    return None


def _remembered(code: Code, class_name: str, function: str, statement: str, line: int) -> SoftCap | None:
    constants = "".join(f"{name} = {code.source(value)}\n" for name, value in _constants(code).items())
    old = Code(code.path, f"{constants}{statement}\n".encode(), {})
    for call in _sigmoids(old.module):
        cap = _as_cap(old, call)
        if cap:
            return SoftCap(class_name, function, code.path, line, statement, cap.scale, cap.temperature)
    return None


def _sigmoids(node: cst.CSTNode) -> Iterator[cst.Call]:
    return (call for call in walk(node) if isinstance(call, cst.Call) and _is_sigmoid(call))


def _listing(code: Code, nodes: list[cst.CSTNode]) -> str:
    if not nodes:
        return "none"
    lines = sorted((code.line(node), code.source(_around(code, node))) for node in nodes)
    return "; ".join(f"line {number}: {text}" for number, text in dict.fromkeys(lines))


def _around(code: Code, node: cst.CSTNode) -> cst.CSTNode:
    """The small statement a node stands in, which is what a reader recognises."""
    at = node
    while not isinstance(at, (cst.BaseSmallStatement, cst.BaseCompoundStatement, cst.Module)):
        at = code.parent(at)
    return at if isinstance(at, cst.BaseSmallStatement) else node
