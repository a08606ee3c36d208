"""The values that are certain in a call of a function: constants, arguments, attributes and config.json."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.configuration import ABSENT, configured
from patcher.codemods.dataflow.numbers import NAMES, UNKNOWN, Known, Number, evaluate
from patcher.codemods.dataflow.package import Class, External, Function, Package, Value
from patcher.codemods.dataflow.reaching import Body
from patcher.codemods.dataflow.reaching import Definition as Reached
from patcher.codemods.nodes import dotted, is_name, last_name, walk

_DEPTH = 16  # constants defined by constants; also ends a definition that refers to itself


class Constants(ABC):
    """The part of a frame that knows values."""

    package: Package
    code: Code
    function: cst.FunctionDef
    self_class: Class | None
    arguments: Mapping[str, tuple[cst.BaseExpression, Any, cst.CSTNode]]
    call: cst.Call | None
    depth: int

    @classmethod
    @abstractmethod
    def of_file(cls, package: Package, code: Code) -> Constants:
        """A frame in which names mean what they mean at the top level of a file."""

    @property
    @abstractmethod
    def body(self) -> Body:
        """The function's body."""

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, cst.Param]:
        """The parameters by name."""

    @abstractmethod
    def meaning(self, node: cst.BaseExpression, at: cst.CSTNode, depth: int = 0) -> object:
        """What a function expression stands for."""

    @abstractmethod
    def is_self(self, node: cst.CSTNode) -> bool:
        """Whether a node is the name of the object itself."""

    @abstractmethod
    def in_init(self, init: Function) -> Constants:
        """The frame of an `__init__` of this object."""

    def number(self, node: cst.BaseExpression, at: cst.CSTNode) -> Number | None:
        """The number that an expression always gives, from literals, constants, arguments and config.json."""
        found = self.known(node, at)
        return found.number() if found is not None else None

    def known(self, node: cst.BaseExpression, at: cst.CSTNode, depth: int = 0) -> Known | None:
        """The value that an expression always has."""
        self.package.work.spend(1, self.function)
        if depth > _DEPTH:
            return None
        if (setting := self._setting(node, at, depth)) is not None:
            return setting if isinstance(setting, Known) else None
        if (
            isinstance(node, cst.Name)
            and node.value not in NAMES
            and (found := self._known_name(node, at, depth)) is not None
        ):
            return found
        if isinstance(node, cst.Attribute) and (found := self._known_attribute(node, at, depth)) is not None:
            return found
        if isinstance(node, cst.Subscript) and self.package.is_changed(last_name(node.value) or ""):
            return None
        return evaluate(node, lambda part: self.known(part, at, depth + 1), lambda func: self._function(func, at))

    def _function(self, node: cst.BaseExpression, at: cst.CSTNode) -> str:
        """The full name of a function or a constant of another package; of a method of a value its own name."""
        meaning = self.meaning(node, at)
        is_method = meaning is None and isinstance(node, cst.Attribute)
        return meaning.name if isinstance(meaning, External) else (last_name(node) or "") if is_method else ""

    def _known_name(self, node: cst.Name, at: cst.CSTNode, depth: int) -> Known | None:
        if self.body.comprehension(node) is not None:
            return None
        found, is_definite = self.body.reaching_definitions(node.value, at)
        if found:
            return self._known_definition(found[0], depth) if len(found) == 1 and is_definite else None
        if node.value in self.parameters:
            if bound := self.arguments.get(node.value):
                argument, caller, place = bound
                return cast(Constants, caller).known(argument, place, depth + 1)
            default = self.parameters[node.value].default
            is_known = self.call is not None and not any(argument.star for argument in self.call.args)
            return self.known(default, at, depth + 1) if default is not None and is_known else None
        return self._known_outside(node, depth)

    def _known_definition(self, one: Reached, depth: int) -> Known | None:
        if one.unpacked is not None:
            base = self.known(one.unpacked[0], one.statement, depth + 1)
            return base.item(one.unpacked[1]) if base is not None else None
        if one.value is None or one.iterated or one.partial:
            return None
        return self.known(one.value, one.statement, depth + 1)

    def _known_attribute(self, node: cst.Attribute, at: cst.CSTNode, depth: int) -> Known | None:
        name = node.attr.value
        if self.package.is_changed(name, self.self_class if self.is_self(node.value) else None):
            return None
        if self.is_self(node.value) and self.self_class is not None:
            if (method := self.package.method(self.self_class, name)) is not None:
                inner: Constants = replace(
                    cast(Any, self), code=method.code, function=method.node, owner=method.owner, depth=self.depth + 1
                )
                return inner.property_value(depth)
            bound = self.package.attribute(self.self_class, name)
            if not isinstance(bound, tuple):
                return self.known_value(bound, depth + 1) if bound is not None else None
            frame = self.in_init(bound[0])
            return frame.known(bound[1], frame.body.statement(bound[1]), depth + 1)
        cls = self.meaning(node.value, at) if isinstance(node.value, (cst.Name, cst.Call, cst.Attribute)) else None
        if isinstance(cls, Class):
            value = self.package.class_value(cls, name)
            return self.known_value(value, depth + 1) if value is not None else None
        return self._known_outside(node, depth)

    def _known_outside(self, node: cst.BaseExpression, depth: int) -> Known | None:
        """The value of a name that the top level of a file binds."""
        found = [self.package.definition(self.code, name) for name in self.code.full_names(node)]
        value = found[0] if len(found) == 1 else None
        is_changed = self.package.is_changed(last_name(node) or "")
        return self.known_value(value, depth + 1) if isinstance(value, Value) and not is_changed else None

    def known_value(self, value: Value, depth: int = 0) -> Known | None:
        """The value of a constant of a file or of a class body."""
        frame = self.of_file(self.package, value.code)
        return frame.known(value.node, frame.function, depth + 1)

    def property_value(self, depth: int = 0) -> Known | None:
        """What this function gives where it is a property that returns one expression."""
        is_property = any((last_name(one.decorator) or "").endswith("property") for one in self.function.decorators)
        returns = [node for node in walk(self.function.body) if isinstance(node, cst.Return)]
        last = returns[0] if len(returns) == 1 and is_property else None
        body = self.function.body.body
        is_last = bool(body) and isinstance(body[-1], cst.SimpleStatementLine) and last in body[-1].body
        return self.known(last.value, last, depth + 1) if last is not None and last.value and is_last else None

    def _setting(self, node: cst.BaseExpression, at: cst.CSTNode, depth: int) -> object:
        """What `self.config.scale`, `config.scale` and `getattr(config, "scale", 30)` are; None for anything else."""
        call = node if isinstance(node, cst.Call) and dotted(node.func) == "getattr" else None
        name = call.args[1].value if call is not None and 2 <= len(call.args) <= 3 else None
        key = name.evaluated_value if isinstance(name, cst.SimpleString) else None
        owner = call.args[0].value if call is not None and isinstance(key, str) else None
        if isinstance(node, cst.Attribute):
            key, owner = node.attr.value, node.value
        found = self.configuration(owner) if owner is not None else None
        if found is None or not isinstance(key, str):
            return None
        section, path = found
        if self.package.is_changed(key):
            return UNKNOWN
        value = configured(self.package, key, path, section, type(self))
        if value is ABSENT and call is not None and len(call.args) == 3:
            return self.known(call.args[2].value, at, depth + 1) or UNKNOWN
        return value

    def configuration(self, node: cst.BaseExpression) -> tuple[Mapping[str, Any], tuple[str, ...]] | None:
        """The part of config.json that an expression stands for, with the keys that lead to it; None if it is none.

        By the convention of transformers, `config` and `self.config` are the model's configuration.
        """
        owner = node.value if isinstance(node, cst.Attribute) and node.attr.value == "config" else None
        if is_name(node, "config") or isinstance(owner, cst.Name):
            return self.package.config, ()
        if isinstance(node, cst.Attribute):
            outer = self.configuration(node.value)
            section = outer[0].get(node.attr.value) if outer else None
            return (section, (*outer[1], node.attr.value)) if outer and isinstance(section, Mapping) else None
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and not node.args:
            outer = self.configuration(node.func.value)
            if outer and node.func.attr.value == "get_text_config":
                section = outer[0].get("text_config")
                return (section, (*outer[1], "text_config")) if isinstance(section, Mapping) else outer
        return None
