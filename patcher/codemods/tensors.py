"""Tells whether code may compute tensors while it builds a model, other than parameters and buffers of a checkpoint.

It answers generously: a repair that has nothing to restore is harmless, a missing one is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard

from patcher.codemods.chunks import bindings_of
from patcher.codemods.code import Code

_DEF, _IMPORT = re.compile(r"\bdef\s"), re.compile(r"\bimport\b")
# Python and transformers call these; whatever else runs while a model is built is named by them, or by what they name.
_ENTRIES = ("__init__", "__post_init__", "__new__", "__setattr__", "_init_weights", "post_init", "init_weights")
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
_OUTSIDE = re.compile(r"[A-Z]\w*")
_POSITIONS = re.compile(r"rotary|rope|position|sinus|alibi", re.IGNORECASE)


def computes_tensors(codes: Sequence[Code]) -> bool:
    """Whether building a class of these files may compute a tensor that no checkpoint holds."""
    if any(chunk.newer_syntax and "torch" in chunk.words for code in codes for chunk in code.chunks):
        return True
    if any(_imports_positions(code) for code in codes):
        return True
    imports = {code.path: _imports(code) for code in codes}
    functions = _reachable(codes, _ENTRIES, lambda node: node)
    return any(_makes_tensor(node, imports[code.path]) for code, function in functions for node in _walk(function))


def from_parameter(codes: Sequence[Code]) -> tuple[Code, ast.expr] | None:
    """A tensor that no checkpoint holds and that `__init__` makes from a parameter, or on the device of one; or None.

    A parameter has no memory while transformers builds a model, on 4.57 neither.
    """
    parameters = _parameters(codes)
    for code, function in _reachable(codes, ("__init__",), lambda node: node.func if _calls(node) else None):
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
) -> Iterator[tuple[Code, ast.FunctionDef]]:
    """The functions of these names, and those whose names their nodes refer to, with their files."""
    functions: dict[str | None, list[tuple[Code, ast.FunctionDef]]] = {}
    for code in codes:
        for function in code.python_nodes(ast.FunctionDef, _DEF):
            functions.setdefault(function.name, []).append((code, function))
    waiting, seen = list[str | None](entries), set[str | None]()
    while waiting:
        name = waiting.pop()
        for code, function in functions.get(name, ()) if name not in seen else ():
            yield code, function
            found = (_name(other) for node in _walk(function) if (other := refers(node)) is not None)
            waiting += {one for one in found if one in functions}
        seen.add(name)


def _walk(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function, without arguments of parameters and of buffers that a checkpoint holds."""
    waiting: list[ast.AST] = [*function.body, *function.decorator_list, function.args]
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
    if not isinstance(node, ast.Call):
        return False
    first, dot, rest = ast.unparse(node.func).partition(".")
    full = imports.get(first, first) + dot + rest
    if (_name(node.func) or "").startswith("new_"):
        return True
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
