"""Finds what may put other code in the place of a function that the logits go through, or run beside it.

Decorators, hooks, methods that Python or torch calls on its own, a second binding of a name, and assignments to
`forward` and the like. The walk along the logits reads a function where it is defined and sees none of these.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.dataflow.steps import Obstacle
from patcher.codemods.nodes import children, is_name

_DECORATED = "may replace what it decorates"
_HOOKED = "may change what a module returns"
_SET = "may put other code in the place of a function"
_OWN = "may change what the model returns or how it runs"
# These leave the values that a function returns as they are.
_DECORATORS = {
    *("staticmethod", "classmethod", "override", "overload", "final"),  # of Python
    *("no_grad", "enable_grad", "inference_mode", "autocast"),  # gradients and rounding, which a verification measures
    *("compile", "disable"),  # torch.compile runs the same function, torch.compiler.disable the function itself
    # Documentation and arguments; can_return_tuple makes a tuple of the same values.
    *("auto_docstring", "add_start_docstrings", "add_start_docstrings_to_model_forward", "add_end_docstrings"),
    *("add_code_sample_docstrings", "replace_return_docstrings", "deprecate_kwarg", "can_return_tuple"),
    *("check_model_inputs", "merge_with_config_defaults", "capture_outputs"),
}
_KNOWN = {"torch", "transformers", "typing", "typing_extensions", "builtins", "abc", "huggingface_hub"}
_HOOKS = {
    *("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook", "register_hook"),
    *("register_full_backward_pre_hook", "register_backward_hook", "register_module_forward_hook"),
    *("register_module_forward_pre_hook", "register_module_full_backward_hook", "saved_tensors_hooks"),
    *("_forward_hooks", "_forward_pre_hooks", "TorchFunctionMode", "TorchDispatchMode", "__torch_function__"),
    *("register_module_full_backward_pre_hook", "register_module_backward_hook", "__torch_dispatch__"),
}
_CALLED_BY_TORCH = {"__call__", "_call_impl", "_wrapped_call_impl", "train", "eval"}
_CALLED_BY_PYTHON = {"__getattr__", "__getattribute__", "__setattr__", "__new__", "__init_subclass__"}
_SPECIAL = _CALLED_BY_TORCH | _CALLED_BY_PYTHON | {"forward", "__class__"}
_RUNS = {"exec", "eval"}
_FILLS = {"append", "extend", "insert", "__setitem__", "add_module", "register_module", "pop"}
_WRITERS = _RUNS | _FILLS | {"setattr", "__setattr__", "delattr", "update"}
_SETTINGS = re.compile(r"\b(backends|config|_dynamo|_inductor)\b")


def replaced_code(flow: Flow) -> Iterator[Obstacle]:
    """What may run in the place of the code that the paths of a flow go through, or beside it."""
    package = flow.frames[0].package
    frames = {id(frame.function): frame for frame in flow.frames}
    classes = {id(one.node): one for frame in flow.frames for one in _lineage(frame)}
    used = {frame.function.name.value for frame in frames.values() if frame.owner is not None}
    for frame in frames.values():
        yield from _decorators(frame.code, package, frame.function)
        if frame.owner is None and not frame.code.is_bound_once(frame.function.name.value):
            yield Obstacle(frame.code, frame.function, _SET)
    for cls in classes.values():
        yield from _decorators(cls.code, package, cls.node)
        yield from _of_class(cls, used | _SPECIAL)
    for frame in (frame for frame in flow.frames if frame.self_class is not None):
        yield from _bases(package, frame)
    for code in package.codes.values():
        yield from _anywhere(code, used, flow.layers)


def _lineage(frame: Frame) -> Sequence[Class]:
    return frame.package.lineage(frame.self_class) if frame.self_class is not None else []


def _decorators(code: Code, package: Package, node: cst.FunctionDef | cst.ClassDef) -> Iterator[Obstacle]:
    for item in node.decorators:
        name = item.decorator.func if isinstance(item.decorator, cst.Call) else item.decorator
        for full in code.full_names(name) or {""}:
            root, last = full.partition(".")[0], full.rpartition(".")[2]
            outside = root in _KNOWN or (full.startswith(".") and package.definition(code, full) is None)
            if not outside or last not in _DECORATORS:
                yield Obstacle(code, item.decorator, _DECORATED)


def _of_class(cls: Class, names: set[str]) -> Iterator[Obstacle]:
    """What a class defines that Python or torch calls on its own, and a method that it binds a second time."""
    if cls.node.keywords or not cls.code.is_bound_once(cls.name):
        yield Obstacle(cls.code, cls.node, _SET)
    for name in sorted(_SPECIAL - {"forward"} & set(cls.methods)):
        if name in cls.methods:
            yield Obstacle(cls.code, cls.methods[name], _OWN)
    for item in cls.node.body.body:
        if not isinstance(item, (cst.FunctionDef, cst.ClassDef)):
            yield from (Obstacle(cls.code, node, _SET) for node in _binders(item, names))


def _binders(node: cst.CSTNode, names: set[str]) -> Iterator[cst.CSTNode]:
    """The statements below a node of a class body that give one of these names a value."""
    if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
        if node.name.value in names:
            yield node
    elif isinstance(node, (cst.Assign, cst.AnnAssign)):
        targets = [one.target for one in node.targets] if isinstance(node, cst.Assign) else [node.target]
        if any(is_name(target, name) for target in targets for name in names):
            yield node
    else:
        yield from chain.from_iterable(_binders(child, names) for child in children(node))


def _bases(package: Package, frame: Frame) -> Iterator[Obstacle]:
    for cls in _lineage(frame):
        for base in (base.value for base in cls.node.bases if package.class_of(cls.code, base.value) is None):
            if any(name.partition(".")[0] not in {*_KNOWN, ""} for name in cls.code.full_names(base)):
                yield Obstacle(cls.code, cls.node, "has a base class from another package")


def _anywhere(code: Code, used: set[str], layers: set[str]) -> Iterator[Obstacle]:
    """Hooks, and assignments to the functions of modules, classes and objects, in all of a file."""
    words = _HOOKS | _SPECIAL | used | layers | _WRITERS | {"__dict__", "_modules", "torch", "nn"}
    for chunk in code.chunks:
        if chunk.newer_syntax and chunk.words & (_HOOKS | {"setattr", "__dict__"}):
            yield Obstacle(code, code.parsed(chunk).body[0], _HOOKED)
        if chunk.words & words:
            nodes = (node for statement in chunk.statements for node in ast.walk(statement))
            yield from _of_nodes(code, nodes, used, layers)


def _of_nodes(code: Code, nodes: Iterable[ast.AST], used: set[str], layers: set[str]) -> Iterator[Obstacle]:
    for node in nodes:
        name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "value", None)
        if isinstance(node, (ast.Attribute, ast.Name, ast.Constant)) and isinstance(name, str) and name in _HOOKS:
            yield Obstacle(code, node, _HOOKED)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
            of_other = isinstance(node.value, ast.Name) and node.value.id != "self" and node.attr in layers
            if of_other or node.attr in _SPECIAL or node.attr in used or _is_of_torch(code, node):
                yield Obstacle(code, node, _SET)
        elif (
            isinstance(node, ast.Call) and _last(node.func) in _WRITERS and _writes(node, used | layers, layers)
        ) or _sets_item(node, layers):
            yield Obstacle(code, node, _SET)


def _sets_item(node: ast.AST, layers: set[str]) -> bool:
    """Whether a node is an item of the attributes of an object, or of a container of layers, that gets a value."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Store):
        return False
    return _is_dictionary(node.value) or _last(node.value) in layers


