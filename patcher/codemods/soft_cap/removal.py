"""Takes the steps of a cap out of the code, each where it stands, and leaves one comment that says what stood there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast

import libcst as cst

from patcher.codemods.code import MARK, Code
from patcher.codemods.dataflow.flow import Op
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.reaching import Body
from patcher.codemods.nodes import comment_line, dotted, walk
from patcher.codemods.outcomes import SoftCap, Span
from patcher.codemods.rewrite import Replacement
from patcher.codemods.soft_cap.caps import Cap, Law

_WHY = "a sigmoid is never negative, so ReLU in SPLADE gave no zeros."
_MARKED = re.compile(
    rf"# {MARK} removed `(.+)` \((sigmoid|tanh), scale ([^ ,]+), temperature ([^ ,)]+)(?:, shift ([^ ,)]+))?\); "
)
# What a calibrated patch subtracts from every logit: a constant in front of the patched statement.
SHIFT = "SPLADE_LOGIT_SHIFT"
# Where an expression may stand without parentheses whatever it is, but for line breaks.
_ROOMY = (cst.Assign, cst.AnnAssign, cst.Return, cst.Arg, cst.Expr, cst.AugAssign, cst.Index)
_ATOMS = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.List, cst.Integer, cst.Float)
_Line = cst.SimpleStatementLine | cst.BaseCompoundStatement


class Removal:
    """The changes to one file: which node becomes what, and which lines that touches."""

    def __init__(self, code: Code, shift: float = 0.0) -> None:
        self.code = code
        self.shift = shift
        self.replacements: dict[cst.CSTNode, Replacement] = {}
        self.spans: list[Span] = []
        self._gone: dict[cst.CSTNode, list[cst.EmptyLine]] = {}  # lines that go, with the comment to leave there
        self._before: dict[cst.CSTNode, cst.BaseStatement] = {}  # what goes in front of a line
        self._blocks: dict[cst.CSTNode, None] = {}

    def take_out(self, ops: Iterable[Op], body: Body, comment: cst.EmptyLine | None, last: Op | None) -> None:
        """Plan the removal of steps that stand in one function; the comment goes where the step `last` stood."""
        ops = list(ops)
        nodes = {op.node: op for op in ops}
        shifted = last.node if last is not None and self.shift else None
        for op in ops:
            if op.node is shifted:
                self.replacements[op.node] = partial(_shifted, op, isinstance(body.parent(op.node), _ROOMY))
                self._name_shift(op, body)
            elif op.take is not None:
                self.replacements[op.node] = self._left_of(op, nodes, body)
        for statement in dict.fromkeys(body.statement(op.node) for op in ops):
            line = _line(statement, body)
            here = last is not None and body.statement(last.node) is statement
            note = [comment] if comment is not None and here else []
            if isinstance(line, cst.SimpleStatementLine):
                self.spans.append(self.code.span(line))
            else:  # the head of a compound statement
                inside = [self.code.span(op.node) for op in ops if body.statement(op.node) is statement]
                self.spans.append(Span(self.code.line(line), max(span.last for span in inside)))
            goes = isinstance(statement, cst.BaseSmallStatement) and _goes(statement, nodes)
            if goes and not (shifted is not None and body.statement(shifted) is statement):
                assert isinstance(statement, cst.BaseSmallStatement)
                self._remove(statement, line, note, body)
            elif note:
                self._note(line, note)

    def finish(self) -> None:
        """Settle the blocks of which lines go: what stood above them goes on to the next line."""
        for block in self._blocks:
            self.replacements[block] = partial(self._settled, block)

    def _left_of(self, op: Op, nodes: Mapping[cst.CSTNode, Op], body: Body) -> Replacement:
        take = op.take
        assert take is not None
        outermost = _holder(op.node, body) not in nodes
        roomy = isinstance(body.parent(op.node), _ROOMY)

        def left(updated: Any) -> Any:
            inner = take(updated)
            return _parenthesised(inner, roomy) if outermost else inner

        return left

    def _name_shift(self, op: Op, body: Body) -> None:
        """Put the constant into the block of the patched statement, where a reader sees it."""
        line: cst.CSTNode = op.node
        while not isinstance(body.parent(line), cst.IndentedBlock):
            line = body.parent(line)
        self._before[line] = cast(
            cst.BaseStatement, self.code.statement(f"{SHIFT} = {number(self.shift)}  # config.json has it as well\n")
        )
        self._blocks[body.parent(line)] = None

    def _remove(self, statement: cst.BaseSmallStatement, line: _Line, note: list[cst.EmptyLine], body: Body) -> None:
        holder = body.parent(statement)
        if isinstance(holder, cst.SimpleStatementLine) and len(holder.body) == 1:
            self._gone[holder] = note
            self._blocks[body.parent(holder)] = None
            return
        assert isinstance(holder, (cst.SimpleStatementLine, cst.SimpleStatementSuite))
        if len(holder.body) == 1:
            self.replacements[statement] = lambda _: cst.Pass()
        else:
            self.replacements[statement] = lambda _: cst.RemoveFromParent()
        self._note(line, note)

    def _note(self, line: _Line, note: list[cst.EmptyLine]) -> None:
        if note:
            self.replacements[line] = lambda node: node.with_changes(leading_lines=[*node.leading_lines, *note])

    def _settled(self, old: cst.CSTNode, updated: Any) -> Any:
        block = cast(cst.IndentedBlock, old)
        kept: list[Any] = []
        waiting: list[cst.EmptyLine] = []
        for before, after in zip(block.body, updated.body, strict=True):
            if before in self._gone:
                waiting += [*cast(_Line, before).leading_lines, *self._gone[before]]
                continue
            if waiting:
                after = after.with_changes(leading_lines=[*waiting, *after.leading_lines])
            if before in self._before:
                kept.append(cast(Any, self._before[before]).with_changes(leading_lines=after.leading_lines))
                after = after.with_changes(leading_lines=[])
            kept.append(after)
            waiting = []
        if kept:
            footer = [*waiting, *updated.footer] if waiting else updated.footer
            return updated.with_changes(body=kept, footer=footer)
        last = cast(cst.SimpleStatementLine, block.body[-1])
        empty = cst.SimpleStatementLine(
            [cst.Pass()], leading_lines=waiting, trailing_whitespace=last.trailing_whitespace
        )
        return updated.with_changes(body=[empty])


def _shifted(op: Op, roomy: bool, updated: Any) -> Any:
    """What stays of the outermost step where a shift takes its place."""
    shift = cst.Name(SHIFT)
    if isinstance(updated, cst.AugAssign):
        return updated.with_changes(operator=cst.SubtractAssign(), value=shift)
    assert op.take is not None
    inner = _parenthesised(op.take(updated), roomy=False)
    if op.in_place:
        return cst.Call(cst.Attribute(inner, cst.Name("sub_")), [cst.Arg(shift)])
    return _parenthesised(cst.BinaryOperation(inner, cst.Subtract(), shift), roomy)


def describe(cap: Cap, class_name: str, shift: float = 0.0) -> SoftCap:
    """The record of a cap; the place is that of its outermost step."""
    first = _outermost(cap)
    code, law = first.frame.code, cap.law
    where = first.frame.function.name.value
    return SoftCap(
        class_name, where, code.path, code.line(first.node), _text(cap), law.scale, law.temperature, law.kind, shift
    )


def remove(caps: Iterable[Cap], shift: float = 0.0) -> dict[str, Removal]:
    """Plan the removal of caps, by the path of the file. A step that two caps share goes once.

    With a `shift`, that constant is subtracted where the outermost step stood.
    """
    found: dict[str, Removal] = {}
    seen: set[int] = set()
    for cap in caps:
        law, last = cap.law, _outermost(cap)
        numbers = f"{law.kind}, scale {number(law.scale)}, temperature {number(law.temperature)}"
        numbers += f", shift {number(shift)}" if shift else ""
        text = f"{MARK} removed `{_text(cap)}` ({numbers}); {_WHY}"
        for body in dict.fromkeys(op.frame.body for op in cap.removed):
            ops = [op for op in cap.removed if op.frame.body is body and id(op.node) not in seen]
            seen |= {id(op.node) for op in ops}
            if ops:
                removal = found.setdefault(ops[0].frame.code.path, Removal(ops[0].frame.code, shift))
                here = last.frame.body is body
                note = comment_line(text, _newline(_line(body.statement(last.node), body))) if here else None
                removal.take_out(ops, body, note, last if here else None)
    for removal in found.values():
        removal.finish()
    return found


def marked(frames: Iterable[Frame], class_name: str) -> SoftCap | None:
    """The cap that an earlier run took out of one of these functions, read from the comment it left."""
    for frame in frames:
        for node in walk(frame.function):
            found = _MARKED.match(node.value) if isinstance(node, cst.Comment) else None
            if found:
                law = Law(found[2], float(found[3]), float(found[4]))
                line, where = frame.code.line(node), frame.function.name.value
                path, shift = frame.code.path, float(found[5] or 0)
                return SoftCap(class_name, where, path, line, found[1], law.scale, law.temperature, law.kind, shift)
    return None


def _outermost(cap: Cap) -> Op:
    return cap.removed[0]


def _text(cap: Cap) -> str:
    """The statements that a cap is made of, innermost first, which is the order in which they run."""
    texts = [
        op.frame.code.source(statement if isinstance(statement, cst.BaseSmallStatement) else op.node).rstrip("; ")
        for op in reversed(cap.removed)
        for statement in [op.frame.body.statement(op.node)]
    ]
    return "; ".join(dict.fromkeys(texts))


def number(value: float) -> str:
    """A number as Python code: whole ones without a point."""
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _line(node: cst.CSTNode, body: Body) -> _Line:
    """The whole line, or the compound statement in whose head or one-line body a node stands."""
    while not isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
        node = body.parent(node)
    return node


def _newline(line: _Line) -> cst.Newline | None:
    return line.trailing_whitespace.newline if isinstance(line, cst.SimpleStatementLine) else None


def _holder(node: cst.CSTNode, body: Body) -> cst.CSTNode:
    """The expression that a node is an operand, an argument or the receiver of."""
    parent = body.parent(node)
    if isinstance(parent, cst.Arg) or (isinstance(parent, cst.Attribute) and parent.value is node):
        holder = body.parent(parent)
        return holder if isinstance(parent, cst.Arg) or getattr(holder, "func", None) is parent else parent
    return parent


def _goes(statement: cst.BaseSmallStatement, nodes: Mapping[cst.CSTNode, Op]) -> bool:
    """Whether nothing but `x = x` or `x` would be left of a statement."""
    if statement in nodes:
        return True  # x *= 30
    if isinstance(statement, cst.Expr):
        return dotted(_residue(statement.value, nodes)) is not None
    if not isinstance(statement, cst.Assign) or len(statement.targets) != 1:
        return False
    left = dotted(_residue(statement.value, nodes))
    return left is not None and dotted(statement.targets[0].target) == left


def _residue(node: cst.CSTNode, nodes: Mapping[cst.CSTNode, Op]) -> cst.CSTNode:
    """What is left of an expression when the steps around it go."""
    while node in nodes:
        take = nodes[node].take
        assert take is not None
        node = take(node)
    return node


def _parenthesised(node: cst.BaseExpression, roomy: bool) -> cst.BaseExpression:
    """The expression in a place that another one left, in parentheses where it would be torn apart without."""
    if node.lpar or (isinstance(node, _ATOMS) and not _breaks(node)):
        return node
    if roomy and not isinstance(node, (cst.NamedExpr, cst.Yield, cst.GeneratorExp)) and not _breaks(node):
        return node
    return node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _breaks(node: cst.BaseExpression) -> bool:
    """Whether an expression spans lines outside of any brackets of its own."""
    if isinstance(node, (cst.Name, cst.Integer, cst.Float, cst.List)):
        return False
    if isinstance(node, (cst.Call, cst.Subscript)):
        return _breaks(node.func if isinstance(node, cst.Call) else node.value)
    return any(isinstance(item, cst.ParenthesizedWhitespace) for item in walk(node))
