"""Finds statements that may change the logits in place, under any of their names, beside those on their paths.

A flow-insensitive may-alias analysis of each function on a path (Aho, Lam, Sethi and Ullman, Compilers, 12.2): a name
may be the logits if it is one on a path, a view of one, an item of it, or a container that it is put into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import libcst as cst

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame, Instance, called
from patcher.codemods.dataflow.outputs import keeps_logits, sets_other_key
from patcher.codemods.dataflow.package import Class, External, Function
from patcher.codemods.dataflow.reaching import Definition
from patcher.codemods.dataflow.steps import (
    PASSTHROUGHS,
    CallEntry,
    CallExit,
    Link,
    Merge,
    Obstacle,
    Passthrough,
    Step,
)
from patcher.codemods.nodes import children, dotted, walk

_CHANGED = "may change the logits in place"
_PASSED = "passes the logits to code that may change them"
_VIEWS = PASSTHROUGHS | {"detach", "numpy", "values", "items", "diagonal", "tensor_split", "storage", "untyped_storage"}
_NO_VIEWS = {"shape", "dtype", "device", "ndim", "requires_grad", "is_cuda", "loss", "layout"}
_OF_CONTAINERS = {"update", "setdefault", "pop", "insert", "extend", "append", "__setitem__", "__setattr__", "clear"}
_OTHER_FIELDS = {"loss", "hidden_states", "attentions", "past_key_values", "grad", "requires_grad"}
_WRITERS = {"setattr", "delattr", "getattr", "vars"}
_READERS = {"type_as", "view_as", "expand_as", "to", "size", "info", "debug", "warning", "warning_once", "error"}
_PACKAGES = {"torch", "transformers", "builtins", "math", "logging", "typing"}
_CONTAINERS = {"list", "tuple", "zip", "enumerate", "reversed", "iter", "dict"}
_MAX_DEPTH = 4


def changed_in_place(flow: Flow) -> Iterator[Obstacle]:
    """What may change the logits of a flow in place and is not on a path of them."""
    followed: set[int] = set(flow.statements)
    carriers: dict[Frame, _Names] = {}
    for item in (item for path in flow.paths for item in path):
        if isinstance(item, Link):
            carriers.setdefault(item.frame, _Names(item.frame)).add(item.definition)
        elif isinstance(item, CallExit):
            carriers.setdefault(item.frame, _Names(item.frame)).parameters.add(item.name)
        elif isinstance(item, (Passthrough, Merge, Step)):
            followed.add(id(item.node))
        elif isinstance(item, CallEntry):
            followed.add(id(item.call))
    for end in flow.ends:
        if end.kind == "input" and isinstance(end.node, cst.Name):
            carriers.setdefault(end.frame, _Names(end.frame)).parameters.add(end.node.value)
    for names in carriers.values():
        names.close()
        yield from names.changes(followed)


class _Names:
    """The names in one function that may be the logits: definitions by their statement, and parameters."""

    def __init__(self, frame: Frame, depth: int = 0) -> None:
        self.frame = frame
        self.depth = depth
        self.parameters: set[str] = set()
        self._statements: dict[str, set[int]] = {}

    def add(self, definition: Definition) -> None:
        self._add(definition.name, definition.statement)

    def _add(self, name: str, statement: cst.CSTNode) -> bool:
        known = self._statements.setdefault(name, set())
        is_new = id(statement) not in known
        known.add(id(statement))
        return is_new

    def close(self) -> None:
        """Add every name that gets a view of one that is known, until there are no more."""
        assigned = [pair for node in walk(self.frame.function.body) for pair in _assigned(node)]
        while any(
            self._add(name, statement)
            for statement, target, value in assigned
            if self.carries(value, statement)
            for name in _names_in(target)
        ):
            pass

    def carries(self, node: cst.CSTNode, at: cst.CSTNode) -> bool:
        """Whether an expression may be the logits, a view of them, or a container of them."""
        self.frame.package.work.spend(1, self.frame.function)
        return any(self._is_carrier(name, at) for name in _views(node))

    def _is_carrier(self, node: cst.Name, at: cst.CSTNode) -> bool:
        body, name = self.frame.body, node.value
        if (loop := body.comprehension(node)) is not None and loop.iter is not node:
            return self.carries(loop.iter, at)
        if name not in self._statements and name not in self.parameters:
            return False
        found, is_definite = body.reaching_definitions(name, at)
        known = self._statements.get(name, set())
        inside = any(
            isinstance(outer, (cst.FunctionDef, cst.Lambda)) for outer in body.around(at) if outer is not body.function
        )
        return (
            inside or any(id(one.statement) in known for one in found) or (name in self.parameters and not is_definite)
        )

    def changes(self, followed: set[int]) -> Iterator[Obstacle]:
        """The statements that may change the logits, but for those that the walk followed."""
        for node in self._executed(self.frame.function.body):
            if id(node) in followed and not isinstance(node, cst.Assign):
                continue
            if isinstance(node, cst.Call):
                at = self.frame.body.statement(node)
                if id(at) not in followed or not isinstance(at, cst.Expr):
                    yield from self._of_call(node, at, followed)
            elif isinstance(node, (cst.Assign, cst.AugAssign, cst.AnnAssign, cst.Del)):
                yield from self._of_assignment(node, is_followed=id(node) in followed)
            elif isinstance(node, cst.Nonlocal) and any(item.name.value in self._statements for item in node.names):
                yield Obstacle.at(self.frame, node, _CHANGED)

    def _executed(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes below a node, without nested functions that nothing names."""
        yield node
        for child in children(node):
            if not isinstance(child, cst.FunctionDef) or self._is_named(child):
                yield from self._executed(child)

    def _is_named(self, function: cst.FunctionDef) -> bool:
        body = self.frame.body
        return any(body.parent(use) is not function for use in body.uses(function.name.value))

    def _of_assignment(
        self, node: cst.Assign | cst.AugAssign | cst.AnnAssign | cst.Del, *, is_followed: bool
    ) -> Iterator[Obstacle]:
        targets = [one.target for one in node.targets] if isinstance(node, cst.Assign) else []
        if isinstance(node, (cst.AugAssign, cst.AnnAssign)):
            targets = [node.target]
        for target in (one for outer in targets for one in _flat(outer)):
            written = target.value if isinstance(target, (cst.Subscript, cst.Attribute)) else None
            if isinstance(node, cst.AugAssign) and isinstance(target, cst.Name):
                written = target
            if isinstance(target, cst.Attribute) and target.attr.value in _OTHER_FIELDS:
                continue
            is_kept = written is not None and self.frame.is_self(next(_views(written), cst.Name("_")))
            if is_kept and not isinstance(node, cst.Del) and node.value is not None and self.carries(node.value, node):
                yield Obstacle.at(self.frame, node, _PASSED)
                continue
            if is_followed or written is None or not self.carries(written, node):
                continue
            if not isinstance(node, cst.Assign) or not sets_other_key(Definition("", node, None)):
                yield Obstacle.at(self.frame, node, _CHANGED)

    def _of_call(self, node: cst.Call, at: cst.CSTNode, followed: set[int]) -> Iterator[Obstacle]:
        func = node.func
        name = func.attr.value if isinstance(func, cst.Attribute) else dotted(func) or ""
        given = [item.value for item in node.args if self.carries(item.value, at)]
        receiver = isinstance(func, cst.Attribute) and self.carries(func.value, at)
        in_place = name.endswith("_") and not name.endswith("__")
        in_place |= any(item.keyword is not None and item.keyword.value in {"out", "inplace"} for item in node.args)
        if isinstance(func, cst.Name) and self.carries(func, at):
            yield Obstacle.at(self.frame, node, _CHANGED)  # a method of the logits under a name of its own
        elif (given or receiver) and (in_place or name in _WRITERS or (receiver and name in _OF_CONTAINERS)):
            yield Obstacle.at(self.frame, node, _CHANGED)
        elif given and not self._is_harmless(node, at, given):
            yield Obstacle.at(self.frame, node, _PASSED)

    def _is_harmless(self, node: cst.Call, at: cst.CSTNode, given: list[cst.BaseExpression]) -> bool:
        """Whether a call only reads what it is given."""
        frame, func = self.frame, node.func
        meaning = frame.meaning(func, at)
        if isinstance(meaning, External) or (isinstance(meaning, Instance) and isinstance(meaning.cls, External)):
            cls = meaning if isinstance(meaning, External) else meaning.cls
            made = meaning.call.args if isinstance(meaning, Instance) else ()
            in_place = any(item.keyword is not None and item.keyword.value == "inplace" for item in made)
            return isinstance(cls, External) and cls.name.partition(".")[0] in _PACKAGES and not in_place
        if isinstance(meaning, Class) and keeps_logits(frame, node, at):
            return True
        target, self_class, instance = called(frame, meaning, node)
        if isinstance(meaning, Class) and (init := frame.package.method(meaning, "__init__")) is not None:
            target, self_class, instance = init, meaning, None
        if target is not None:
            return self._only_reads(target, frame.enter(target, node, at, self_class, instance), given)
        if isinstance(meaning, Class) or frame.is_projection(meaning, func, at) or frame.is_loss_function(func):
            return True  # a class without an `__init__`, a layer of a base class
        if isinstance(func, cst.Attribute):
            return func.attr.value in _READERS or func.attr.value in PASSTHROUGHS
        return isinstance(func, cst.Name) and frame.code.is_unbound(func.value) and not self._is_local(func.value, at)

    def _is_local(self, name: str, at: cst.CSTNode) -> bool:
        return name in self.frame.parameters or bool(self.frame.body.reaching_definitions(name, at)[0])

    def _only_reads(self, target: Function, inner: Frame, given: list[cst.BaseExpression]) -> bool:
        names = _Names(inner, self.depth + 1)
        names.parameters |= {name for name, bound in inner.arguments.items() if any(bound[0] is one for one in given)}
        if self.depth > _MAX_DEPTH or len(names.parameters) < len(given) or target.node.asynchronous is not None:
            return False
        names.close()
        return next(names.changes(set()), None) is None


