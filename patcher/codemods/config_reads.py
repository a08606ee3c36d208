"""Finds which attributes of its configuration a model's code reads, under whatever name it keeps the configuration."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from patcher.codemods.code import Code
from patcher.codemods.config_sections import TOP, Path, Section, assigned_pairs

_CONFIG = re.compile(r"(?<!generation_)(conf|cfg)", re.IGNORECASE)
_ANNOTATED = re.compile(r"Config\b")
_COPIES = ("vars", "dict", "copy", "deepcopy", "asdict", "cast", "getattr", "get", "pop", "SimpleNamespace")
_READERS = ("getattr", "hasattr")
_TIED = "_tied_weights_keys"
_TEXT_CONFIGS = ("text_encoder", "decoder", "generator", "text_config")  # those of transformers' get_text_config
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


def read_attributes(
    codes: Iterable[Code], wanted: Collection[str], places: Mapping[Path, Section]
) -> dict[Path, dict[str, Read]]:
    """The attributes of `wanted` that the code reads from each configuration, each with the first place.

    An expression is taken for a configuration where its last name says so (`config`, `self.cfg`), where it was
    assigned or passed one, or where it is the argument of a model class. It may be one that is not: too many reads
    cost a key of config.json, and one too few a wrong model. Names are joined over all files: one that is the
    outermost configuration in one place and a section in another is both in all.
    """
    words = {*wanted, _TIED}
    here = [code for code in codes if any(not chunk.words.isdisjoint(words) for chunk in code.chunks)]
    found: dict[Path, dict[str, Read]] = {path: {} for path in places}
    if not here:
        return found
    trees = {code.path: ast.Module([item for chunk in code.chunks for item in chunk.statements], []) for code in codes}
    names = _Names.of(list(trees.values()), places)
    by_name = frozenset(path for tree in trees.values() for node in ast.walk(tree) for path in _by_name(node, names))
    for code in here:
        named = _named(trees[code.path], wanted) if by_name else ()
        reads = [*_reads(trees[code.path], names, wanted), *((name, line, by_name) for name, line in named)]
        for chunk in code.chunks:  # whose trees are LibCST's alone
            newer = chunk.words.intersection(wanted) if chunk.newer_syntax else ()
            reads += [(name, chunk.above + 1, frozenset(places)) for name in newer]
        for name, line, paths in reads:
            for path in paths:
                found[path].setdefault(name, Read(code.path, line))
    return found


@dataclass
class _Names:
    """The last names of expressions that are a configuration: of variables, attributes and parameters."""

    places: Mapping[Path, Section]
    aliases: dict[str, set[Path]] = field(default_factory=dict)

    @classmethod
    def of(cls, trees: Iterable[ast.Module], places: Mapping[Path, Section]) -> _Names:
        nodes = [node for tree in trees for node in ast.walk(tree)]
        functions = dict[str, list[list[ast.arg]]]()
        classes = [node for node in nodes if isinstance(node, ast.ClassDef) and _is_configuration(node)]
        own = {id(one) for each in classes for one in each.body}  # which no `super().__init__(config)` calls
        for node in nodes:
            if isinstance(node, _Function) and not (node.name == "__init__" and id(node) in own):
                functions.setdefault(node.name, []).append([*node.args.posonlyargs, *node.args.args])
            elif isinstance(node, ast.ClassDef):
                inits = [one for one in node.body if isinstance(one, _Function) and one.name == "__init__"]
                functions.setdefault(node.name, []).extend([*one.args.posonlyargs, *one.args.args] for one in inits)
        names = cls(places, {name: {TOP} for name in _arguments_of_models(nodes)})
        before = -1
        while before != (before := sum(map(len, names.aliases.values()))):
            for node in nodes:
                pairs = [*names.assigned(node)]
                pairs += names.passed(node, functions) if isinstance(node, ast.Call) else ()
                for name, paths in pairs:
                    names.aliases.setdefault(name, set()).update(paths)
        return names

    @cached_property
    def classes(self) -> Mapping[str, frozenset[Path]]:
        """The configurations that are of each class, by its name."""
        pairs = [(one.name, path) for path, place in self.places.items() for one in place.classes]
        pairs += [(path[0].removesuffix("()"), path) for path in self.places if path[0:1] and path[0].endswith("()")]
        return {name: frozenset(path for other, path in pairs if other == name) for name, _ in pairs}

    def named(self, name: str) -> frozenset[Path]:
        """The configurations that an expression of this last name may be."""
        found = frozenset(self.aliases.get(name, ())) | self.classes.get(name, frozenset())
        if name in self.classes or _CONFIG.search(name) is None:
            return found
        return found | (frozenset(path for path in self.places if path[-1:] == (name,)) or {TOP})

    def attribute(self, owners: frozenset[Path], name: str) -> frozenset[Path]:
        """The sections that configurations have under a name; where they have none, what the name alone says."""
        return frozenset(path for owner in owners if (path := (*owner, name)) in self.places)

    def paths(self, node: ast.expr | None) -> frozenset[Path]:
        """The configurations that an expression may be, or be a mapping made of; none for anything else."""
        if isinstance(node, ast.Name):
            return self.named(node.id)
        if isinstance(node, ast.Attribute):
            owners = self.paths(node.value)
            found = self.attribute(owners, node.attr) or self.named(node.attr)
            return found | owners if node.attr == "__dict__" else found
        if isinstance(node, ast.Call):
            return self._paths_of_call(node)
        found = frozenset(path for one in _parts(node) for path in self.paths(one))
        keys = _texts([node.slice]) if isinstance(node, ast.Subscript) else []
        return next((inner for key in keys if (inner := self.attribute(found, key))), found)

    def _paths_of_call(self, node: ast.Call) -> frozenset[Path]:
        copies = _last(node.func) in _COPIES
        values = [*node.args, *(one.value for one in node.keywords)] if copies else []
        named = [self.named(key) for key in _texts(node.args[:2])] if copies else []
        owner = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        if _last(node.func) == "get_text_config" and (owners := self.paths(owner)):
            texts = frozenset(path for name in _TEXT_CONFIGS for path in self.attribute(owners, name))
            return texts | owners if not texts or node.args or node.keywords else texts
        about = self.paths(node.args[0]) if _last(node.func) == "getattr" and node.args else self.paths(owner)
        inner = [self.attribute(about, key) for key in _texts(node.args[:2])] if copies else []
        built = [self.paths(one.value) for one in node.keywords if one.arg is None]
        if any(inner) or (any(built) and (_last(node.func) or "").endswith("Config")):
            return frozenset[Path]().union(*inner, *built)
        values = values[:1] + [one for one in node.args if isinstance(one, ast.Call)]  # `Namespace(config.to_dict())`
        return frozenset[Path]().union(*named, *map(self.paths, [node.func, owner, *values]))

    def assigned(self, node: ast.AST) -> Iterator[tuple[str, frozenset[Path]]]:
        """The names that a statement gives a configuration, and that of a function which returns it."""
        if isinstance(node, _Function):
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            yield from [(node.name, found)] if (found := frozenset[Path]().union(*map(self.paths, returned))) else []
        pairs = assigned_pairs(node, ast.For, ast.comprehension)
        named = [(name, self.paths(value)) for target, value in pairs if (name := _last(target))]
        # A script beside a model makes a `config` of its own; the model's is another one.
        yield from ((name, found) for name, found in named if found and not (name == "config" and _is_made(found)))

    def passed(
        self, call: ast.Call, functions: Mapping[str, list[list[ast.arg]]]
    ) -> Iterator[tuple[str, frozenset[Path]]]:
        """The parameters that a call gives a configuration, also one of `partial` or `map`."""
        yield from ((one.arg, found) for one in call.keywords if one.arg and (found := self.paths(one.value)))
        function, values = call.func, call.args
        if values and _last(function) not in functions and _last(values[0]) in functions:
            function, values = values[0], values[1:]
        given = [(index, found) for index, one in enumerate(values) if (found := self.paths(one))]
        for parameters in functions.get(_last(function) or "", []) if given else ():
            skipped = bool(parameters) and parameters[0].arg in ("self", "cls")
            places = [(index + skipped, found) for index, found in given]
            yield from ((parameters[at].arg, found) for at, found in places if at < len(parameters))


def _is_made(paths: frozenset[Path]) -> bool:
    return any(path[-1:] and path[-1].endswith("()") for path in paths)


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


def _reads(tree: ast.Module, names: _Names, wanted: Collection[str]) -> Iterator[tuple[str, int, frozenset[Path]]]:
    """The attributes of configurations that one file reads, with their lines and the paths of the configurations."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _is_configuration(node)]
    own = {id(node): cls.name for cls in classes for node in ast.walk(cls)}

    def paths(node: ast.expr) -> frozenset[Path]:
        is_self = id(node) in own and ast.unparse(node) in ("self", "super()", "self.__dict__")
        return names.paths(node) | (names.classes.get(own[id(node)], frozenset({TOP})) if is_self else frozenset())

    for node in ast.walk(tree):
        found: list[str] = []
        about: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict) and _is_tied(node):
            found, about = ["tie_word_embeddings"], [ast.Name("config")]  # 5 ties by the mapping where that says so
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found, about = [node.attr], [node.value]
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
            found, about = [node.target.attr], [node.target.value]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            found, about = _texts([node.slice]), [node.value]
        elif isinstance(node, ast.Compare):
            found, about = _texts([node.left]), node.comparators
        elif isinstance(node, ast.Call) and _last(node.func) == "attrgetter":
            yield from ((name, node.lineno, frozenset(names.places)) for name in _texts(node.args) if name in wanted)
        elif isinstance(node, ast.Call) and _last(node.func) in _READERS:
            about = node.args[:1]
            is_constant = all(isinstance(one, ast.Constant) for one in node.args[1:2])
            found = _texts(node.args[1:2] if is_constant or not (about and paths(about[0])) else ast.walk(tree))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found, about = _texts(node.args[:1]), [node.func.value]
        if names_read := [name for name in found if name in wanted]:
            where = frozenset[Path]().union(*map(paths, about))
            yield from ((name, getattr(node, "lineno", 0), where) for name in names_read)


