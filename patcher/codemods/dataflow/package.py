"""The files of a model, which import each other: where a name is defined, and what a class inherits."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.reaching import Body, paired
from patcher.codemods.nodes import assignments, dotted, last_name, methods, walk
from patcher.codemods.work import Work


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
    """A function at the top level of a file, or a method with the class that defines it.

    `presets` are the arguments that functools.partial binds: calls, with where they are. A function with
    `explicit_self` is a method that is called through its class.
    """

    code: Code
    node: cst.FunctionDef
    owner: Class | None = None
    presets: tuple[Any, ...] = ()
    explicit_self: bool = False


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
        if function not in self._bodies:
            self._bodies[function] = Body(function, self.work)
        return self._bodies[function]

    @cached_property
    def work(self) -> Work:
        """What the analysis of these files takes; it ends beyond a limit."""
        return Work()

    @cached_property
    def settings(self) -> dict[tuple[str, ...], object]:
        """What is known of the attributes of the configuration, by the keys that lead to them."""
        return {}

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

    def is_changed(self, name: str, cls: Class | None = None) -> bool:
        """Whether some code may change an attribute, a container or a key in another form than `self.name = value`.

        `setattr(self, name, value)` with a computed name changes attributes of the objects that have the method alone:
        it counts where the attribute is one of an object of `cls`, and that has it.
        """
        if name in self._changed:
            return True
        owners = {owner for owner, pattern in self._computed if pattern.fullmatch(name)} if cls is not None else set()
        return bool(owners) and cls is not None and not owners.isdisjoint({None, *map(_key, self.lineage(cls))})

    @cached_property
    def _changed(self) -> frozenset[str]:
        """Such names, but for those that are computed."""
        found = set[str]()
        kinds = (ast.Attribute, ast.Subscript, ast.Call)
        for node in (one for code in self.codes.values() for kind in kinds for one in code.python_nodes(kind, _ANY)):
            if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
                if not isinstance(node, ast.Attribute) or _last(node.value) != "self":
                    found |= {node.attr} if isinstance(node, ast.Attribute) else {_last(node.value)}
                    found |= _texts(node.slice) if isinstance(node, ast.Subscript) else set()
            elif isinstance(node, ast.Call) and _last(node.func) in _CHANGERS:
                owner = _last(getattr(node.func, "value", node))
                if owner != "kwargs":  # which the configuration's `__init__` reads
                    found |= {owner, *_texts(*node.args[:2]), *(one.arg or "" for one in node.keywords)}
        return frozenset(found)

    @cached_property
    def _computed(self) -> Sequence[tuple[tuple[str, str] | None, re.Pattern[str]]]:
        """Patterns of names that are computed, each with the class whose methods set them; None for any class."""
        statements = [(code, one) for code in self.codes.values() for chunk in code.chunks for one in chunk.statements]
        return [
            ((code.path, statement.name) if isinstance(statement, ast.ClassDef) else None, re.compile(pattern))
            for code, statement in statements
            for node in ast.walk(statement)
            if isinstance(node, ast.Call)
            for pattern in _computed(node)
        ]

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
            return Function(code, function) if code.is_bound_once(name) else None
        if value := code.constant(name):
            return Value(code, value)
        imported = code.imports.get(name)
        if imported is None or imported == name:
            return None if imported is None else External(name)
        return self.definition(code, imported)

    def lineage(self, cls: Class) -> Sequence[Class]:
        """The class and those of its bases that the package defines, in method resolution order (C3)."""
        waiting, started = [cls], set[cst.CSTNode]()
        while waiting:
            one = waiting[-1]
            parents = [found for base in one.node.bases if (found := self.class_of(one.code, base.value))]
            missing = [each for each in parents if each.node not in self._lineages and each.node not in started]
            started.add(one.node)
            if one.node not in self._lineages and missing:
                waiting += missing
                continue
            waiting.pop()
            if one.node not in self._lineages:
                self.work.spend(sum(len(self._lineages.get(each.node, ())) for each in parents))
                self._lineages[one.node] = [one, *_merged([self._lineages.get(each.node, []) for each in parents])]
        return self._lineages[cls.node]

    @cached_property
    def _lineages(self) -> dict[cst.CSTNode, list[Class]]:
        return {}

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
        return [(method, value) for method in methods for value in self._assignments(method.node).get(name, ())]

    def _assignments(self, function: cst.FunctionDef) -> Mapping[str, Sequence[cst.BaseExpression | None]]:
        if function not in self._assigned:
            found: dict[str, list[cst.BaseExpression | None]] = {}
            for name, value in _assigned(function):
                found.setdefault(name, []).append(value)
            self._assigned[function] = found
        return self._assigned[function]

    @cached_property
    def _assigned(self) -> dict[cst.CSTNode, Mapping[str, Sequence[cst.BaseExpression | None]]]:
        return {}

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
            is_certain &= self.class_value(cls, name) is None or _is_unconditional(where.node, value)
            return (where, value) if value is not None and is_certain else None
        return self.class_value(cls, name)

    def class_value(self, cls: Class, name: str) -> Value | None:
        """What the body of a class, or of the nearest base that names it, binds a name to."""
        for one in self.lineage(cls):
            values = [value for bound, value in assignments(one.node.body.body) if bound == name]
            if values:
                return Value(one.code, values[0]) if len(values) == 1 else None
        return None


def _merged(lineages: Sequence[Sequence[Class]]) -> list[Class]:
    """The lineages of the bases of a class as one: a class is before its bases, which keep their order."""
    if len(lineages) < 2:
        return [each for lineage in lineages for each in lineage]
    found: dict[cst.CSTNode, Class] = {}
    waiting = [list(reversed(one)) for one in (*lineages, [one[0] for one in lineages if one])]
    behind = Counter(one.node for lineage in waiting for one in lineage[:-1])
    while waiting := [one for one in waiting if one]:
        free = next((one[-1] for one in waiting if not behind[one[-1].node]), waiting[0][-1])  # else not valid Python
        found.setdefault(free.node, free)
        for lineage in waiting:
            if lineage[-1].node is free.node:
                lineage.pop()
                behind.subtract(one.node for one in lineage[-1:])
    return list(found.values())


_SET_FROM_OUTSIDE = re.compile(r"\.\w+\.\w+[^=\n]*=(?!=)")
_LINEAR = re.compile(r"\.\w+\s*=(?!=)")


def _is_unconditional(function: cst.FunctionDef, value: cst.BaseExpression | None) -> bool:
    """Whether a statement of the function's own block has this value."""
    lines = [line for line in function.body.body if isinstance(line, cst.SimpleStatementLine)]
    return any(node is value for line in lines for node in walk(line))


