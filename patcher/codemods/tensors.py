"""Tells whether code may compute tensors while it builds a model, other than parameters and buffers of a checkpoint.

It answers generously: a repair that has nothing to restore is harmless, a missing one is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from patcher.codemods.chunks import bindings_of
from patcher.codemods.code import Code

_DEF, _IMPORT = re.compile(r"\bdef\s"), re.compile(r"\bimport\b")
# Python and transformers call these; whatever else runs while a model is built is named by them, or by what they name.
_ENTRIES = ("__init__", "__post_init__", "__new__", "__setattr__", "_init_weights", "post_init", "init_weights")
# What their arguments become is a parameter, or the new value of one.
_PARAMETERS = ("Parameter", "ParameterList", "ParameterDict", "register_parameter")
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
    functions: dict[str, list[tuple[ast.FunctionDef, Mapping[str, str]]]] = {}
    for code in codes:
        imports = _imports(code)
        for function in code.python_nodes(ast.FunctionDef, _DEF):
            functions.setdefault(function.name, []).append((function, imports))
    waiting, seen = list(_ENTRIES), set[str]()
    while waiting:
        name = waiting.pop()
        for function, imports in functions.get(name, ()) if name not in seen else ():
            nodes = list(_walk(function))
            if any(_makes_tensor(node, imports) for node in nodes):
                return True
            waiting += {found for node in nodes if (found := _name(node)) in functions}
        seen.add(name)
    return False


def _walk(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function, without arguments of parameters and of buffers that a checkpoint holds."""
    waiting: list[ast.AST] = [*function.body, *function.decorator_list, function.args]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.Call) or not (_name(node.func) in _PARAMETERS or _is_saved(node)):
            waiting += ast.iter_child_nodes(node)


def _is_saved(node: ast.Call) -> bool:
    """Whether a call is `self.register_buffer(name, value)`, without `persistent` or with True for it."""
    if _name(node.func) != "register_buffer" or len(node.args) + len(node.keywords) > 3:
        return False
    persistent = [*node.args[2:], *(one.value for one in node.keywords if one.arg not in ("name", "tensor"))]
    starred = any(isinstance(one, ast.Starred) for one in node.args)
    return not starred and all(isinstance(one, ast.Constant) and one.value is True for one in persistent)


def _makes_tensor(node: ast.AST, imports: Mapping[str, str]) -> bool:
    if _name(node) in ("register_buffer", "Buffer"):
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
