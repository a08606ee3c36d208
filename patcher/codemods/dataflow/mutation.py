"""Finds statements that may change the logits in place, under any of their names, beside those on their paths.

A flow-insensitive may-alias analysis of each function on a path (Aho, Lam, Sethi and Ullman, Compilers, 12.2): a name
may be the logits if it is one on a path, a view of one, an item of it, or a container that it is put into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import libcst as cst

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame, Instance, called
from patcher.codemods.dataflow.outputs import keeps_logits, returned, sets_other_key
from patcher.codemods.dataflow.package import Class, External, Function
from patcher.codemods.dataflow.reaching import Body, Definition, captured
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
from patcher.codemods.nodes import children, dotted, is_name, last_name, walk

_CHANGED = "may change the logits in place"
_PASSED = "passes the logits to code that may change them"
# Functions and methods whose result may be a view of what they get, or what they get itself: those of torch by the
# aliases in its schemas, and those of containers.
_VIEWS = PASSTHROUGHS | {
    *("detach", "numpy", "diagonal", "storage", "untyped_storage", "alias", "as_subclass", "pin_memory", "positive"),
    *("ravel", "swapaxes", "swapdims", "moveaxis", "adjoint", "conj", "resolve_conj", "resolve_neg", "reshape_as"),
    *("as_strided", "unfold", "expand_as", "broadcast_to", "broadcast_tensors", "view_as_real", "view_as_complex"),
    *("tensor_split", "hsplit", "vsplit", "dsplit", "split_with_sizes", "atleast_1d", "atleast_2d", "atleast_3d"),
    *("as_tensor", "asarray", "from_dlpack", "from_numpy", "real", "imag", "dropout"),
    *("values", "items", "get", "pop", "setdefault", "copy", "__getitem__"),
}
_NO_VIEWS = {"shape", "dtype", "device", "ndim", "requires_grad", "is_cuda", "loss", "layout"}
_OF_CONTAINERS = {"update", "setdefault", "pop", "insert", "extend", "append", "__setitem__", "__setattr__", "clear"}
_OTHER_FIELDS = {"loss", "hidden_states", "attentions", "past_key_values", "grad", "requires_grad"}
_WRITERS = {"setattr", "delattr", "getattr", "vars", "swap_tensors"}
_READERS = {"type_as", "view_as", "expand_as", "to", "size", "info", "debug", "warning", "warning_once", "error"}
_PACKAGES = {"torch", "transformers", "builtins", "math", "logging", "typing"}
_CONTAINERS = {
    *("list", "tuple", "set", "dict", "zip", "enumerate", "reversed", "sorted", "iter", "next", "filter", "max", "min"),
}
_DUNDERS = {f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")}
# How many arguments precede `inplace` in the layers of torch; in their functions the input does as well.
_BEFORE_INPLACE = {
    **dict.fromkeys(("relu", "relu6", "selu", "silu", "mish", "hardswish", "hardsigmoid"), 0),
    **dict.fromkeys(("elu", "celu", "leakyrelu", "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout"), 1),
    **dict.fromkeys(("threshold", "hardtanh", "rrelu"), 2),
}
_WITH_TRAINING = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout", "rrelu"}  # which precedes it, too
_AT_CONSTRUCTION = ("__new__", "__post_init__")
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
        self._given_back: dict[tuple[cst.Call, tuple[cst.CSTNode, ...]], bool] = {}
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
        body = self.frame.body
        assigned = [pair for node in walk(body.function.body) for pair in _assigned(node, body)]
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
        parts = _views(node)
        return any(
            self._is_carrier(one, at) if isinstance(one, cst.Name) else self._gives_back(one, at) for one in parts
        )

    def _gives_back(self, node: cst.Call, at: cst.CSTNode) -> bool:
        """Whether the result of a call may be the logits that it gets, a view of them, or a container of them."""
        given = tuple(item.value for item in node.args if self.carries(item.value, at))
        if given and (node, given) not in self._given_back:
            frame = self.frame
            meaning = frame.meaning(node.func, at)
            layer = meaning.cls.name if isinstance(meaning, Instance) and isinstance(meaning.cls, External) else ""
            found = isinstance(meaning, Class) or layer.endswith("Identity") or "Dropout" in layer
            target, self_class, instance = called(frame, meaning, node)
            if target is not None and not found:
                inner = self._enter(target, frame.enter(target, node, at, self_class, instance), given)
                found = inner is None or any(inner.carries(value, one) for one, value in returned(inner.frame))
            self._given_back[node, given] = found
        return bool(given) and self._given_back[node, given]

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
            owner = next(_views(written), None) if written is not None else None
            is_kept = owner is not None and (self.frame.is_self(owner) or self._is_global(owner, node))
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
        in_place = _is_in_place(name) or name in _DUNDERS or _asks_in_place(node)
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
        is_plain = not any(_is_callback(frame, item.value, at) for item in node.args)
        if isinstance(meaning, External):
            return meaning.name.partition(".")[0] in _PACKAGES and is_plain
        if isinstance(meaning, Instance) and isinstance(meaning.cls, External):
            made, place = meaning.call, meaning.frame.body.statement(meaning.call)
            is_plain &= not any(_is_callback(meaning.frame, item.value, place) for item in made.args)
            is_plain &= not any(isinstance(one, cst.Call) and _asks_in_place(one) for one in walk(made))
            return meaning.cls.name.partition(".")[0] in _PACKAGES and is_plain
        if isinstance(meaning, Class) and keeps_logits(frame, node, at):
            return True
        if isinstance(meaning, Class) and any(frame.package.method(meaning, name) for name in _AT_CONSTRUCTION):
            return False
        target, self_class, instance = called(frame, meaning, node)
        if isinstance(meaning, Class) and (init := frame.package.method(meaning, "__init__")) is not None:
            target, self_class, instance = init, meaning, None
        if target is not None:
            return self._only_reads(target, frame.enter(target, node, at, self_class, instance), given)
        if isinstance(meaning, Class) or frame.is_projection(meaning, func, at) or frame.is_loss_function(func):
            return True  # a class without an `__init__`, a layer of a base class
        if isinstance(func, cst.Attribute):
            return func.attr.value in _READERS or func.attr.value in PASSTHROUGHS
        is_builtin = isinstance(func, cst.Name) and frame.code.is_unbound(func.value)
        return is_builtin and is_plain and not self._is_local(last_name(func) or "", at)

    def _is_global(self, node: cst.CSTNode, at: cst.CSTNode) -> bool:
        """Whether a node is a name that the file binds, and not the function."""
        return (
            isinstance(node, cst.Name)
            and not self._is_local(node.value, at)
            and not self.frame.code.is_unbound(node.value)
        )

    def _is_local(self, name: str, at: cst.CSTNode) -> bool:
        return name in self.frame.parameters or bool(self.frame.body.reaching_definitions(name, at)[0])

    def _only_reads(self, target: Function, inner: Frame, given: Sequence[cst.BaseExpression]) -> bool:
        names = self._enter(target, inner, given)
        return names is not None and next(names.changes(set()), None) is None

    def _enter(self, target: Function, inner: Frame, given: Sequence[cst.BaseExpression]) -> _Names | None:
        """The names in a function that gets these arguments; None where that is not certain."""
        names, rest = _Names(inner, self.depth + 1), inner.function.params.star_kwarg
        bound = {name for name, (value, *_) in inner.arguments.items() if any(value is one for one in given)}
        if self.depth > _MAX_DEPTH or len(bound) < len(given) or target.node.asynchronous is not None:
            return None
        names.parameters |= bound if rest is None or bound <= {*inner.parameters} else {*bound, rest.name.value}
        names.close()
        return names


def _is_in_place(name: str) -> bool:
    """Whether a function or method changes what it gets, by torch's convention for their names."""
    return name.endswith("_") and not name.endswith("__")


