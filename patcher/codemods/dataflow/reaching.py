"""Reaching definitions inside one function: which assignments may have given a name its value at a statement.

The textbook analysis (Aho, Lam, Sethi and Ullman, Compilers, 9.2.4), run on demand and backwards from one use. Branches
are merged, the body of a loop may run before itself, and a `try` body may stop after any statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import libcst as cst

from patcher.codemods.nodes import children, dotted, is_name, mentions, walk
from patcher.codemods.work import Work

# The fields whose name is no use of a variable.
_NO_USE = {cst.AssignTarget: "target", cst.AnnAssign: "target", cst.Arg: "keyword", cst.Attribute: "attr"}
_TARGETS = {
    **dict.fromkeys((cst.AssignTarget, cst.AnnAssign, cst.AugAssign, cst.For, cst.NamedExpr, cst.CompFor), "target"),
    **dict.fromkeys((cst.FunctionDef, cst.ClassDef, cst.AsName, cst.MatchAs, cst.MatchStar), "name"),
    cst.Param: "name",
}
_IN_PLACE = {"sigmoid_", "tanh_", "mul_", "multiply_", "div_", "divide_", "true_divide_", "add_", "sub_", "neg_"}


@dataclass(frozen=True, eq=False)
class Definition:
    """A statement that may give a name its value; `value` is None where no single expression is that value."""

    name: str
    statement: cst.CSTNode
    value: cst.BaseExpression | None
    augmented: cst.AugAssign | None = None
    partial: bool = False  # the earlier object stays, with this value in it
    iterated: bool = False  # the name gets one item of the value after another
    unpacked: tuple[cst.BaseExpression, int] | None = None  # the name gets the item at this index of an expression


class Body:
    """One function: the parents of its nodes, and the definitions that reach a use; `work` counts what that takes."""

    def __init__(self, function: cst.FunctionDef, work: Work | None = None) -> None:
        self.function = function
        self.work = work or Work()
        self._reaching: dict[tuple[str, cst.CSTNode], tuple[list[Definition], bool]] = {}
        self._ends: dict[tuple[cst.CSTNode, str], tuple[list[Definition], bool]] = {}
        self._summaries: dict[cst.CSTNode, tuple[frozenset[str], bool]] = {}
        self._inside: dict[cst.CSTNode, dict[str, list[cst.BaseSmallStatement]]] = {}

    @cached_property
    def _parents(self) -> dict[cst.CSTNode, cst.CSTNode]:
        return {child: node for node in walk(self.function) for child in children(node)}

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """The node right above a node of the function."""
        return self._parents[node]

    def around(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes of the function around a node, from the inside outwards."""
        while node is not self.function:
            node = self._parents[node]
            yield node

    def statement(self, node: cst.CSTNode) -> cst.CSTNode:
        """The smallest statement around a node of the function."""
        while not isinstance(node, (cst.BaseSmallStatement, cst.BaseCompoundStatement)):
            node = self._parents[node]
        return node

    def comprehension(self, node: cst.Name) -> cst.CompFor | None:
        """The `for` of a comprehension that binds a name where it is read."""
        inner: cst.CSTNode = node
        while not isinstance(inner, cst.BaseSmallStatement) and inner in self._parents:
            outer = self._parents[inner]
            loop = outer.for_in if isinstance(outer, (cst.BaseSimpleComp, cst.DictComp)) else None
            while loop is not None and inner is not loop:
                if mentions(loop.target, node.value):
                    return loop
                loop = loop.inner_for_in
            inner = outer
        return None

    def uses(self, name: str) -> Sequence[cst.Name]:
        """The uses of a name: all but those that only assign to it, or are a keyword or an attribute."""
        return self._uses.get(name, ())

    @cached_property
    def _uses(self) -> dict[str, list[cst.Name]]:
        found: dict[str, list[cst.Name]] = {}
        for node in walk(self.function.body):
            if isinstance(node, cst.Name):
                parent = self._parents[node]
                field = _NO_USE.get(type(parent))
                if field is None or getattr(parent, field) is not node:
                    found.setdefault(node.value, []).append(node)
        return found

    def names(self, name: str) -> Iterator[cst.Name]:
        """Every place where a name stands in the function, its parameters included."""
        return (node for node in walk(self.function) if is_name(node, name))  # type: ignore[misc]

    def later_uses(self, name: str, statement: cst.CSTNode) -> Iterator[cst.Name]:
        """The uses of a name after a statement, in the order of the file."""
        last = max(self._order[node] for node in walk(statement))
        for use in self.uses(name):
            self.work.spend(1, self.function)
            if self._order[use] > last:
                yield use

    @cached_property
    def _order(self) -> dict[cst.CSTNode, int]:
        return {node: index for index, node in enumerate(walk(self.function.body))}

    def reaching_definitions(self, name: str, at: cst.CSTNode) -> tuple[list[Definition], bool]:
        """The definitions of a name that reach statement `at`, and whether every path to it passes one of them."""
        self.work.spend(1, self.function)
        if name.partition(".")[0] not in self._bound:
            return [], False
        if (name, at) not in self._reaching:
            self._reaching[name, at] = self._reach(name, at)
        return self._reaching[name, at]

    @cached_property
    def binds(self) -> frozenset[str]:
        """The names that something in the function may give a value of its own."""
        found: set[str] = set()
        for node in walk(self.function.body):
            field = _TARGETS.get(type(node))
            if field is not None and (target := getattr(node, field)) is not None:
                found |= {one.value for one in walk(target) if isinstance(one, cst.Name)}
            elif isinstance(node, (cst.Import, cst.ImportFrom)):
                found |= {one.value for one in walk(node) if isinstance(one, cst.Name)}
        return frozenset(found)

    @cached_property
    def _bound(self) -> frozenset[str]:
        """All names in the function outside of its expressions' ends: no other one can have a definition."""
        return frozenset(node.value for node in walk(self.function.body) if isinstance(node, cst.Name))

    def _reach(self, name: str, at: cst.CSTNode) -> tuple[list[Definition], bool]:
        found: list[Definition] = []
        node = at
        while node is not self.function:
            parent = self._parents[node]
            if isinstance(parent, (cst.SimpleStatementLine, cst.SimpleStatementSuite, cst.IndentedBlock)):
                more, is_definite = self._before(parent, node, name)
                found += more
                if is_definite:
                    return _unique(found), True
            elif isinstance(parent, (cst.For, cst.While)):
                header = _in_header(parent, name)
                if isinstance(parent, cst.For) and header and node is parent.body:
                    return _unique([*found, *header]), True  # every iteration assigns it
                found += self._after(parent.body, name)[0]  # an earlier iteration
                found += header
            elif isinstance(parent, (cst.With, cst.If, cst.Match)):
                found += _in_header(parent, name)
            elif isinstance(parent, cst.Try) and node is not parent.body:
                found += self._after(parent.body, name)[0]
            node = parent
        return _unique(found), False

    def _before(self, block: cst.CSTNode, node: cst.CSTNode, name: str) -> tuple[list[Definition], bool]:
        """The definitions of a name in a block that reach one of its statements."""
        statements = block.body  # type: ignore[attr-defined]
        return self._at_end(statements[: next(i for i, item in enumerate(statements) if item is node)], name)

    def _at_end(self, statements: Iterable[cst.CSTNode], name: str) -> tuple[list[Definition], bool]:
        """The definitions that reach the end of some statements, and whether every path to it passes one of them.

        A path that leaves the statements early does not count.
        """
        found: list[Definition] = []
        for node in reversed(list(statements)):
            more, is_definite = self._after(node, name)
            self.work.spend(1 + len(more), self.function)
            found += more
            if is_definite:
                return found, True
        return found, False

    def _after(self, node: cst.CSTNode, name: str) -> tuple[list[Definition], bool]:
        """The same for one statement or block."""
        names, leaves = self._summary(node)
        if not leaves and name.partition(".")[0] not in names:
            return [], False
        if (node, name) not in self._ends:
            found, is_definite = self._at_end_of(node, name)
            self._ends[node, name] = _unique(found), is_definite
        return self._ends[node, name]

    def _summary(self, node: cst.CSTNode) -> tuple[frozenset[str], bool]:
        """The names in a statement or block, and whether something in it may leave it early."""
        if node not in self._summaries:
            parts = list(walk(node))
            names = frozenset(one.value for one in parts if isinstance(one, cst.Name))
            leaves = any(isinstance(one, (cst.Return, cst.Raise, cst.Continue, cst.Break)) for one in parts)
            self._summaries[node] = names, leaves
        return self._summaries[node]

    def _statements_in(self, node: cst.CSTNode) -> dict[str, list[cst.BaseSmallStatement]]:
        """The small statements in a compound one, by the names that are in them."""
        if node not in self._inside:
            found: dict[str, list[cst.BaseSmallStatement]] = {}
            for child in (child for child in walk(node) if isinstance(child, cst.BaseSmallStatement)):
                self.work.spend(1, self.function)
                for name in {one.value for one in walk(child) if isinstance(one, cst.Name)}:
                    found.setdefault(name, []).append(child)
            self._inside[node] = found
        return self._inside[node]

    def _at_end_of(self, node: cst.CSTNode, name: str) -> tuple[list[Definition], bool]:
        if isinstance(node, (cst.IndentedBlock, cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            return self._at_end(node.body, name)
        if isinstance(node, (cst.Return, cst.Raise, cst.Continue, cst.Break)):
            return [], True
        if isinstance(node, cst.BaseSmallStatement):
            found = list(_definitions(node, name))
            return found[::-1], any(not one.partial for one in found)
        if isinstance(node, cst.If):
            body, in_body = self._after(node.body, name)
            other, in_other = self._after(node.orelse, name) if node.orelse is not None else ([], False)
            return [*other, *body, *_in_header(node, name)], in_body and in_other
        if isinstance(node, (cst.Else, cst.With)):
            body, in_body = self._after(node.body, name)
            return [*body, *_in_header(node, name)], in_body
        found = []
        if isinstance(node, (cst.For, cst.While, cst.Try, cst.TryStar, cst.Match)):
            inside = self._statements_in(node).get(name.partition(".")[0], ())
            found = [one for child in inside for one in _definitions(child, name)] + _in_header(node, name)
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
            elif isinstance(target.target, (cst.Tuple, cst.List)) and mentions(target.target, name):
                value = _unpacked(target.target, node.value, name)
                index = _index(target.target, name) if value is None else None
                yield Definition(name, node, value, unpacked=(node.value, index) if index is not None else None)
    elif isinstance(node, cst.AnnAssign) and node.value is not None and dotted(node.target) == name:
        yield Definition(name, node, node.value)
    elif isinstance(node, cst.AugAssign) and dotted(node.target) == name:
        yield Definition(name, node, None, node)
    elif isinstance(node, cst.Expr) and mutated(node.value) == name:
        yield Definition(name, node, node.value)
    elif isinstance(node, cst.Expr) and _appended_to(node.value) == name:
        yield Definition(name, node, node.value.args[-1].value, partial=True)  # type: ignore[attr-defined]
    elif isinstance(node, (cst.Import, cst.ImportFrom, cst.Del)) and mentions(node, name):
        yield Definition(name, node, None)
    yield from _named_expressions(node, node, name)


def _named_expressions(node: cst.CSTNode, statement: cst.CSTNode, name: str) -> Iterator[Definition]:
    for item in walk(node):
        if isinstance(item, cst.NamedExpr) and is_name(item.target, name):
            yield Definition(name, statement, item.value)


def _in_header(node: cst.CSTNode, name: str) -> list[Definition]:
    """The definitions in the header of a compound statement: loop variables, `as` names, assignment expressions."""
    if isinstance(node, (cst.If, cst.While)):
        return list(_named_expressions(node.test, node, name))
    if isinstance(node, cst.For) and is_name(node.target, name):
        return [Definition(name, node, node.iter, iterated=True)]
    if isinstance(node, cst.For):
        return [Definition(name, node, None)] if mentions(node.target, name) else []
    if isinstance(node, cst.With):
        return [Definition(name, node, None) for item in node.items if item.asname and mentions(item.asname, name)]
    return [Definition(name, node, None)] if isinstance(node, cst.Match) and name in captured(node) else []


def captured(node: cst.Match) -> set[str]:
    """The names that the patterns of a `match` bind."""
    patterns = [part for case in node.cases for part in walk(case.pattern)]
    names = [one.name for one in patterns if isinstance(one, (cst.MatchAs, cst.MatchStar))]
    names += [one.rest for one in patterns if isinstance(one, cst.MatchMapping)]
    return {one.value for one in names if one is not None}


def mutated(node: cst.BaseExpression) -> str | None:
    """The name of a tensor changed in place: `x` of `x.div_(7.5).sigmoid_().mul_(30)` and of `torch.sigmoid_(x)`."""
    changed = False
    while isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        if node.func.attr.value not in _IN_PLACE:
            return None
        changed = True
        outside = dotted(node.func.value) in {"torch", "F", "torch.nn.functional", "nn.functional"}
        node = node.args[0].value if outside and node.args else node.func.value
    return dotted(node) if changed else None


def written_into(node: cst.BaseSmallStatement) -> str | None:
    """The name of a tensor that a statement changes in place, all of it or part of it."""
    if isinstance(node, cst.Expr):
        return mutated(node.value) or _method_target(node.value)
    if isinstance(node, cst.AugAssign):
        target = node.target
        return dotted(target.value if isinstance(target, cst.Subscript) else target)
    if isinstance(node, cst.Assign) and isinstance(node.targets[0].target, cst.Subscript):
        return dotted(node.targets[0].target.value)
    return None


def _method_target(node: cst.BaseExpression) -> str | None:
    """The name of a tensor that any in-place method is called on: `x` of `x.zero_()` and of `x[0].fill_(1)`."""
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute):
        return None
    name, receiver = node.func.attr.value, node.func.value
    if not name.endswith("_") or name.endswith("__"):
        return None
    return dotted(receiver.value if isinstance(receiver, cst.Subscript) else receiver)


def _appended_to(node: cst.BaseExpression) -> str | None:
    """The name of a list that is appended to: `parts` of `parts.append(x)`."""
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and len(node.args) == 1:
        return dotted(node.func.value) if node.func.attr.value in {"append", "extend"} else None
    return None


def _unpacked(target: cst.BaseExpression, value: cst.BaseExpression, name: str) -> cst.BaseExpression | None:
    """The value that one name gets in `a, b = x, y`; None where there is no single expression for it."""
    pairs = paired(target, value)
    return next((other for one, other in pairs if dotted(one) == name), None)


def paired(
    target: cst.BaseExpression, value: cst.BaseExpression
) -> list[tuple[cst.BaseExpression, cst.BaseExpression | None]]:
    """Each target of `a, b = x, y` with its value; None for a value that is no single expression."""
    if not isinstance(target, (cst.Tuple, cst.List)):
        return [(target, value)]
    targets = target.elements
    others = value.elements if isinstance(value, (cst.Tuple, cst.List)) else ()
    if len(others) != len(targets) or any(isinstance(one, cst.StarredElement) for one in (*targets, *others)):
        return [(one.value, None) for one in targets]
    return [(one.value, other.value) for one, other in zip(targets, others, strict=True)]


def _index(target: cst.Tuple | cst.List, name: str) -> int | None:
    """Which item of what is unpacked one name gets, from the end behind a starred name; None for any other target."""
    found = [index for index, one in enumerate(target.elements) if dotted(one.value) == name]
    starred = [index for index, one in enumerate(target.elements) if isinstance(one, cst.StarredElement)]
    if len(found) != 1 or found == starred:
        return None
    return found[0] - len(target.elements) if starred and starred[0] < found[0] else found[0]


def _unique(found: list[Definition]) -> list[Definition]:
    kept: dict[tuple[int, int], Definition] = {}
    for one in found:
        kept.setdefault((id(one.statement), id(one.value)), one)
    return list(kept.values())
