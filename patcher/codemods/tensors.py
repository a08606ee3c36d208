"""Tells whether code may compute tensors while it builds a model, other than parameters and buffers of a checkpoint.

It answers generously: a repair that has nothing to restore is harmless, a missing one is not.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from patcher.codemods.chunks import bindings_of
from patcher.codemods.code import Code

_DEF, _IMPORT = re.compile(r"\bdef\s"), re.compile(r"\bimport\b")
# transformers calls these, and Python each `__method__`; what else runs while a model is built is named by them, or by
# what they name.
_ENTRIES = ("_init_weights", "post_init", "init_weights")
_SPECIAL = re.compile(r"__\w+__")
# What their arguments become is a parameter, or the new value of one.
_PARAMETERS = ("Parameter", "ParameterList", "ParameterDict", "register_parameter")
_BUFFERS = ("register_buffer", "Buffer")
_SET, _REGISTERS = re.compile(r"self\.\w+\s*="), re.compile(r"\bregister_buffer\b|Buffer\b")
# Calls that give no tensor, or whose result is known of a parameter without memory.
_NUMBERS = ("size", "numel", "dim", "len", "isinstance", "hasattr", "item", "tolist")
_OF_PARAMETER: ast.expr = ast.Call(ast.Name("parameters"), [], [])  # stands for what needs a parameter
_Local = Mapping[str, Sequence[ast.expr]]
_FROM_TENSOR = re.compile(r"new_\w+|\w+_like|arange|zeros|ones|full|tensor|linspace|to|clone|detach")
# Names below `torch` whose calls make no tensor.
_NO_TENSOR = re.compile(
    r"torch\.(nn|jit|cuda|backends|distributed|autograd|utils|compile|device|dtype|Size|Generator|manual_seed|finfo|iinfo"
    r"|no_grad|(is|get|set)_\w+)(\..*)?"
)
_MAKER = re.compile(r"torch\.(arange|as_tensor|empty|eye|from_numpy|full|linspace|logspace|ones|rand\w*|tensor|zeros)")
_MAY_LACK = {"_keys_to_ignore_on_save", "_keys_to_ignore_on_load_missing"}
_OUTSIDE = re.compile(r"[A-Z]\w*")
_KNOWN_PACKAGES = {"torch", "numpy", "transformers", *sys.stdlib_module_names}
_OF_TRANSFORMERS = re.compile(r"transformers\.(.*\.)?[A-Z]\w*(?<!Config)(?<!Mixin)(?<!Output)(?<!PreTrainedModel)")
_POSITIONS = re.compile(r"rotary|rope|position|sinus|alibi", re.IGNORECASE)


def computes_tensors(codes: Sequence[Code]) -> bool:
    """Whether building a class of these files may compute a tensor that no checkpoint holds."""
    if any(chunk.newer_syntax and "torch" in chunk.words for code in codes for chunk in code.chunks):
        return True
    if any(_imports_positions(code) for code in codes):
        return True
    imports = {code.path: _imports(code) for code in codes}
    saved = _saved(codes)
    defined = _defined(codes)
    special = {name for name in defined if _SPECIAL.fullmatch(name)}
    functions = _reachable(defined, {*_ENTRIES, *special}, lambda node: node)
    return any(
        _makes_tensor(node, imports[code.path]) or _needs_saved(node, saved)
        for code, function in functions
        for node in _walk(function)
    )


def _saved(codes: Sequence[Code]) -> set[str] | None:
    """The names of the buffers that a checkpoint holds; None where it may lack some of them, or a name is not known."""
    if any(not chunk.words.isdisjoint(_MAY_LACK) for code in codes for chunk in code.chunks):
        return None
    calls = [node for code in codes for node in code.python_nodes(ast.Call, _REGISTERS) if _is_saved(node)]
    registers = [node for node in calls if _name(node.func) == "register_buffer"]
    given = [[*node.args[:1], *(one.value for one in node.keywords if one.arg == "name")] for node in registers]
    first = [one for values in given for one in values[:1]]
    assigned = [node for code in codes for node in code.python_nodes(ast.Assign, _SET) if node.value in calls]
    names = [one.value if isinstance(one, ast.Constant) else None for one in first]
    names += [_name(one) for node in assigned for one in node.targets]
    return {str(name) for name in names} if len(names) == len(calls) and None not in names else None


def _needs_saved(node: ast.AST, saved: set[str] | None) -> bool:
    """Whether a node reads a buffer that a checkpoint holds, which has no value yet, or registers one it may lack."""
    if saved is None:
        return isinstance(node, ast.Call) and _is_saved(node)
    return isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in saved


def from_parameter(codes: Sequence[Code]) -> tuple[Code, ast.expr] | None:
    """A tensor that no checkpoint holds and that `__init__` makes from a parameter, or on the device of one; or None.

    A parameter has no memory while transformers builds a model, on 4.57 neither.
    """
    is_name = (ast.Name, ast.Attribute)
    reached = _reachable(_defined(codes), ("__init__",), lambda node: node if isinstance(node, is_name) else None)
    functions = [(code, one) for code, one in reached if isinstance(one, ast.FunctionDef)]
    needs = _Needs(_parameters(codes), {one.name: one for _, one in functions if not _SPECIAL.fullmatch(one.name)})
    before = -1
    while before != len(needs.arguments) + len(needs.results):
        before = len(needs.arguments) + len(needs.results)
        for _, function in (*functions, *reversed(functions)):  # of chains of calls, either direction in one turn
            needs.follow(function)
    for code, function in functions:
        local = needs.local(function)
        for value in _kept(function, needs, local):
            if needs.reads(value, local):
                return code, value
    return None


def _parameters(codes: Sequence[Code]) -> set[str | None]:
    """The attributes that are parameters wherever these files set them."""
    assigns = [node for code in codes for node in code.python_nodes(ast.Assign, _SET)]
    pairs = [(_name(one), _calls(node.value, _PARAMETERS)) for node in assigns for one in node.targets]
    others = {name for name, is_parameter in pairs if not is_parameter}
    calls = [node for code in codes for node in code.python_nodes(ast.Call, _REGISTERS) if _calls(node, _BUFFERS)]
    buffers = {one.value for node in calls for one in node.args if isinstance(one, ast.Constant)}
    of_model = {"self.device"} if "device" not in others else set()
    return (({name for name, _ in pairs} - others) | {"weight", "bias"} | of_model) - buffers


def _kept(function: ast.FunctionDef, needs: _Needs, local: _Local) -> Iterator[ast.expr]:
    """The values that a function registers as buffers that no checkpoint holds, or makes attributes."""
    for node in _walk(function):
        if _calls(node, _BUFFERS) and not _is_saved(node):
            yield from (*node.args, *(one.value for one in node.keywords))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            parts = (part for target in _targets(node) for part in _items(target))
            if any(isinstance(part, ast.Attribute) for part in parts) and needs.makes(node.value, local):
                yield node.value


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _items(target: ast.expr) -> list[ast.expr]:
    return target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]


@dataclass
class _Needs:
    """Which values need those of a parameter, or its device, in the functions that build a model.

    `arguments` are pairs of a function and its argument, `results` functions whose result does; both grow.
    """

    parameters: set[str | None]
    functions: Mapping[str | None, ast.FunctionDef]
    arguments: set[tuple[str, str]] = field(default_factory=set)
    results: set[str | None] = field(default_factory=set)

    def local(self, function: ast.FunctionDef) -> _Local:
        """The values of the names of a function."""
        found: dict[str, list[ast.expr]] = {
            one.arg: [_OF_PARAMETER]
            for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
            if (function.name, one.arg) in self.arguments
        }
        for node in ast.walk(function):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                names = [one.id for each in _targets(node) for one in _items(each) if isinstance(one, ast.Name)]
                for name in names:
                    found.setdefault(name, []).append(node.value)
        return found

    def follow(self, function: ast.FunctionDef) -> None:
        """Note what the calls of a function pass, and whether its own result needs a parameter."""
        local = self.local(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None and self.reads(node.value, local):
                self.results.add(function.name)
            called = self.functions.get(_name(node.func)) if isinstance(node, ast.Call) else None
            if called is None or not isinstance(node, ast.Call):
                continue
            names = [one.arg for one in (*called.args.posonlyargs, *called.args.args)]
            given = [*zip(names[names[:1] in (["self"], ["cls"]) :], node.args, strict=False)]
            for name, value in [*given, *((one.arg, one.value) for one in node.keywords)]:
                if name is not None and self.reads(value, local):
                    self.arguments.add((called.name, name))

    def reads(self, node: ast.AST, local: _Local, seen: set[int] | None = None) -> bool:
        """Whether an expression needs the values or the device of a parameter; its shape and dtype are known.

        `seen` are the values of names that were looked at before.
        """
        seen = set() if seen is None else seen
        if isinstance(node, ast.Name) and node.id in local:
            return any(self.reads(one, local, seen) for one in _unseen(local[node.id], seen))
        if _name(node) in ("shape", "dtype", "ndim") or _calls(node, (*_NUMBERS, *_PARAMETERS)):
            return False
        if isinstance(node, ast.Call) and _name(node.func) in self.functions:
            return _name(node.func) in self.results
        if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp)):
            items = {one.target.id: [one.iter] for one in node.generators if isinstance(one.target, ast.Name)}
            return self.reads(node.elt, {**local, **items}, {*seen})
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("self."):
            known = node.attr in self.results or not self.parameters.isdisjoint((node.attr, ast.unparse(node)))
            return known or self.reads(node.value, local, seen)
        return _calls(node, ("parameters",)) or any(self.reads(one, local, seen) for one in ast.iter_child_nodes(node))

    def makes(self, node: ast.expr, local: _Local, seen: set[int] | None = None) -> bool:
        """Whether an expression may be a new tensor, rather than the parameter itself, a number or a module."""
        seen = set() if seen is None else seen
        if isinstance(node, ast.Name) and node.id in local:
            return any(self.makes(one, local, seen) for one in _unseen(local[node.id], seen))
        if isinstance(node, (ast.Tuple, ast.List)):
            return any(self.makes(one, local, seen) for one in node.elts)
        name = _name(node.func) or "" if isinstance(node, ast.Call) else ""
        return isinstance(node, ast.BinOp) or name in self.functions or _FROM_TENSOR.fullmatch(name) is not None


def _unseen(values: Sequence[ast.expr], seen: set[int]) -> Sequence[ast.expr]:
    """The values of a name the first time that they are asked for, and nothing after that."""
    is_new = id(values) not in seen
    seen.add(id(values))
    return values if is_new else ()


def _calls(node: ast.AST, names: Collection[str] | None = None) -> TypeGuard[ast.Call]:
    """Whether a node is a call, of one of these names if any are given."""
    return isinstance(node, ast.Call) and (names is None or _name(node.func) in names)


_Defined = Mapping[str, Sequence[tuple[Code, ast.FunctionDef | ast.expr]]]


def _defined(codes: Sequence[Code]) -> _Defined:
    """The functions and values of all files by name, with their files."""
    found: dict[str, list[tuple[Code, ast.FunctionDef | ast.expr]]] = {}
    for code in codes:
        for name, node in _definitions(code):
            found.setdefault(name, []).append((code, node))
    return found


def _reachable(
    defined: _Defined, entries: Iterable[str], refers: Callable[[ast.AST], ast.AST | None]
) -> Iterator[tuple[Code, ast.FunctionDef | ast.expr]]:
    """The functions and values of these names, and those whose names their nodes refer to, with their files."""
    waiting, seen = list(entries), set[str]()
    while waiting:
        name = waiting.pop()
        for code, function in defined.get(name, ()) if name not in seen else ():
            yield code, function
            found = (_name(other) for node in _walk(function) if (other := refers(node)) is not None)
            waiting += {one for one in found if one is not None and one in defined}
        seen.add(name)


def _definitions(code: Code) -> Iterator[tuple[str, ast.FunctionDef | ast.expr]]:
    """The functions of a file, the values that are assigned outside of functions, and the bases of classes, by name."""
    yield from ((function.name, function) for function in code.python_nodes(ast.FunctionDef, _DEF))
    waiting: list[ast.AST] = [item for chunk in code.chunks for item in chunk.statements]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {_name(part) for one in targets for part in ast.walk(one)}
            yield from ((name, node.value) for name in names if name is not None)
        elif isinstance(node, ast.ClassDef):
            yield from ((node.name, ast.Call(base, [], [])) for base in node.bases)
            made = (item.value for item in node.body if isinstance(item, ast.AnnAssign) and item.value is not None)
            yield from ((node.name, value) for value in made if _calls(value, ("field",)))  # of a dataclass
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def _walk(function: ast.FunctionDef | ast.expr) -> Iterator[ast.AST]:
    """The nodes of a function, without arguments of parameters and of buffers that a checkpoint holds."""
    waiting: list[ast.AST] = [ast.Expr(function)] if isinstance(function, ast.expr) else [*function.body, function.args]
    waiting += [] if isinstance(function, ast.expr) else function.decorator_list
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.Call) or not (_name(node.func) in _PARAMETERS or _is_saved(node)):
            waiting += ast.iter_child_nodes(node)


def _is_saved(node: ast.Call) -> bool:
    """Whether a call is `self.register_buffer(name, value)` or `Buffer(value)`, and not with False for `persistent`."""
    if _name(node.func) not in _BUFFERS:
        return False
    first = 2 if _name(node.func) == "register_buffer" else 1
    persistent = [
        *node.args[first:],
        *(one.value for one in node.keywords if one.arg not in ("name", "tensor", "data")),
    ]
    starred = any(isinstance(one, ast.Starred) for one in node.args)
    return not starred and all(isinstance(one, ast.Constant) and one.value is True for one in persistent)


def _makes_tensor(node: ast.AST, imports: Mapping[str, str]) -> bool:
    if _name(node) in _BUFFERS:
        return True
    parts = [] if isinstance(node, ast.Attribute) else ast.iter_child_nodes(node)
    if any(isinstance(one, ast.Name) and imports.get(one.id) == "torch" for one in parts):
        return True  # under another name, or by `getattr`
    if not isinstance(node, (ast.Name, ast.Attribute, ast.Call)):
        return False
    first, dot, rest = ast.unparse(node.func if isinstance(node, ast.Call) else node).partition(".")
    full = imports.get(first, first) + dot + rest
    if not isinstance(node, ast.Call):
        return _MAKER.fullmatch(full) is not None
    if (_name(node.func) or "").startswith("new_") or _OF_TRANSFORMERS.fullmatch(full):
        return True
    if first in imports and not full.startswith(".") and full.partition(".")[0] not in _KNOWN_PACKAGES:
        return True  # of another package
    return full.startswith("torch.") and _NO_TENSOR.fullmatch(full) is None


def _name(node: ast.AST) -> str | None:
    """The last part of a name: `sigmoid` of `torch.sigmoid`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def _imports(code: Code) -> Mapping[str, str]:
    """The full names of what imports bind, also those inside functions."""
    nodes = [*code.python_nodes(ast.Import, _IMPORT), *code.import_statements()]
    return dict(pair for node in nodes for pair in bindings_of(node))


def _imports_positions(code: Code) -> bool:
    """Whether a class for positions comes from outside of these files; it may compute tensors of its own."""
    found = (alias for one in code.import_statements() if not one.level for alias in one.names)
    return any(_OUTSIDE.fullmatch(one.name) and _POSITIONS.search(one.name) for one in found)
