"""The files of a model, which import each other: where a name is defined, and what a class inherits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.reaching import Body
from patcher.codemods.nodes import assignments, dotted, last_name, methods


@dataclass(frozen=True)
class Class:
    """A class at the top level of a file."""

    code: Code
    node: cst.ClassDef

    @property
    def name(self) -> str:
        """The name of the class, undotted."""
        return self.node.name.value

    @cached_property
    def methods(self) -> Mapping[str, cst.FunctionDef]:
        """The methods that the class itself defines, by name."""
        return methods(self.node)


@dataclass(frozen=True)
class Function:
    """A function at the top level of a file, or a method with the class that defines it."""

    code: Code
    node: cst.FunctionDef
    owner: Class | None = None


@dataclass(frozen=True)
class Value:
    """The expression that a name is bound to once, at the top level of a file or in a class body."""

    code: Code
    node: cst.BaseExpression


@dataclass(frozen=True)
class External:
    """Something outside the package by its full dotted name, such as `torch.sigmoid`."""

    name: str


Definition = Class | Function | Value | External


@dataclass(frozen=True)
class Package:
    """Files by their path, and config.json as an object and as bytes."""

    codes: Mapping[str, Code]
    config: Mapping[str, Any]
    config_json: bytes = b"{}"

    @cached_property
    def _bodies(self) -> dict[cst.FunctionDef, Body]:
        return {}

    def body(self, function: cst.FunctionDef) -> Body:
        """The body of a function of one of the files; the same object for the same function."""
        return self._bodies.setdefault(function, Body(function))

    @cached_property
    def values_from_outside(self) -> Mapping[str, Sequence[ast.expr]]:
        """What some code sets attributes of an attribute of an object to: 30 for `scale` of `self.head.scale = 30`."""
        found: dict[str, list[ast.expr]] = {}
        for node in (node for code in self.codes.values() for node in code.python_nodes(ast.Assign, _SET_FROM_OUTSIDE)):
            for one in node.targets:
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Attribute):
                    found.setdefault(one.attr, []).append(node.value)
        return found

    @property
    def set_from_outside(self) -> frozenset[str]:
        """Attributes that some code sets on an attribute of an object: `scale` of `self.head.scale = 30`."""
        return frozenset(self.values_from_outside)

    def is_tied(self, name: str) -> bool:
        """Whether all that code sets this attribute to from outside are layers that it also has under other names."""
        values = self.values_from_outside.get(name, ())
        return all(isinstance(value, ast.Attribute) and value.attr in self._linear for value in values)

    @cached_property
    def _linear(self) -> frozenset[str]:
        """Attributes that are linear layers or embeddings wherever these files set them."""
        nodes = [node for code in self.codes.values() for node in code.python_nodes(ast.Assign, _LINEAR)]
        pairs = [(one.attr, node.value) for node in nodes for one in node.targets if isinstance(one, ast.Attribute)]
        others = {name for name, value in pairs if not isinstance(value, ast.Call) or not _makes_linear(value)}
        return frozenset(name for name, _ in pairs) - others

    @cached_property
    def configured(self) -> frozenset[str]:
        """Keys for which a configuration class of these files has a default."""
        nodes = (node for code in self.codes.values() for node in code.python_nodes(ast.ClassDef, _CONFIGURATION))
        return frozenset(name for node in nodes if node.name.endswith("Config") for name in _defaults(node))

    def definition(self, code: Code, name: str) -> Definition | None:
        """What a full name in a file refers to: `torch.sigmoid`, `Head`, `.heads.Head`; None where it is unknown."""
        if not name.startswith("."):
            return External(name) if "." in name else self.top_level(code, name)
        level = len(name) - len(name.lstrip("."))
        parents = PurePosixPath(code.path).parents
        if level > len(parents):
            return None
        *module, last = name[level:].split(".")
        found = self.codes.get(f"{parents[level - 1].joinpath(*module)}.py") if module else None
        return self.top_level(found, last) if found is not None else None

    def top_level(self, code: Code, name: str) -> Definition | None:
        """What the top level of a file binds a name to, through relative imports; None where that is not certain."""
        if node := code.definition(cst.ClassDef, name):
            return Class(code, node)
        if function := code.definition(cst.FunctionDef, name):
            return Function(code, function)
        if value := code.constant(name):
            return Value(code, value)
        imported = code.imports.get(name)
        if imported is None or imported == name:
            return None if imported is None else External(name)
        return self.definition(code, imported)

    def lineage(self, cls: Class) -> list[Class]:
        """The class and those of its bases that the package defines, in method resolution order (depth first)."""
        found: list[Class] = [cls]
        for base in cls.node.bases:
            parent = self.class_of(cls.code, base.value)
            if parent is not None and all(parent.node is not one.node for one in found):
                found += [one for one in self.lineage(parent) if all(one.node is not seen.node for seen in found)]
        return found

    def class_of(self, code: Code, node: cst.BaseExpression) -> Class | None:
        """The class that a name at the top level of a file refers to; None where it is none of the package's."""
        name = dotted(node) or ""
        first, _, rest = name.partition(".")
        found = self.definition(code, f"{code.imports.get(first, first)}.{rest}" if rest else name)
        return found if isinstance(found, Class) else None

    def method(self, cls: Class, name: str, after: Class | None = None) -> Function | None:
        """The method that `self.name` finds on an instance of a class, or `super().name` in a method of `after`."""
        lineage = self.lineage(cls)
        if after is not None:
            index = next((i for i, one in enumerate(lineage) if one.node is after.node), -1)
            lineage = lineage[index + 1 :]
        return next((Function(one.code, one.methods[name], one) for one in lineage if name in one.methods), None)

    def assigned(self, cls: Class, name: str) -> list[tuple[Function, cst.BaseExpression | None]]:
        """What methods assign to `self.name`, with the method; None for a value that is no single expression."""
        methods = (Function(one.code, node, one) for one in self.lineage(cls) for node in one.methods.values())
        return [(method, value) for method in methods for value in _assigned(method.node, name)]

    def unknown_bases(self, cls: Class) -> list[str]:
        """The bases of a class that these files do not define, by their full names."""
        bases = [(one.code, base.value) for one in self.lineage(cls) for base in one.node.bases]
        outside = [(code, node) for code, node in bases if self.class_of(code, node) is None]
        return [min(code.full_names(node), default=dotted(node) or "") for code, node in outside]

    def attribute(self, cls: Class, name: str) -> tuple[Function, cst.BaseExpression] | Value | None:
        """The value of `self.name`, with the `__init__` that assigns it or as a Value of a class body.

        None where it is assigned nowhere, more than once, in another method, or by no single expression.
        """
        if found := self.assigned(cls, name):
            where, value = found[0]
            is_certain = len(found) == 1 and where.node.name.value == "__init__"
            return (where, value) if value is not None and is_certain else None
        for one in self.lineage(cls):
            values = [value for bound, value in assignments(one.node.body.body) if bound == name]
            if values:
                return Value(one.code, values[0]) if len(values) == 1 else None
        return None


