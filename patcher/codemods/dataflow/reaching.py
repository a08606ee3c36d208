"""Reaching definitions inside one function: which assignments may have given a name its value at a statement.

The textbook analysis (Aho, Lam, Sethi and Ullman, Compilers, 9.2.4), backwards from the use and only as far as a use
needs it: branches are united, a loop's body may come before itself, `try` bodies may stop anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import libcst as cst

from patcher.codemods.nodes import children, dotted, walk

_IN_PLACE = {"sigmoid_", "tanh_", "mul_", "multiply_", "div_", "divide_", "true_divide_", "add_", "sub_", "neg_"}


@dataclass(frozen=True, eq=False)
class Definition:
    """A statement that may give a name its value. `value` is None where what it gives can't be read from one."""

    name: str
    statement: cst.CSTNode
    value: cst.BaseExpression | None
    augmented: cst.AugAssign | None = None
    partial: bool = False  # what the name stood for before stays, with this in it


class Body:
    """A function, indexed: parents of its nodes, and the definitions that reach a use."""

    def __init__(self, function: cst.FunctionDef) -> None:
        self.function = function

    @cached_property
    def _parents(self) -> dict[cst.CSTNode, cst.CSTNode]:
        return {child: node for node in walk(self.function) for child in children(node)}

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        return self._parents[node]

    def statement(self, node: cst.CSTNode) -> cst.CSTNode:
        """The smallest statement around a node of the function."""
        while not isinstance(node, (cst.BaseSmallStatement, cst.BaseCompoundStatement)):
            node = self._parents[node]
        return node

    def uses(self, name: str) -> Iterator[cst.Name]:
        """The places that read a name (or that can't be told from reading it)."""
        for node in walk(self.function.body):
            if not isinstance(node, cst.Name) or node.value != name:
                continue
            parent = self._parents[node]
            if isinstance(parent, (cst.AssignTarget, cst.AnnAssign)) and parent.target is node:
                continue
            if isinstance(parent, cst.Arg) and parent.keyword is node:
                continue
            if isinstance(parent, cst.Attribute) and parent.attr is node:
                continue
            yield node

    def later_uses(self, name: str, statement: cst.CSTNode) -> Iterator[cst.Name]:
        """The uses of a name behind a statement, in the order of the file."""
        order = {id(node): index for index, node in enumerate(walk(self.function.body))}
        inside = {id(node) for node in walk(statement)}
        for use in self.uses(name):
            if order[id(use)] > order[id(statement)] and id(use) not in inside:
                yield use

    def reaching(self, name: str, at: cst.CSTNode) -> tuple[list[Definition], bool]:
        """The definitions of a name that reach statement `at`, and whether none of them may have been met on a way."""
        found: list[Definition] = []
        node = at
        while node is not self.function:
            holder = self._parents[node]
            if isinstance(holder, (cst.SimpleStatementLine, cst.SimpleStatementSuite, cst.IndentedBlock)):
                before = holder.body[: next(i for i, item in enumerate(holder.body) if item is node)]
                more, settled = _backwards(before, name)
                found += more
                if settled:
                    return _once(found), False
            elif isinstance(holder, (cst.For, cst.While)):
                head = _of_head(holder, name)
                if isinstance(holder, cst.For) and head and node is holder.body:
                    return _once([*found, *head]), False  # each turn sets it anew
                found += _backwards([holder.body], name)[0]  # an earlier turn of the loop
                found += head
            elif isinstance(holder, (cst.With, cst.If)):
                found += _of_head(holder, name)
            elif isinstance(holder, cst.Try) and node is not holder.body:
                found += _backwards([holder.body], name)[0]
            node = holder
        return _once(found), True


def _backwards(nodes: Sequence[cst.CSTNode], name: str) -> tuple[list[Definition], bool]:
    """What a run of statements leaves in a name at its end, and whether it surely sets it (or never gets there)."""
    found: list[Definition] = []
    for node in reversed(nodes):
        more, settled = _leaves(node, name)
        found += more
        if settled:
            return found, True
    return found, False


def _leaves(node: cst.CSTNode, name: str) -> tuple[list[Definition], bool]:
    if isinstance(node, (cst.IndentedBlock, cst.SimpleStatementLine, cst.SimpleStatementSuite)):
        return _backwards(node.body, name)
    if isinstance(node, (cst.Return, cst.Raise, cst.Continue, cst.Break)):
        return [], True
    if isinstance(node, cst.BaseSmallStatement):
        found = list(_definitions(node, name))
        return found[::-1], any(not one.partial for one in found)
    if isinstance(node, cst.If):
        body, settled = _leaves(node.body, name)
        other, also = _leaves(node.orelse, name) if node.orelse is not None else ([], False)
        return [*other, *body, *_of_head(node, name)], settled and also
    if isinstance(node, cst.Else):
        return _leaves(node.body, name)
    if isinstance(node, cst.With):
        body, settled = _leaves(node.body, name)
        return [*body, *_of_head(node, name)], settled
    found = []
    if isinstance(node, (cst.For, cst.While, cst.Try, cst.TryStar, cst.Match)):
        for child in walk(node):
            if isinstance(child, cst.BaseSmallStatement):
                found += _definitions(child, name)
        found += _of_head(node, name)
    elif isinstance(node, (cst.FunctionDef, cst.ClassDef)) and node.name.value == name:
        return [Definition(name, node, None)], True
    return found, False


