"""Finds which attributes of its configuration a model's code reads, under whatever name it keeps the configuration."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from patcher.codemods.code import Code

_CONFIG = re.compile(r"(?<!generation_)(conf|cfg)", re.IGNORECASE)
_ANNOTATED = re.compile(r"Config\b")
_COPIES = ("vars", "dict", "copy", "deepcopy", "asdict", "cast", "getattr", "get", "pop", "SimpleNamespace")
_READERS = ("getattr", "hasattr", "attrgetter")
# Where code makes a mapping of a configuration or reads it by these, each string and parameter may name an attribute.
_MAPPINGS = {
    "vars",
    "__dict__",
    "__getattribute__",
    "to_dict",
    "to_diff_dict",
    "to_json_string",
    "asdict",
    "getmembers",
}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Read:
    """Where an attribute is read first: the file and the line, from 1."""

    path: str
    line: int


def read_attributes(codes: Iterable[Code], wanted: Collection[str]) -> dict[str, Read]:
    """The attributes of `wanted` that the code reads from its configuration, each with the first place.

    An expression is taken for the configuration where its last name says so (`config`, `self.cfg`), where it was
    assigned or passed one, or where it is the argument of a model class. It may be one that is not: too many reads
    cost a key of config.json, and one too few a wrong model.
    """
    here = [code for code in codes if any(not chunk.words.isdisjoint(wanted) for chunk in code.chunks)]
    if not here:
        return {}
    trees = {code.path: ast.Module([item for chunk in code.chunks for item in chunk.statements], []) for code in codes}
    names = _Names.of(list(trees.values()))
    found: dict[str, Read] = {}
    by_name = any(_is_by_name(node, names) for tree in trees.values() for node in ast.walk(tree))
    for code in here:
        named = _named(trees[code.path], wanted) if by_name else ()
        for name, line in [*_reads(trees[code.path], names, wanted), *named]:
            found.setdefault(name, Read(code.path, line))
        for chunk in code.chunks:  # whose trees are LibCST's alone
            for name in chunk.words.intersection(wanted) if chunk.newer_syntax else ():
                found.setdefault(name, Read(code.path, chunk.above + 1))
    return found


@dataclass
class _Names:
    """The last names of expressions that are a configuration: of variables, attributes and parameters."""

    aliases: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, trees: Iterable[ast.Module]) -> _Names:
        nodes = [node for tree in trees for node in ast.walk(tree)]
        functions = dict[str, list[list[ast.arg]]]()
        for node in nodes:
            if isinstance(node, _Function):
                functions.setdefault(node.name, []).append([*node.args.posonlyargs, *node.args.args])
            elif isinstance(node, ast.ClassDef):
                inits = [one for one in node.body if isinstance(one, _Function) and one.name == "__init__"]
                functions.setdefault(node.name, []).extend([*one.args.posonlyargs, *one.args.args] for one in inits)
        names = cls(_arguments_of_models(nodes))
        before = -1
        while before != len(names.aliases):
            before = len(names.aliases)
            for node in nodes:
                names.aliases.update(names.assigned(node))
                if isinstance(node, ast.Call):
                    names.aliases.update(names.passed(node, functions))
        return names

    def named(self, name: str) -> bool:
        return name in self.aliases or _CONFIG.search(name) is not None

    def is_config(self, node: ast.expr | None) -> bool:
        """Whether an expression is the configuration, or a mapping made of it."""
        if isinstance(node, ast.Name):
            return self.named(node.id)
        if isinstance(node, ast.Attribute):
            return self.named(node.attr) or (node.attr == "__dict__" and self.is_config(node.value))
        if isinstance(node, ast.Call):
            copies = _last(node.func) in _COPIES
            values = [*node.args, *(one.value for one in node.keywords)] if copies else []
            named = any(isinstance(one, ast.Constant) and self.named(str(one.value)) for one in node.args[:2])
            owner = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            values += [one for one in node.args if isinstance(one, ast.Call)]  # `Namespace(config.to_dict())`
            return (copies and named) or any(map(self.is_config, [node.func, owner, *values[:1]]))
        return any(self.is_config(one) for one in _parts(node))

    def assigned(self, node: ast.AST) -> Iterator[str]:
        """The names that a statement gives the configuration, and that of a function which returns it."""
        if isinstance(node, _Function):
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            yield from [node.name] if any(map(self.is_config, returned)) else []
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.For, ast.comprehension)):
            targets = [node.target]
        value = getattr(node, "value", getattr(node, "iter", None)) if targets else None
        for target in targets:
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=False))
            yield from (name for one, other in pairs if self.is_config(other) and (name := _last(one)))

    def passed(self, call: ast.Call, functions: Mapping[str, list[list[ast.arg]]]) -> Iterator[str]:
        """The parameters that a call gives the configuration, also one of `partial` or `map`."""
        yield from (one.arg for one in call.keywords if one.arg and self.is_config(one.value))
        function, values = call.func, call.args
        if values and _last(function) not in functions and _last(values[0]) in functions:
            function, values = values[0], values[1:]
        given = [index for index, one in enumerate(values) if self.is_config(one)]
        for parameters in functions.get(_last(function) or "", []) if given else ():
            skipped = bool(parameters) and parameters[0].arg in ("self", "cls")
            yield from (parameters[index + skipped].arg for index in given if index + skipped < len(parameters))


def _parts(node: ast.expr | None) -> Iterator[ast.expr]:
    """The expressions of which another one may be, or hold, the value."""
    if isinstance(node, ast.Dict):
        yield from (value for key, value in zip(node.keys, node.values, strict=True) if key is None)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.DictComp):
        yield from (one.iter for one in node.generators)
    elif isinstance(node, (ast.NamedExpr, ast.Starred, ast.Subscript)):
        yield node.value
    elif isinstance(node, (ast.BoolOp, ast.BinOp, ast.List, ast.Tuple)):
        yield from (one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr))


def _arguments_of_models(nodes: Iterable[ast.AST]) -> set[str]:
    """The parameters that are a configuration by what stands beside them: an annotation, or a model's `__init__`."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.arg) and node.annotation and _ANNOTATED.search(ast.unparse(node.annotation)):
            found.add(node.arg)
        if isinstance(node, ast.ClassDef) and any(_last(base) == "PreTrainedModel" for base in node.bases):
            inits = [one for one in node.body if isinstance(one, _Function) and one.name == "__init__"]
            found.update(one.args.args[1].arg for one in inits if len(one.args.args) > 1)
    return found