def _writes(node: ast.Call, names: set[str], layers: set[str]) -> bool:
    """Whether a call of one of the functions that set attributes, or fill containers, may change one of these names."""
    name, owner = _last(node.func), node.func.value if isinstance(node.func, ast.Attribute) else None
    if name in _RUNS:
        return owner is None
    if name in _FILLS and owner is not None and _last(owner) in layers:
        return True
    if name in _FILLS - {"add_module", "register_module"}:
        return False
    if name == "update" and not (owner is not None and _is_dictionary(owner)):
        return False
    literals = {one.value for item in node.args for one in ast.walk(item) if isinstance(one, ast.Constant)}
    return bool((literals | {one.arg for one in node.keywords}) & (_SPECIAL | names | {"logits"}))


def _last(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def _is_dictionary(node: ast.expr) -> bool:
    """`x.__dict__`, `x._modules`, `vars(x)` and `globals()`."""
    called = _last(node.func) if isinstance(node, ast.Call) else None
    return _last(node) in {"__dict__", "_modules"} or called in {"vars", "globals", "locals"}


def _is_of_torch(code: Code, node: ast.Attribute) -> bool:
    """Whether an attribute of an imported module or class is set, other than a setting of torch."""
    text = ast.unparse(node)
    full = code.imports.get(text.partition(".")[0], "")
    return full.partition(".")[0] in {"torch", "transformers"} and not _SETTINGS.search(text)