def _is_tied(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(one, ast.Name) and one.id == _TIED for one in targets)


def _by_name(node: ast.AST, names: _Names) -> frozenset[Path]:
    """The configurations that code reads by names that stand anywhere: from a mapping, by `getattr` as a value."""
    every = frozenset(names.places)
    if isinstance(node, ast.Match):
        return names.paths(node.subject)
    if isinstance(node, ast.Call):
        if any(_last(one) == "getattr" for one in node.args):
            return every
        return frozenset[Path]().union(*map(names.paths, node.args if _last(node.func) in _MAPPINGS else ()))
    if isinstance(node, ast.Attribute):
        return names.paths(node.value) if node.attr in _MAPPINGS else frozenset()
    return every if isinstance(node, ast.Assign) and _last(node.value) == "getattr" else frozenset()


def _named(tree: ast.Module, wanted: Collection[str]) -> Iterator[tuple[str, int]]:
    """The strings, parameters and keywords of a file that are names of attributes, with their lines."""
    for node in ast.walk(tree):
        found = [*_texts([node]), getattr(node, "arg", None), *getattr(node, "kwd_attrs", ())]
        yield from ((name, getattr(node, "lineno", 0)) for name in found if name in wanted)


def _is_configuration(node: ast.ClassDef) -> bool:
    sets = any(isinstance(one, ast.Assign) and _last(one.targets[0]) == "model_type" for one in node.body)
    return sets or any((_last(one) or "").endswith("Config") for one in node.bases)


def _texts(nodes: Iterable[ast.AST]) -> list[str]:
    return [str(node.value) for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _last(node: ast.AST) -> str | None:
    """`init` for `init` and for `torch.nn.init`; None for what is no name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