_SET_FROM_OUTSIDE = re.compile(r"\.\w+\.\w+[^=\n]*=(?!=)")
_LINEAR = re.compile(r"\.\w+\s*=(?!=)")
_CONFIGURATION = re.compile(r"^class \w*Config\b", re.MULTILINE)


def _makes_linear(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return "Linear" in name or "Embedding" in name


def _defaults(node: ast.ClassDef) -> set[str]:
    """The names that a class body binds, and the parameters of `__init__` that have a default."""
    found: set[str] = set()
    for item in node.body:
        targets = item.targets if isinstance(item, ast.Assign) else []
        if isinstance(item, ast.AnnAssign) and item.value is not None:
            targets = [item.target]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            inner = item.args
            found |= {one.arg for one in inner.args[len(inner.args) - len(inner.defaults) :]}
            pairs = zip(inner.kwonlyargs, inner.kw_defaults, strict=True)
            found |= {one.arg for one, default in pairs if default is not None}
    return found


def _assigned(function: cst.FunctionDef, name: str) -> Iterator[cst.BaseExpression | None]:
    """The values that a method assigns to `self.name`; None for one that is no single expression."""
    self_name = function.params.params[0].name.value if function.params.params else None
    for node in _statements(function.body):
        pairs: list[tuple[cst.BaseExpression, cst.BaseExpression | None]] = []
        if isinstance(node, cst.Assign):
            pairs = [pair for target in node.targets for pair in _paired(target.target, node.value)]
        elif isinstance(node, cst.AnnAssign):
            pairs = [(node.target, node.value)]
        elif isinstance(node, cst.AugAssign):
            pairs = [(node.target, None)]
        for target, value in pairs:
            if isinstance(target, cst.Attribute) and target.attr.value == name and last_name(target.value) == self_name:
                yield value


def _paired(
    target: cst.BaseExpression, value: cst.BaseExpression
) -> list[tuple[cst.BaseExpression, cst.BaseExpression | None]]:
    """Each target of `a, b = x, y` with its value; None for a value that is no single expression."""
    if not isinstance(target, (cst.Tuple, cst.List)):
        return [(target, value)]
    targets = [element.value for element in target.elements]
    if isinstance(value, (cst.Tuple, cst.List)) and len(value.elements) == len(targets):
        return [(one, other.value) for one, other in zip(targets, value.elements, strict=True)]
    return [(one, None) for one in targets]


def _statements(block: cst.CSTNode) -> Iterator[cst.BaseSmallStatement]:
    """The small statements of a block and of its nested blocks, without nested functions and classes."""
    if isinstance(block, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
        yield from block.body
    elif not isinstance(block, (cst.FunctionDef, cst.ClassDef)):
        for child in block.children:
            if isinstance(child, (cst.BaseSuite, cst.BaseStatement, cst.Else, cst.Finally, cst.ExceptHandler)):
                yield from _statements(child)