def _reads(tree: ast.Module, names: _Names, wanted: Collection[str]) -> Iterator[tuple[str, int]]:
    """The attributes of a configuration that one file reads, with their lines."""
    own = {id(node) for cls in ast.walk(tree) if _is_configuration(cls) for node in ast.walk(cls)}

    def is_config(node: ast.expr) -> bool:
        is_self = id(node) in own and ast.unparse(node) in ("self", "super()", "self.__dict__")
        return is_self or names.is_config(node)

    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found = [node.attr] if is_config(node.value) else []
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
            found = [node.target.attr] if is_config(node.target.value) else []
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            found = _texts([node.slice]) if is_config(node.value) else []
        elif isinstance(node, ast.Compare):
            found = _texts([node.left]) if any(map(is_config, node.comparators)) else []
        elif isinstance(node, ast.Call) and _last(node.func) in _READERS:
            about = node.args[:1] if _last(node.func) != "attrgetter" else []
            names_given = node.args[1:2] if about else node.args
            found = _texts(names_given) if not about or is_config(about[0]) else []
            if about and is_config(about[0]) and not all(isinstance(one, ast.Constant) for one in names_given):
                found = _texts(list(ast.walk(tree)))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_config(node.func.value):
            found = _texts(node.args[:1])
        else:
            continue
        yield from ((name, line) for name in found if name in wanted)


def _is_by_name(node: ast.AST, names: _Names) -> bool:
    """Whether code reads a configuration by names that stand anywhere: from a mapping, by `getattr` as a value."""
    if isinstance(node, ast.Match):
        return names.is_config(node.subject)
    if isinstance(node, ast.Call):
        is_mapping = _last(node.func) in _MAPPINGS and any(map(names.is_config, node.args))
        return is_mapping or any(_last(one) == "getattr" for one in node.args)
    if isinstance(node, ast.Attribute):
        return node.attr in _MAPPINGS and names.is_config(node.value)
    return isinstance(node, ast.Assign) and _last(node.value) == "getattr"


def _named(tree: ast.Module, wanted: Collection[str]) -> Iterator[tuple[str, int]]:
    """The strings, parameters and keywords of a file that are names of attributes, with their lines."""
    for node in ast.walk(tree):
        found = [*_texts([node]), getattr(node, "arg", None), *getattr(node, "kwd_attrs", ())]
        yield from ((name, getattr(node, "lineno", 0)) for name in found if name in wanted)


def _is_configuration(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef):
        return False
    sets = any(isinstance(one, ast.Assign) and _last(one.targets[0]) == "model_type" for one in node.body)
    return sets or any((_last(one) or "").endswith("Config") for one in node.bases)


def _texts(nodes: Iterable[ast.AST]) -> list[str]:
    return [str(node.value) for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _last(node: ast.AST) -> str | None:
    """`init` for `init` and for `torch.nn.init`; None for what is no name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