def _assigned(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.BaseExpression, cst.BaseExpression]]:
    """The statement, target and value of each assignment in a node."""
    if isinstance(node, cst.Assign):
        yield from ((node, one.target, node.value) for one in node.targets)
    elif isinstance(node, cst.AnnAssign) and node.value is not None:
        yield node, node.target, node.value
    elif isinstance(node, cst.For):
        yield node, node.target, node.iter


def _flat(target: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """The single targets of an assignment."""
    if isinstance(target, (cst.Tuple, cst.List)):
        for element in target.elements:
            yield from _flat(element.value)
    else:
        yield target


def _names_in(target: cst.BaseExpression) -> Iterator[str]:
    return (one.value for one in _flat(target) if isinstance(one, cst.Name))


def _views(node: cst.CSTNode) -> Iterator[cst.Name]:
    """The names that an expression may be the same object as, a view of, or a container of."""
    parts: Iterable[cst.CSTNode] = ()
    if isinstance(node, cst.Name):
        yield node
    elif isinstance(node, cst.Attribute):
        parts = () if node.attr.value in _NO_VIEWS else (node.value,)
    elif isinstance(node, (cst.Subscript, cst.NamedExpr, cst.StarredElement, cst.Element, cst.DictElement)):
        parts = (node.value,)
    elif isinstance(node, (cst.Tuple, cst.List, cst.Dict)):
        parts = node.elements
    elif isinstance(node, cst.IfExp):
        parts = (node.body, node.orelse)
    elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
        parts = (node.elt, node.for_in.iter)
    elif isinstance(node, cst.BooleanOperation) or (
        isinstance(node, cst.BinaryOperation) and isinstance(node.left, cst.Tuple)
    ):
        parts = (node.left, node.right)
    elif isinstance(node, cst.Call):
        name = node.func.attr.value if isinstance(node.func, cst.Attribute) else dotted(node.func)
        if name in _VIEWS and isinstance(node.func, cst.Attribute):
            parts = (node.func.value, *(item.value for item in node.args[:1]))
        elif name in {"list", "tuple", "zip", "enumerate", "reversed", "iter", "dict"} or (name or "").endswith(
            "Output"
        ):
            parts = tuple(item.value for item in node.args)
    for part in parts:
        yield from _views(part)
