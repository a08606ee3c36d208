"""Finds the sections of config.json that become configurations of their own, and what builds each of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from textwrap import dedent
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.config_class import sets_key
from patcher.codemods.dataflow.package import Class, Package

Path = tuple[str, ...]
TOP: Path = ()
_IMPORTED = re.compile("transformers")
_MADE = re.compile(r"Config\(")
_UNPACKED = re.compile(r"\*\*\s*\w+\.")
_COPIES = ("dict", "copy", "deepcopy", "get", "pop")
_NO_CONFIGURATIONS = ("SimpleNamespace", "Namespace", "OrderedDict", "int", "str", "float", "bool", "list", "tuple")
_OF_TRANSFORMERS = ("text_config", "vision_config", "audio_config")
_PLAIN_BASES = ("PretrainedConfig", "PreTrainedConfig")


@dataclass(frozen=True)
class Section:
    """The configuration of a model, or one that it has as an attribute.

    `config` is what config.json has of it, None where it is not there. `classes` are its class and those of its bases
    that these files define, `base` the name of the class of transformers below or instead; without both, `kind` is the
    model type that names it. `is_known` says whether what builds it is known, `is_open` whether that gets all keys of
    the section, `given` what it gets beside them, and `preset` the keys that the outer class sets itself.
    """

    config: Mapping[str, Any] | None
    classes: Sequence[Class] = ()
    base: str | None = None
    kind: str | None = None
    is_known: bool = True
    is_open: bool = True
    given: Mapping[str, ast.expr] = field(default_factory=dict)
    preset: frozenset[str] = frozenset()

    @cached_property
    def parsed(self) -> list[tuple[Class, ast.ClassDef]]:
        """The classes with Python's trees of them, without those whose syntax is newer than this Python's."""
        return [(one, tree) for one in self.classes if (tree := _tree(one))]

    @property
    def trees(self) -> list[ast.ClassDef]:
        """Python's trees of the classes."""
        return [tree for _, tree in self.parsed]


def sections(package: Package, configuration: Class | None) -> dict[Path, Section]:
    """The outermost configuration under `TOP`, and each that it has, by the attributes that lead there.

    One that code makes by itself is under the call of its class, `("BertConfig()",)`.
    """
    classes = package.lineage(configuration) if configuration is not None else ()
    base, kind = _base(package, configuration), package.config.get("model_type")
    found = {TOP: Section(package.config, classes, base, kind)}
    waiting = [TOP]
    while waiting:
        path = waiting.pop()
        for name, inner in _inner(package, found[path]):
            below = (*path, name)
            found[below] = inner
            waiting += [below] if inner.config is not None else []
    known = {one.name for place in found.values() for one in place.classes} | {place.base for place in found.values()}
    for name, section in _made(package):
        if name not in known:
            found[(f"{name}()",)] = section
    return found


def _tree(cls: Class) -> ast.ClassDef | None:
    with suppress(SyntaxError):
        found = ast.parse(dedent(cst.Module([]).code_for_node(cls.node).lstrip("\r\n"))).body[0]
        return found if isinstance(found, ast.ClassDef) else None
    return None


def _base(package: Package, cls: Class | None) -> str | None:
    base = package.unknown_bases(cls)[-1:] if cls is not None else []
    return base[0].rpartition(".")[2] if base else None


def _inner(package: Package, outer: Section) -> Iterator[tuple[str, Section]]:
    """The configurations that one has as attributes."""
    keys = {key: value for key, value in (outer.config or {}).items() if isinstance(value, Mapping)}
    built = _values(outer)
    for name, calls in (_unpacked(package) if outer.config is package.config else {}).items():
        if name in keys:
            built.setdefault(name, []).extend(calls)
    nodes = [node for tree in outer.trees for node in ast.walk(tree)]
    preset = frozenset(key for node in nodes for key in _preset(node))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    computed = any(_sets_computed(node) for node in nodes)
    if outer.base not in (None, *_PLAIN_BASES) and outer.config is package.config:
        chunks = [chunk for code in package.codes.values() for chunk in code.chunks]
        for name in (one for one in _OF_TRANSFORMERS if one not in (*keys, *built)):
            if any(name in chunk.words for chunk in chunks):  # its own default, of which nothing is known
                yield name, Section(None, is_known=False)
    for name in dict.fromkeys([*keys, *built]):
        config = keys.get(name)
        made = [_builder(package, code, call, config, preset) for code, call in built.get(name, ())]
        # Of several calls, the one that gets most builds a section that is there, and the one that gets least another.
        ranks = [(one.is_open, bool(one.given)) for one in made]
        chosen = (max if config is not None else min)(ranks, default=None)
        made = [one for one, rank in zip(made, ranks, strict=True) if rank == chosen]
        if any(one != made[0] for one in made) or (not made and computed and name in texts):
            yield name, Section(config, is_known=False)
        elif made:
            yield name, made[0].section(package, config)
        elif not built.get(name) and config is not None and _is_left_to_transformers(outer, name, config):
            kind = config.get("model_type")
            yield name, Section(config, kind=kind, is_known=kind is not None)