def _asks_in_place(node: cst.Call) -> bool:
    """Whether a call names a tensor for its result, or has `inplace` among its arguments."""
    if any(item.keyword is not None and item.keyword.value in {"out", "inplace"} for item in node.args):
        return True
    name = last_name(node.func) or ""
    plain = name.lower().replace("_", "")
    index = _BEFORE_INPLACE.get(plain, len(node.args)) + (name.islower() and 1 + (plain in _WITH_TRAINING))
    inplace = node.args[index] if index < len(node.args) else None
    return inplace is not None and inplace.keyword is None and not is_name(inplace.value, "False")


def _is_callback(frame: Frame, node: cst.BaseExpression, at: cst.CSTNode) -> bool:
    """Whether an argument is a function that may change what it gets: any that is not one of torch or of Python."""
    if isinstance(node, cst.Lambda) or _is_in_place(last_name(node) or ""):
        return True
    found = frame.body.reaching_definitions(node.value, at)[0] if isinstance(node, cst.Name) else []
    if any(isinstance(one.statement, cst.FunctionDef) or isinstance(one.value, cst.Lambda) for one in found):
        return True
    meaning = frame.meaning(node, at) if isinstance(node, (cst.Name, cst.Attribute)) else None
    if isinstance(meaning, Instance):
        return isinstance(meaning.cls, Class) or _asks_in_place(meaning.call)
    kinds = [last_name(one.decorator) or "" for one in meaning.node.decorators] if isinstance(meaning, Function) else []
    return isinstance(meaning, Function) and not any(kind.endswith("property") for kind in kinds)


