"""What an attribute of the model's configuration is at run time: config.json as the configuration class reads it.

A class may ignore a key, compute its attribute from others, have a default, or give another value than config.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import libcst as cst

from patcher.codemods.dataflow.numbers import UNKNOWN, Known
from patcher.codemods.dataflow.package import Class, Function, Package, Value
from patcher.codemods.nodes import assignments, children, dotted, is_name, mentions, walk

ABSENT = object()
# transformers up to 4.57 sets these in the base class, for a name that config.json lacks; version 5 does not.
_OF_BASE = {
    *("temperature", "top_k", "top_p", "typical_p", "max_length", "min_length", "length_penalty", "num_beams"),
    *("num_beam_groups", "diversity_penalty", "repetition_penalty", "no_repeat_ngram_size", "num_return_sequences"),
    *("encoder_no_repeat_ngram_size", "chunk_size_feed_forward", "num_labels"),
}
_BASES = {"PretrainedConfig", "PreTrainedConfig"}
_HIDING = {"__getattr__", "__getattribute__", "__setattr__", "__new__"}
_KNOWN = {"get", "pop", "setdefault"}


def configured(package: Package, key: str, path: tuple[str, ...], section: Mapping[str, Any], frames: Any) -> object:
    """The value of an attribute as Known, ABSENT where nothing sets it, UNKNOWN where that is not certain.

    `section` is the part of config.json that the keys of `path` lead to, `frames` the class Frame, which calls this.
    """
    name = (*path, key)
    if name not in package.settings:
        package.settings[name] = _configured(package, key, path, section, frames)
    return package.settings[name]


def _configured(package: Package, key: str, path: tuple[str, ...], section: Mapping[str, Any], frames: Any) -> object:
    given: object = Known(section[key], (*path, key)) if key in section else ABSENT
    classes, is_certain = _classes(package, path)
    values = [_Reader(package, cls, section, path, frames).value(key) for cls in classes]
    found = [Known(one.value, (*path, key)) if isinstance(one, Known) else one for one in values]
    found = [one for one in found if one is not ABSENT or is_certain]
    if any(one != found[0] for one in found):
        return UNKNOWN
    if given is ABSENT and not is_certain and (found or package.config.get("model_type") or key in _OF_BASE):
        return UNKNOWN  # the default is that of a class which config.json does not name
    return found[0] if found else given


def _classes(package: Package, path: tuple[str, ...]) -> tuple[list[Class], bool]:
    """The configuration classes that may hold a part of config.json, and whether it is the one class for it."""
    auto_map = package.config.get("auto_map")
    named = auto_map.get("AutoConfig") if isinstance(auto_map, Mapping) else None
    module, _, name = named.rpartition(".") if isinstance(named, str) else ("", "", "")
    code = package.codes.get(f"{module.replace('.', '/')}.py")
    found = package.top_level(code, name) if code is not None and not path else None
    if isinstance(found, Class):
        return [found], True
    every = [
        Class(code, node)
        for code in package.codes.values()
        for chunk in code.chunks
        for kind, name in chunk.definitions
        if kind is cst.ClassDef and name.endswith("Config") and (node := code.definition(cst.ClassDef, name))
    ]
    return every, False


class _Reader:
    """Runs the `__init__` of a configuration class, as far as one attribute is concerned."""

    def __init__(
        self, package: Package, cls: Class, section: Mapping[str, Any], path: tuple[str, ...], frames: Any
    ) -> None:
        self.frames = frames
        self.package = package
        self.cls = cls
        self.section = section
        self.path = path
        self.lineage = package.lineage(cls)

    def value(self, key: str) -> object:
        """The attribute of a new object."""
        if any(_HIDING & set(one.methods) for one in self.lineage) or self._is_renamed(key):
            return UNKNOWN
        if (method := self.package.method(self.cls, key)) is not None:
            frame = self.frames(self.package, method.code, method.node, method.owner, self.cls)
            return frame.property_value() or UNKNOWN
        passed = {name: Known(value, (*self.path, name)) for name, value in self.section.items()}
        found = self._after(self.package.method(self.cls, "__init__"), self.cls, passed, key)
        return self._of_class(key) if found is ABSENT else found

    def _is_renamed(self, key: str) -> bool:
        """Whether `attribute_map` gives a key another name, or a method sets it later."""
        for one in self.lineage:
            for name, value in assignments(one.node.body.body):
                if name == "attribute_map" and any(_is_text(node, key) for node in walk(value)):
                    return True
            methods = (node for name, node in one.methods.items() if name != "__init__")
            if any(_sets(node, key) for method in methods for node in walk(method)):
                return True
        return False

    def _of_class(self, key: str) -> object:
        for one in self.lineage:
            values = [value for name, value in assignments(one.node.body.body) if name == key]
            if values:
                return self.frames.of_file(self.package, one.code).known_value(Value(one.code, values[0])) or UNKNOWN
        bases = self.package.unknown_bases(self.cls)
        plain = all(base.rpartition(".")[2] in _BASES | {"object", "dict", "ABC"} for base in bases)
        return ABSENT if plain and key not in _OF_BASE else UNKNOWN

    def _after(self, init: Function | None, owner: Class, passed: Mapping[str, object], key: str) -> object:
        """The attribute after an `__init__` that gets these arguments by name; ABSENT where nothing has set it."""
        if init is None or init.owner is None or not init.node.params.params:
            return passed.get(key, ABSENT)
        params = init.node.params
        names = [one.name.value for one in (*params.posonly_params, *params.params[1:], *params.kwonly_params)]
        frame = self._frame(init, {name: passed[name] for name in names if name in passed})
        rest = {name: value for name, value in passed.items() if name not in names}
        found: object = ABSENT
        for statement in init.node.body.body:
            small = statement.body if isinstance(statement, cst.SimpleStatementLine) else ()
            for one in small:
                found = self._step(one, found, frame, rest, init.owner, key)
            if _sets_all(statement, init):
                found = rest.get(key, found)
                continue
            if not small and any(_sets(node, key) or _is_super(node) for node in walk(statement)):
                found = UNKNOWN
            if not small and _uses_rest(statement, init, key):
                rest[key] = UNKNOWN
        return found

    def _frame(self, init: Function, values: Mapping[str, object]) -> Any:
        outside = self.frames.of_file(self.package, init.code)
        arguments = {name: (_literal(value), outside, outside.function) for name, value in values.items()}
        call = cst.Call(cst.Name(self.cls.name))
        return self.frames(self.package, init.code, init.node, init.owner, self.cls, None, arguments, call, 1)

    def _step(
        self, node: cst.BaseSmallStatement, found: object, frame: Any, rest: dict[str, object], owner: Class, key: str
    ) -> object:
        """The attribute after one statement of an `__init__`."""
        call = node.value if isinstance(node, (cst.Expr, cst.Assign, cst.AnnAssign, cst.AugAssign)) else None
        if isinstance(call, cst.Call) and _is_super(call.func):
            return self._after_super(call, found, frame, rest, owner, key)
        method = dotted(call.func) if isinstance(call, cst.Call) else None
        is_named = isinstance(call, cst.Call) and bool(call.args) and _is_text(call.args[0].value, key)
        if is_named and isinstance(call, cst.Call) and method in {f"kwargs.{name}" for name in _KNOWN}:
            default = frame.known(call.args[1].value, node) if len(call.args) > 1 else Known(None)
            value = rest.get(key, default or UNKNOWN)
            if method == "kwargs.setdefault":
                rest[key] = value
            elif method == "kwargs.pop":
                rest.pop(key, None)
            return value if any(_is_self(target, key) for target in _targets(node)) else found
        if any(_uses_rest(part, Function(frame.code, frame.function, owner), key) for part in children(node)):
            rest[key] = UNKNOWN
        if any(_is_self(target, key) for target in _targets(node)) and isinstance(node, (cst.Assign, cst.AnnAssign)):
            return (frame.known(node.value, node) if node.value is not None else None) or UNKNOWN
        return UNKNOWN if any(_sets(one, key) for one in walk(node)) else found

    def _after_super(
        self, call: cst.Call, found: object, frame: Any, rest: Mapping[str, object], owner: Class, key: str
    ) -> object:
        passed: dict[str, object] = {}
        for one in call.args:
            if one.keyword is not None:
                passed[one.keyword.value] = frame.known(one.value, frame.body.statement(call)) or UNKNOWN
            elif one.star == "**":
                passed = {**rest, **passed}
            elif not is_name(one.value, "self"):
                return UNKNOWN
        after = self.package.method(self.cls, "__init__", after=owner)
        if after is None and key in _OF_BASE and key not in passed:
            return UNKNOWN
        inner = self._after(after, owner, passed, key)
        return found if inner is ABSENT else inner


def _literal(value: object) -> cst.BaseExpression:
    """The expression for a value of config.json; one that has no value for anything else."""
    text = repr(value.value) if isinstance(value, Known) else "..."
    return cst.parse_expression(text if len(text) < 1000 else "...")


def _targets(node: cst.CSTNode) -> Iterator[cst.BaseExpression]:
    if isinstance(node, cst.Assign):
        yield from (one.target for one in node.targets)
    elif isinstance(node, (cst.AnnAssign, cst.AugAssign)):
        yield node.target


def _is_self(node: cst.CSTNode, key: str) -> bool:
    return isinstance(node, cst.Attribute) and is_name(node.value, "self") and node.attr.value == key


def _is_text(node: cst.CSTNode, text: str) -> bool:
    return isinstance(node, cst.SimpleString) and node.evaluated_value == text


def _sets(node: cst.CSTNode, key: str) -> bool:
    """Whether a statement sets an attribute of this name, or names it in a text."""
    if isinstance(node, (cst.Assign, cst.AnnAssign, cst.AugAssign)):
        return any(isinstance(one, cst.Attribute) and one.attr.value == key for t in _targets(node) for one in walk(t))
    if not isinstance(node, cst.Call) or dotted(node.func) != "setattr" or len(node.args) < 2:
        return False
    name = node.args[1].value
    return not isinstance(name, cst.SimpleString) or name.evaluated_value == key


def _uses_rest(node: cst.CSTNode, init: Function, key: str) -> bool:
    """Whether a statement may change what `**kwargs` holds under a key."""
    star = init.node.params.star_kwarg
    if star is None or not mentions(node, star.name.value):
        return False
    if isinstance(node, cst.Call) and dotted(node.func) in {f"{star.name.value}.{name}" for name in _KNOWN}:
        text = node.args[0].value if node.args else None
        return not isinstance(text, cst.SimpleString) or text.evaluated_value == key
    return is_name(node, star.name.value) or any(_uses_rest(part, init, key) for part in children(node))


def _sets_all(node: cst.CSTNode, init: Function) -> bool:
    """`for key, value in kwargs.items(): setattr(self, key, value)`."""
    star, first = init.node.params.star_kwarg, init.node.params.params[0].name.value
    if star is None or not isinstance(node, cst.For) or not isinstance(node.target, cst.Tuple) or node.orelse:
        return False
    names = [dotted(one.value) or "" for one in node.target.elements]
    lines = node.body.body
    small = lines[0].body if len(lines) == 1 and isinstance(lines[0], cst.SimpleStatementLine) else lines
    call = small[0].value if len(small) == 1 and isinstance(small[0], cst.Expr) else None
    items = node.iter.func if isinstance(node.iter, cst.Call) and not node.iter.args else None
    return (
        items is not None
        and dotted(items) == f"{star.name.value}.items"
        and isinstance(call, cst.Call)
        and is_name(call.func, "setattr")
        and [dotted(one.value) for one in call.args] == [first, *names]
    )


def _is_super(node: cst.CSTNode) -> bool:
    """Whether a function is the `__init__` of a base class."""
    return isinstance(node, cst.Attribute) and node.attr.value == "__init__"