def _is_left_to_transformers(outer: Section, name: str, config: Mapping[str, Any]) -> bool:
    """Whether a class of transformers makes a configuration of a section."""
    return outer.base not in _PLAIN_BASES and ("model_type" in config or name.endswith("_config"))


@dataclass(frozen=True)
class _Built:
    """What one call builds, as in Section; the arguments as text, so that two may be compared."""

    cls: Class | None = None
    base: str | None = None
    kind: str | None = None
    is_known: bool = True
    is_open: bool = True
    given: tuple[tuple[str, str], ...] = ()
    preset: frozenset[str] = frozenset()

    def section(self, package: Package, config: Mapping[str, Any] | None) -> Section:
        classes = package.lineage(self.cls) if self.cls is not None else ()
        given = {name: ast.parse(text, mode="eval").body for name, text in self.given}
        return Section(config, classes, self.base, self.kind, self.is_known, self.is_open, given, self.preset)


def _builder(
    package: Package, code: Code, call: ast.Call, config: Mapping[str, Any] | None, preset: frozenset[str]
) -> _Built:
    """What a call in a file builds out of a section."""
    function = call.func
    is_open = any(one.arg is None for one in call.keywords)
    given = tuple((one.arg, ast.unparse(one.value)) for one in call.keywords if one.arg is not None)
    if isinstance(function, ast.Attribute) and function.attr == "from_dict":
        function, is_open = function.value, True
    kind = _kind(call, config or {})
    if kind is not None:
        return _Built(kind=kind, is_open=is_open, given=given, preset=preset)
    name = ast.unparse(function)
    cls = package.class_of(code, cst.parse_expression(name)) if name.replace(".", "").isidentifier() else None
    if cls is not None:
        return _Built(cls, _base(package, cls), is_open=is_open, given=given, preset=preset)
    last = name.rpartition(".")[2]
    if _is_of_transformers(code, name.partition(".")[0]) and last.endswith("Config") and last != "AutoConfig":
        return _Built(base=last, is_open=is_open, given=given, preset=preset)
    return _Built(is_known=False, is_open=is_open)


def _is_of_transformers(code: Code, name: str) -> bool:
    """Whether a file imports a name from transformers, at its top level or in a function."""
    inside = (one for one in code.python_nodes(ast.ImportFrom, _IMPORTED) if one.module and not one.level)
    modules = [str(one.module) for one in inside if any((each.asname or each.name) == name for each in one.names)]
    return any(one.partition(".")[0] == "transformers" for one in [*modules, code.imports.get(name, "")])


def _kind(call: ast.Call, config: Mapping[str, Any]) -> str | None:
    """The model type by which `CONFIG_MAPPING[...]` or `AutoConfig.for_model` chooses a class."""
    function = call.func
    if isinstance(function, ast.Subscript) and "CONFIG_MAPPING" in ast.unparse(function.value):
        chosen: ast.expr | None = function.slice
    elif isinstance(function, ast.Attribute) and function.attr == "for_model":
        named = [one.value for one in call.keywords if one.arg == "model_type"]
        chosen = next(iter([*call.args[:1], *named]), None)
    else:
        return None
    kind = chosen.value if isinstance(chosen, ast.Constant) else config.get("model_type")
    return kind if isinstance(kind, str) else None