def _assigned(node: cst.CSTNode, body: Body) -> Iterator[tuple[cst.CSTNode, cst.BaseExpression, cst.BaseExpression]]:
    """The statement, target and value of each assignment in a node."""
    if isinstance(node, cst.Assign):
        yield from ((node, one.target, node.value) for one in node.targets)
    elif isinstance(node, cst.AnnAssign) and node.value is not None:
        yield node, node.target, node.value
    elif isinstance(node, cst.For):
        yield node, node.target, node.iter
    elif isinstance(node, cst.NamedExpr):
        yield body.statement(node), node.target, node.value
    elif isinstance(node, cst.Match):
        yield from ((node, cst.Name(name), node.subject) for name in captured(node))


def _flat(target: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """The single targets of an assignment."""
    if isinstance(target, (cst.Tuple, cst.List)):
        for element in target.elements:
            yield from _flat(element.value)
    else:
        yield target


def _names_in(target: cst.BaseExpression) -> Iterator[str]:
    return (one.value for one in _flat(target) if isinstance(one, cst.Name))


def _views(node: cst.CSTNode) -> Iterator[cst.Name | cst.Call]:
    """The names, and the calls of functions that are not known, that an expression may be or contain, or view."""
    parts: Iterable[cst.CSTNode] = ()
    if isinstance(node, cst.Name):
        yield node
    elif isinstance(node, cst.Attribute):
        parts = () if node.attr.value in _NO_VIEWS else (node.value,)
    elif isinstance(node, (cst.Subscript, cst.NamedExpr, cst.StarredElement, cst.Element, cst.DictElement)):
        parts = (node.value,)
    elif isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Plus):
        parts = (node.expression,)
    elif isinstance(node, (cst.Tuple, cst.List, cst.Set, cst.Dict)):
        parts = node.elements
    elif isinstance(node, cst.IfExp):
        parts = (node.body, node.orelse)
    elif isinstance(node, cst.BaseSimpleComp):
        parts = (node.elt, node.for_in.iter)
    elif isinstance(node, cst.DictComp):
        parts = (node.value, node.for_in.iter)
    elif isinstance(node, cst.BooleanOperation) or (
        isinstance(node, cst.BinaryOperation) and isinstance(node.left, cst.Tuple)
    ):
        parts = (node.left, node.right)
    elif isinstance(node, cst.Call):
        name = last_name(node.func) or ""
        if name in _VIEWS:
            parts = (
                *([node.func.value] if isinstance(node.func, cst.Attribute) else []),
                *(one.value for one in node.args[:1]),
            )
        elif name.endswith("Output") or (name in _CONTAINERS and isinstance(node.func, cst.Name)):
            parts = tuple(item.value for item in node.args)
        else:
            yield node
    for part in parts:
        yield from _views(part)
