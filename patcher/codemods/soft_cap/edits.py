"""Turns the removal of steps into edits of one file: each step where it is, and one comment for all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.reaching import Body
from patcher.codemods.dataflow.steps import Step
from patcher.codemods.nodes import dotted, walk
from patcher.codemods.outcomes import Span
from patcher.codemods.rewrite import Replacement

# What a calibrated patch subtracts from every logit: a constant in front of the patched statement.
SHIFT = "SPLADE_LOGIT_SHIFT"
# Inside of these an expression needs no parentheses, unless it spans lines.
_PARENTHESES_OPTIONAL = (cst.Assign, cst.AnnAssign, cst.Return, cst.Arg, cst.Expr, cst.AugAssign, cst.Index)
_ATOMS = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.List, cst.Integer, cst.Float)
_Line = cst.SimpleStatementLine | cst.BaseCompoundStatement


class FileEdits:
    """The changes to one file: what replaces which node, and which lines are meant to change."""

    def __init__(self, code: Code, shift: float = 0.0, *, keep: bool = False) -> None:
        self.code = code
        self.shift = shift
        self.keep = keep  # the steps, behind whose ends the shift is subtracted
        self.replacements: dict[cst.CSTNode, Replacement] = {}
        self.spans: list[Span] = []
        self._removed_lines: dict[cst.CSTNode, list[cst.EmptyLine]] = {}  # with the comment that replaces each
        self._inserted_before: dict[cst.CSTNode, cst.BaseStatement] = {}
        self._blocks: dict[cst.CSTNode, None] = {}

    def add(
        self, steps: Sequence[Step], body: Body, comment: str, last: Step | None, ends: Collection[int] = ()
    ) -> None:
        """Plan the change of the steps of one function; the comment is put where the step `last` is.

        At `ends`, ids of nodes, the shift is subtracted.
        """
        nodes = {step.node: step for step in steps}
        for step in steps:
            if id(step.node) in ends:
                optional = isinstance(body.parent(step.node), _PARENTHESES_OPTIONAL)
                self.replacements[step.node] = partial(_shifted, step, optional=optional, keep=self.keep)
                self._define_shift(step, body)
            elif step.extract is not None:
                self.replacements[step.node] = self._remainder_of(step, nodes, body)
        for statement in dict.fromkeys(map(body.statement, nodes)):
            line = _line_of(statement, body)
            self.spans.append(self._span(line, [node for node in nodes if body.statement(node) is statement]))
            here = last is not None and body.statement(last.node) is statement
            note = [_comment_line(comment, line)] if here else []
            keeps_shift = any(id(node) in ends and body.statement(node) is statement for node in nodes)
            if isinstance(statement, cst.BaseSmallStatement) and not keeps_shift and _is_redundant(statement, nodes):
                self._remove(statement, line, note, body)
            else:
                self._note(line, note)

    def _span(self, line: _Line, nodes: Iterable[cst.CSTNode]) -> Span:
        """The lines that change: a whole line, or the head of a compound statement as far as the nodes reach."""
        if isinstance(line, cst.SimpleStatementLine):
            return self.code.span(line)
        return Span(self.code.line(line), max(self.code.span(node).last for node in nodes))

    def finish(self) -> None:
        """Rebuild the blocks that lose lines: comments above a removed line are kept above the next one."""
        for block in self._blocks:
            self.replacements[block] = partial(self._rebuild_block, block)

    def _remainder_of(self, step: Step, nodes: Mapping[cst.CSTNode, Step], body: Body) -> Replacement:
        extract = step.extract
        assert extract is not None
        if _enclosing_expr(step.node, body) in nodes:
            return extract
        optional = isinstance(body.parent(step.node), _PARENTHESES_OPTIONAL)
        return lambda updated: _parenthesized(extract(updated), parentheses_optional=optional)

    def _define_shift(self, step: Step, body: Body) -> None:
        """Assign the constant right before the patched statement, where a reader sees it."""
        line: cst.CSTNode = step.node
        while not isinstance(body.parent(line), cst.IndentedBlock):
            line = body.parent(line)
        self._inserted_before[line] = cast(
            cst.BaseStatement, self.code.statement(f"{SHIFT} = {number(self.shift)}  # also in config.json\n")
        )
        self._blocks[body.parent(line)] = None

    def _remove(self, statement: cst.BaseSmallStatement, line: _Line, note: list[cst.EmptyLine], body: Body) -> None:
        parent = body.parent(statement)
        if isinstance(parent, cst.SimpleStatementLine) and len(parent.body) == 1:
            self._removed_lines[parent] = note
            self._blocks[body.parent(parent)] = None
            return
        assert isinstance(parent, (cst.SimpleStatementLine, cst.SimpleStatementSuite))
        is_only = len(parent.body) == 1
        self.replacements[statement] = lambda _: cst.Pass() if is_only else cst.RemoveFromParent()
        self._note(line, note)

    def _note(self, line: _Line, note: list[cst.EmptyLine]) -> None:
        if note:
            self.replacements[line] = lambda node: node.with_changes(leading_lines=[*node.leading_lines, *note])

    def _rebuild_block(self, old: cst.CSTNode, updated: Any) -> Any:
        block = cast(cst.IndentedBlock, old)
        kept: list[Any] = []
        pending: list[cst.EmptyLine] = []
        for before, after in zip(block.body, updated.body, strict=True):
            if before in self._removed_lines:
                pending += [*cast(_Line, before).leading_lines, *self._removed_lines[before]]
                continue
            if pending:
                after = after.with_changes(leading_lines=[*pending, *after.leading_lines])
            if before in self._inserted_before:
                kept.append(cast(Any, self._inserted_before[before]).with_changes(leading_lines=after.leading_lines))
                after = after.with_changes(leading_lines=[])
            kept.append(after)
            pending = []
        if kept:
            return updated.with_changes(body=kept, footer=[*pending, *updated.footer])
        last = cast(cst.SimpleStatementLine, block.body[-1])
        empty = cst.SimpleStatementLine(
            [cst.Pass()], leading_lines=pending, trailing_whitespace=last.trailing_whitespace
        )
        return updated.with_changes(body=[empty])


def _shifted(step: Step, updated: Any, *, optional: bool, keep: bool) -> Any:
    """The outermost step with the subtraction of the shift in its place, or behind it."""
    shift = cst.Name(SHIFT)
    if isinstance(updated, cst.AugAssign):
        subtraction = updated.with_changes(operator=cst.SubtractAssign(), value=shift)
        return cst.FlattenSentinel([updated, subtraction]) if keep else subtraction
    inner = updated
    if not keep:
        assert step.extract is not None
        inner = step.extract(updated)
    inner = _parenthesized(inner, parentheses_optional=False)
    if step.in_place:
        return cst.Call(cst.Attribute(inner, cst.Name("sub_")), [cst.Arg(shift)])
    return _parenthesized(cst.BinaryOperation(inner, cst.Subtract(), shift), parentheses_optional=optional)


def number(value: float) -> str:
    """A number as Python code, without a point where it is whole."""
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _line_of(node: cst.CSTNode, body: Body) -> _Line:
    """The line of a node, or the compound statement in whose head or one-line body it is."""
    while not isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
        node = body.parent(node)
    return node


def _comment_line(text: str, line: _Line) -> cst.EmptyLine:
    """A comment on its own line, with the line end of the statement beside it."""
    newline = line.trailing_whitespace.newline if isinstance(line, cst.SimpleStatementLine) else cst.Newline()
    return cst.EmptyLine(indent=True, comment=cst.Comment(f"# {text}"), newline=newline)


def _enclosing_expr(node: cst.CSTNode, body: Body) -> cst.CSTNode:
    """The expression that a node is an operand, an argument or the receiver of."""
    parent = body.parent(node)
    if isinstance(parent, cst.Arg) or (isinstance(parent, cst.Attribute) and parent.value is node):
        outer = body.parent(parent)
        return outer if isinstance(parent, cst.Arg) or getattr(outer, "func", None) is parent else parent
    return parent


def _is_redundant(statement: cst.BaseSmallStatement, nodes: Mapping[cst.CSTNode, Step]) -> bool:
    """Whether only `x = x` or `x` would remain of a statement."""
    if statement in nodes:
        return True  # x *= 30
    if isinstance(statement, cst.Expr):
        return dotted(_remainder(statement.value, nodes)) is not None
    if not isinstance(statement, cst.Assign) or len(statement.targets) != 1:
        return False
    left = dotted(_remainder(statement.value, nodes))
    return left is not None and dotted(statement.targets[0].target) == left


def _remainder(node: cst.CSTNode, nodes: Mapping[cst.CSTNode, Step]) -> cst.CSTNode:
    """What remains of an expression without the steps around it."""
    while node in nodes:
        extract = nodes[node].extract
        assert extract is not None
        node = extract(node)
    return node


def _parenthesized(node: cst.BaseExpression, *, parentheses_optional: bool) -> cst.BaseExpression:
    """An expression that replaces another one, in parentheses where its meaning needs them."""
    if node.lpar or (isinstance(node, _ATOMS) and not _spans_lines(node)):
        return node
    always = (cst.NamedExpr, cst.Yield, cst.GeneratorExp)
    if parentheses_optional and not isinstance(node, always) and not _spans_lines(node):
        return node
    return node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _spans_lines(node: cst.BaseExpression) -> bool:
    """Whether an expression spans lines outside of its own brackets."""
    if isinstance(node, (cst.Name, cst.Integer, cst.Float, cst.List)):
        return False
    if isinstance(node, (cst.Call, cst.Subscript)):
        return _spans_lines(node.func if isinstance(node, cst.Call) else node.value)
    return any(isinstance(item, cst.ParenthesizedWhitespace) for item in walk(node))