def _values(outer: Section) -> dict[str, list[tuple[Code, ast.Call]]]:
    """The calls whose results a class sets its attributes to, or returns as properties, by their names."""
    found = dict[str, list[tuple[Code, ast.Call]]]()
    for one, tree in outer.parsed:
        for function in tree.body:
            if isinstance(function, ast.Assign):  # `text_config = property(lambda self: ...)`
                made = [node.body for node in ast.walk(function.value) if isinstance(node, ast.Lambda)]
                bound = {f"self.{ast.unparse(target)}": made for target in function.targets}
            elif isinstance(function, ast.FunctionDef):
                bound = _bound(function)
            else:
                continue
            decorators = function.decorator_list if isinstance(function, ast.FunctionDef) else []
            if any(ast.unparse(each).endswith("property") for each in decorators):
                returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
                bound[f"self.{getattr(function, 'name', '')}"] = [value for value in returned if value is not None]
            for target, values in bound.items():
                calls = [call for value in values for call in _calls(value, bound, set())]
                if target.startswith("self.") and calls:
                    found.setdefault(target.removeprefix("self."), []).extend((one.code, call) for call in calls)
    return found


def _made(package: Package) -> Iterator[tuple[str, Section]]:
    """The configurations that code makes of arguments of its own, by the name of their class."""
    for code in package.codes.values():
        for call in code.python_nodes(ast.Call, _MADE):
            name = ast.unparse(call.func).rpartition(".")[2]
            built = (
                _builder(package, code, call, None, frozenset()) if name.endswith("Config") else _Built(is_known=False)
            )
            if built.is_known and not built.is_open:
                yield name, built.section(package, None)


def _unpacked(package: Package) -> dict[str, list[tuple[Code, ast.Call]]]:
    """The calls that make a configuration out of an attribute, `TextConfig(**config.text_config)`, by its name."""
    found = dict[str, list[tuple[Code, ast.Call]]]()
    for code in package.codes.values():
        for call in code.python_nodes(ast.Call, _UNPACKED):
            values = [one.value for one in call.keywords if one.arg is None]
            for value in values if "Config" in ast.unparse(call.func) else ():
                if isinstance(value, ast.Attribute):
                    found.setdefault(value.attr, []).append((code, call))
    return found


def _bound(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    """What a function assigns, by the text of the target."""
    found = dict[str, list[ast.expr]]()
    for node in ast.walk(function):
        for target, value in assigned_pairs(node):
            if value is not None:
                found.setdefault(ast.unparse(target), []).append(value)
    return found


def assigned_pairs(node: Any, *loops: type[ast.AST]) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """The targets of an assignment with their values, item by item where both are tuples.

    Also those of these kinds of `loops`, with what they iterate over.
    """
    with_one: tuple[type[Any], ...] = (ast.AnnAssign, ast.NamedExpr, *loops)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, with_one) else []
    value = getattr(node, "value", getattr(node, "iter", None))
    for target in targets:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            yield from zip(target.elts, value.elts, strict=False)
        else:
            yield target, value


def _calls(value: ast.expr, bound: Mapping[str, list[ast.expr]], seen: set[str]) -> Iterator[ast.Call]:
    """The calls of which an expression may be the result, but for copies of plain mappings."""
    if isinstance(value, ast.IfExp):
        parts = [value.body, value.orelse]
    elif isinstance(value, ast.BoolOp):
        parts = value.values
    elif isinstance(value, (ast.Name, ast.Attribute)):
        text = ast.unparse(value)
        parts = bound.get(text, []) if text not in seen else []
        seen.add(text)
    elif isinstance(value, ast.Call):
        last = ast.unparse(value.func).rpartition(".")[2]
        if last not in (*_COPIES, *_NO_CONFIGURATIONS):
            yield value
        parts = value.args if last in _COPIES else []
    else:
        parts = [value.value] if isinstance(value, ast.NamedExpr) else []
    for part in parts:
        yield from _calls(part, bound, seen)


def _preset(node: ast.AST) -> list[str]:
    """The keys that a node sets in a mapping other than the keyword arguments of a constructor."""
    if isinstance(node, ast.Dict):
        return [str(key.value) for key in node.keys if isinstance(key, ast.Constant)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict":
        return [one.arg for one in node.keywords if one.arg is not None]
    owner = node.value if isinstance(node, ast.Subscript) else getattr(getattr(node, "func", None), "value", None)
    key = sets_key(node)
    return [key] if key is not None and not (isinstance(owner, ast.Name) and owner.id == "kwargs") else []


def _sets_computed(node: ast.AST) -> bool:
    """Whether a node sets an attribute whose name it does not say."""
    is_setattr = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr"
    return is_setattr and isinstance(node, ast.Call) and not isinstance(node.args[1], ast.Constant)