def _key(cls: Class) -> tuple[str, str]:
    return cls.code.path, cls.name


_ANY = re.compile("")
_CHANGERS = {
    *("setattr", "__setattr__", "delattr", "update", "__setitem__", "setdefault"),
    *("append", "extend", "insert", "pop", "clear", "popitem", "remove", "sort", "reverse"),
}


def _last(node: ast.AST) -> str:
    """The last name of a dotted name; empty for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _texts(*nodes: ast.AST) -> set[str]:
    constants = (one.value for node in nodes for one in ast.walk(node) if isinstance(one, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def _computed(node: ast.Call) -> Iterator[str]:
    """Patterns of the names that `setattr(self, name, value)` and `self.__dict__.update(values)` may set."""
    if _last(node.func) in {"setattr", "__setattr__"} and len(node.args) > 1 and _last(node.args[0]) == "self":
        name = node.args[1]
        parts = name.values if isinstance(name, ast.JoinedStr) else [name]
        texts = [re.escape(str(one.value)) if isinstance(one, ast.Constant) else ".*" for one in parts]
        yield from () if isinstance(name, ast.Constant) else ("".join(texts),)
    elif ast.unparse(node.func) in {"self.__dict__.update", "vars(self).update"} and node.args:
        yield ".*"


def _makes_linear(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return "Linear" in name or "Embedding" in name


def _assigned(function: cst.FunctionDef) -> Iterator[tuple[str, cst.BaseExpression | None]]:
    """The attributes of `self` that a method assigns, with their values; None for one that is no single expression."""
    self_name = function.params.params[0].name.value if function.params.params else None
    for node in _statements(function.body):
        pairs: list[tuple[cst.BaseExpression, cst.BaseExpression | None]] = []
        if isinstance(node, cst.Assign):
            pairs = [pair for target in node.targets for pair in paired(target.target, node.value)]
        elif isinstance(node, cst.AnnAssign):
            pairs = [(node.target, node.value)]
        elif isinstance(node, cst.AugAssign):
            pairs = [(node.target, None)]
        for target, value in pairs:
            if isinstance(target, cst.Attribute) and last_name(target.value) == self_name:
                yield target.attr.value, value


def _statements(block: cst.CSTNode) -> Iterator[cst.BaseSmallStatement]:
    """The small statements of a block and of its nested blocks, without nested functions and classes."""
    if isinstance(block, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
        yield from block.body
    elif not isinstance(block, (cst.FunctionDef, cst.ClassDef)):
        for child in block.children:
            if isinstance(child, (cst.BaseSuite, cst.BaseStatement, cst.Else, cst.Finally, cst.ExceptHandler)):
                yield from _statements(child)
