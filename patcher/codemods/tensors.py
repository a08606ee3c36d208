"""Tells whether code may compute tensors while it builds a model, other than parameters and buffers of a checkpoint.

It answers generously: a repair that has nothing to restore is harmless, a missing one is not.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
_FROM_TENSOR = re.compile(r"new_\w+|\w+_like|arange|zeros|ones|full|tensor|linspace|to|clone|detach")
# Names below `torch` whose calls make no tensor.
_NO_TENSOR = re.compile(
    r"torch\.(nn|jit|cuda|backends|distributed|autograd|utils|compile|device|dtype|Size|Generator|manual_seed|finfo|iinfo"
    r"|no_grad|(is|get|set)_\w+)(\..*)?"
)
_MAKER = re.compile(r"torch\.(arange|as_tensor|empty|eye|from_numpy|full|linspace|logspace|ones|rand\w*|tensor|zeros)")
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
    special = {name for code in codes for name, _ in _definitions(code) if _SPECIAL.fullmatch(name)}
    functions = _reachable(codes, {*_ENTRIES, *special}, lambda node: node)
    return any(_makes_tensor(node, imports[code.path]) for code, function in functions for node in _walk(function))


def from_parameter(codes: Sequence[Code]) -> tuple[Code, ast.expr] | None:
    """A tensor that no checkpoint holds and that `__init__` makes from a parameter, or on the device of one; or None.

    A parameter has no memory while transformers builds a model, on 4.57 neither.
    """
    parameters = _parameters(codes)
    for code, function in _reachable(codes, ("__init__",), lambda node: node.func if _calls(node) else None):
        if not isinstance(function, ast.FunctionDef):
            continue
        local: dict[str, ast.expr] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                local[node.targets[0].id] = node.value
        for value in _kept(function):
            if _reads(value, parameters, local):
                return code, value
    return None


def _parameters(codes: Sequence[Code]) -> set[str | None]:
    """The attributes that are parameters wherever these files set them."""
    assigns = [node for code in codes for node in code.python_nodes(ast.Assign, _SET)]
    pairs = [(_name(one), _calls(node.value, _PARAMETERS)) for node in assigns for one in node.targets]
    others = {name for name, is_parameter in pairs if not is_parameter}
    calls = [node for code in codes for node in code.python_nodes(ast.Call, _REGISTERS) if _calls(node, _BUFFERS)]
    buffers = {one.value for node in calls for one in node.args if isinstance(one, ast.Constant)}
    return (({name for name, _ in pairs} - others) | {"weight", "bias"}) - buffers


def _kept(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The values that a function registers as buffers that no checkpoint holds, or makes attributes."""
    for node in _walk(function):
        if _calls(node, _BUFFERS) and not _is_saved(node):
            yield from (*node.args, *(one.value for one in node.keywords))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            made = _name(node.value.func) if isinstance(node.value, ast.Call) else None
            if _FROM_TENSOR.fullmatch(made or ""):
                yield node.value


def _reads(node: ast.AST, parameters: Collection[str | None], local: Mapping[str, ast.expr]) -> bool:
    """Whether an expression needs the values or the device of a parameter of `self`; its shape and dtype are known."""
    if isinstance(node, ast.Name) and node.id in local:
        return _reads(local[node.id], parameters, {name: one for name, one in local.items() if name != node.id})
    if _name(node) in ("shape", "dtype", "ndim") or _calls(node, ("size", "numel", "dim", *_PARAMETERS)):
        return False
    if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("self."):
        return node.attr in parameters or _reads(node.value, parameters, local)
    return _calls(node, ("parameters",)) or any(_reads(one, parameters, local) for one in ast.iter_child_nodes(node))


def _calls(node: ast.AST, names: Collection[str] | None = None) -> TypeGuard[ast.Call]:
    """Whether a node is a call, of one of these names if any are given."""
    return isinstance(node, ast.Call) and (names is None or _name(node.func) in names)


def _reachable(
    codes: Sequence[Code], entries: Iterable[str], refers: Callable[[ast.AST], ast.AST | None]
) -> Iterator[tuple[Code, ast.FunctionDef | ast.expr]]:
    """The functions and values of these names, and those whose names their nodes refer to, with their files."""
    functions: dict[str | None, list[tuple[Code, ast.FunctionDef | ast.expr]]] = {}
    for code in codes:
        for defined, node in _definitions(code):
            functions.setdefault(defined, []).append((code, node))
    waiting, seen = list[str | None](entries), set[str | None]()
    while waiting:
        name = waiting.pop()
        for code, function in functions.get(name, ()) if name not in seen else ():
            yield code, function
            found = (_name(other) for node in _walk(function) if (other := refers(node)) is not None)
            waiting += {one for one in found if one in functions}
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