def _definitions(node: cst.BaseSmallStatement, name: str) -> Iterator[Definition]:
    if isinstance(node, cst.Assign):
        for target in node.targets:
            if dotted(target.target) == name:
                yield Definition(name, node, node.value)
            elif isinstance(target.target, cst.Subscript):
                if dotted(target.target.value) == name:
                    yield Definition(name, node, node.value, partial=True)
            elif isinstance(target.target, (cst.Tuple, cst.List)) and _mentions(target.target, name):
                yield Definition(name, node, _unpacked(target.target, node.value, name))
    elif isinstance(node, cst.AnnAssign) and node.value is not None and dotted(node.target) == name:
        yield Definition(name, node, node.value)
    elif isinstance(node, cst.AugAssign) and dotted(node.target) == name:
        yield Definition(name, node, None, node)
    elif isinstance(node, cst.Expr) and mutated(node.value) == name:
        yield Definition(name, node, node.value)
    elif isinstance(node, cst.Expr) and _grown(node.value) == name:
        yield Definition(name, node, node.value.args[-1].value, partial=True)  # type: ignore[attr-defined]
    elif isinstance(node, (cst.Import, cst.ImportFrom, cst.Del)) and _mentions(node, name):
        yield Definition(name, node, None)
    yield from _walrus(node, node, name)


def _walrus(node: cst.CSTNode, statement: cst.CSTNode, name: str) -> Iterator[Definition]:
    for item in walk(node):
        if isinstance(item, cst.NamedExpr) and isinstance(item.target, cst.Name) and item.target.value == name:
            yield Definition(name, statement, item.value)


def _of_head(node: cst.CSTNode, name: str) -> list[Definition]:
    """What the head of a compound statement sets: loop variables, `as` names, assignment expressions."""
    if isinstance(node, (cst.If, cst.While)):
        return list(_walrus(node.test, node, name))
    if isinstance(node, cst.For):
        return [Definition(name, node, None)] if _mentions(node.target, name) else []
    if isinstance(node, cst.With):
        return [Definition(name, node, None) for item in node.items if item.asname and _mentions(item.asname, name)]
    return []


def mutated(node: cst.BaseExpression) -> str | None:
    """The name of a tensor changed in place: `x` of `x.div_(7.5).sigmoid_().mul_(30)` and of `torch.sigmoid_(x)`."""
    changed = False
    while isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        method = node.func.attr.value
        if method not in _IN_PLACE:
            return None
        changed = True
        outside = dotted(node.func.value) in {"torch", "F", "torch.nn.functional", "nn.functional"}
        node = node.args[0].value if outside and node.args else node.func.value
    return dotted(node) if changed else None


def written_into(node: cst.BaseSmallStatement) -> str | None:
    """The name of a tensor that a statement changes in place, in whole or in part."""
    if isinstance(node, cst.Expr):
        return mutated(node.value) or _touched(node.value)
    if isinstance(node, cst.AugAssign):
        target = node.target
        return dotted(target.value if isinstance(target, cst.Subscript) else target)
    if isinstance(node, cst.Assign) and isinstance(node.targets[0].target, cst.Subscript):
        return dotted(node.targets[0].target.value)
    return None


def _touched(node: cst.BaseExpression) -> str | None:
    """`x` of `x.zero_()` and of `x[0].fill_(1)`, whatever the method does."""
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute):
        return None
    name, receiver = node.func.attr.value, node.func.value
    if not name.endswith("_") or name.endswith("__"):
        return None
    return dotted(receiver.value if isinstance(receiver, cst.Subscript) else receiver)


def _grown(node: cst.BaseExpression) -> str | None:
    """The name of a list that gets one more item: `chunks` of `chunks.append(x)`."""
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and len(node.args) == 1:
        return dotted(node.func.value) if node.func.attr.value in {"append", "extend"} else None
    return None


def _mentions(node: cst.CSTNode, name: str) -> bool:
    return any(isinstance(item, cst.Name) and item.value == name for item in walk(node))


def _unpacked(target: cst.BaseExpression, value: cst.BaseExpression, name: str) -> cst.BaseExpression | None:
    """The value of one name in `a, b = x, y`."""
    if isinstance(target, (cst.Tuple, cst.List)) and isinstance(value, (cst.Tuple, cst.List)):
        for one, other in zip(target.elements, value.elements, strict=False):
            if dotted(one.value) == name and not isinstance(other, (cst.StarredElement, cst.StarredDictElement)):
                return other.value
    return None


def _once(found: list[Definition]) -> list[Definition]:
    seen: set[tuple[int, int]] = set()
    kept = []
    for item in found:
        key = (id(item.statement), id(item.value))
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept
