"""Ties the vocabulary head to the embedding in transformers 5 where 4.57 ties it, and nowhere else.

Up to 4.57 a model tied whatever module `get_output_embeddings` returns (or `lm_head`) to the input embedding, and
`_tied_weights_keys` listed names for saving. 5 ties by that attribute alone, as a mapping from target to source, where
the configuration has `tie_word_embeddings`; a list makes `save_pretrained` fail. A head whose `get_output_embeddings`
returns a parameter, as in this family, was never tied, so None keeps its behaviour. 5 also leaves untied what the
checkpoint has both tensors of and they differ, where 4.57 took the embedding: `tie_weights` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst.helpers import parse_template_expression

from patcher.codemods.dataflow.package import Class, Package, Value
from patcher.codemods.nodes import assignments, dotted, is_name, last_name, walk
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome, Refused, Span
from patcher.codemods.rewrite import Replacement, rewrite

_NAME = "_tied_weights_keys"
_OUTPUT, _INPUT = "get_output_embeddings", "get_input_embeddings"
_PARAMETERS = ("Parameter", "weight", "bias")
_METHOD = """\
def tie_weights(self, missing_keys=None, **kwargs):
{indent}# As in transformers 4, the head is tied even where the checkpoint has another tensor for it.
{indent}names = [*self.{name}, *self.{name}.values()]
{indent}if missing_keys is not None and not missing_keys.isdisjoint(names):
{indent}{indent}kwargs["missing_keys"] = missing_keys
{indent}super().tie_weights(**kwargs)
"""


class _Unclear(Exception):
    """What a method returns is not known; the message quotes it."""


def tied_weights(package: Package) -> Mapping[str, Outcome]:
    """Write the mapping where 4.57 ties, None in place of any other list; what becomes of each file."""
    outcomes = dict[str, Outcome]()
    for path, code in package.codes.items():
        replacements, spans = dict[cst.CSTNode, Replacement](), list[Span]()
        for node in code.class_nodes(_NAME, _OUTPUT, "lm_head", "_tie_weights"):
            try:
                for edit in _edits(package, Class(code, node)):
                    replacements[edit.node] = edit.replacement
                    spans.append(edit.span)
            except _Unclear as problem:
                return {path: Refused("tied-head", f"{node.name.value}: {problem}")}
        outcomes[path] = NotNeeded("no class of this file lists tied weights or ties its head")
        if replacements:
            outcomes[path] = Applied(rewrite(code, replacements), tuple(spans))
    return outcomes


@dataclass(frozen=True)
class _Edit:
    node: cst.CSTNode
    replacement: Replacement
    span: Span


def _edits(package: Package, cls: Class) -> Iterator[_Edit]:
    """What one class needs. Raises _Unclear."""
    value = next((value for name, value in assignments(cls.node.body.body) if name == _NAME), None)
    if _sets(cls, _NAME):
        raise _Unclear(f"its constructor sets `{_NAME}`")
    if value is not None and _is_mapping(package, cls, value):
        return
    heads = "lm_head" if not package.method(cls, _OUTPUT) and _is_model(package, cls) else _OUTPUT
    has_own = _binds(cls, heads) or (heads == "lm_head" and (_binds(cls, _OUTPUT) or _sets(cls, heads)))
    pair = _tied(package, cls) if value is not None or has_own else None
    if pair is None and "_tie_weights" in cls.methods and _is_model(package, cls):
        raise _Unclear("its `_tie_weights` ties what transformers 5 ties by `_tied_weights_keys` alone")
    text = "None" if pair is None else f'{{"{pair[0]}.weight": "{pair[1]}.weight"}}'
    if value is not None and not (pair is None and is_name(value, "None")):
        yield _Edit(value, lambda _: parse_template_expression(text), cls.code.span(value))
    if pair is not None:
        lines = [] if value is not None else [f"{_NAME} = {text}\n"]
        if package.method(cls, "tie_weights") is None:
            lines.append(_METHOD.format(indent=cls.code.indent, name=_NAME))
        if lines:
            yield _inserted(cls, lines)


def _inserted(cls: Class, texts: list[str]) -> _Edit:
    """Statements at the end of a class: the mapping, the method."""
    code, body = cls.code, cls.node.body
    if not isinstance(body, cst.IndentedBlock):
        raise _Unclear("the class is written on one line")
    statements: list[Any] = [code.statement(text) for text in texts]
    if isinstance(statements[-1], cst.FunctionDef):
        statements[-1] = statements[-1].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    last = code.span(body.body[-1]).last
    return _Edit(body.body[-1], lambda old: cst.FlattenSentinel([old, *statements]), Span(last + 1, last))


def _is_model(package: Package, cls: Class) -> bool:
    return any("PreTrainedModel" in base for base in package.unknown_bases(cls))


def _binds(cls: Class, name: str) -> bool:
    """Whether a class has a name as a method, also below an `if`, or as a value of its body."""
    defined = any(isinstance(node, cst.FunctionDef) and node.name.value == name for node in walk(cls.node))
    return defined or any(bound == name for bound, _ in assignments(cls.node.body.body))


def _sets(cls: Class, name: str) -> bool:
    init = cls.methods.get("__init__")
    nodes = walk(init) if init is not None else ()
    return any(isinstance(node, cst.AssignTarget) and dotted(node.target) == f"self.{name}" for node in nodes)


def _is_mapping(package: Package, cls: Class, value: cst.BaseExpression) -> bool:
    """Whether transformers 5 can read a value: a mapping, or a call that may return one. Raises _Unclear."""
    found = package.top_level(cls.code, value.value) if isinstance(value, cst.Name) and value.value != "None" else None
    if isinstance(value, cst.Name) and found is None:
        found = package.class_value(cls, value.value)
    if isinstance(value, cst.Name) and value.value != "None" and not isinstance(found, Value):
        raise _Unclear(f"it is not clear what `{value.value}` in `{_NAME}` is (line {cls.code.line(value)})")
    known = found.node if isinstance(found, Value) else value
    call = last_name(known.func) if isinstance(known, cst.Call) else None
    return isinstance(known, (cst.Dict, cst.DictComp)) or (call is not None and call not in ("list", "tuple", "set"))


def _tied(package: Package, cls: Class) -> tuple[str, str] | None:
    """The paths of the head and of the embedding that 4.57 ties; None where it ties nothing. Raises _Unclear."""
    if package.config.get("tie_word_embeddings", True) is not True:
        return None
    head = _returned(package, cls, _OUTPUT)
    if head is None and package.method(cls, _OUTPUT) is None and package.assigned(cls, "lm_head"):
        head = "lm_head"
    if head is None:
        return None
    embedding = _returned(package, cls, _INPUT) or _default_embedding(package, cls)
    return (head, embedding) if embedding is not None else None


def _returned(package: Package, cls: Class, name: str, after: Class | None = None) -> str | None:
    """The path of the module that a method returns; None for no method, None, or a parameter. Raises _Unclear."""
    method = package.method(cls, name, after)
    if method is None:
        if after is None and any(_binds(one, name) for one in package.lineage(cls)):
            raise _Unclear(f"its `{name}` is not a plain method of the class, and 4.57 ties what it returns")
        return None
    returns = [node.value for node in walk(method.node) if isinstance(node, cst.Return)]
    value = returns[0] if len(returns) == 1 else None
    if len(returns) == 1 and (value is None or is_name(value, "None")):
        return None
    path = dotted(value) if value is not None else None
    if path is not None and path.startswith("self."):
        return _module(package, cls, path.removeprefix("self."))
    if isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute) and value.func.attr.value == name:
        owner = value.func.value
        if isinstance(owner, cst.Call) and is_name(owner.func, "super"):
            return _returned(package, cls, name, method.owner)
        part = dotted(owner) or ""
        inner = _class_of(package, cls, part.removeprefix("self.")) if part.startswith("self.") else None
        found = _returned(package, inner, name) or _default_embedding(package, inner) if inner is not None else None
        if found is not None:
            return f"{part.removeprefix('self.')}.{found}"
    raise _Unclear(f"it is not clear what `{name}` returns (line {method.code.line(method.node)}), and 4.57 ties it")


def _module(package: Package, cls: Class, path: str) -> str | None:
    """The path where it is that of a module; None for a parameter."""
    first, _, rest = path.partition(".")
    if package.method(cls, first) is not None:
        if rest:
            raise _Unclear(f"`{first}` is a property, and 4.57 ties the module that it returns")
        return _returned(package, cls, first)
    values = [value for _, value in package.assigned(cls, first)]
    made = [last_name(value.func) for value in values if isinstance(value, cst.Call)]
    is_parameter = path.rpartition(".")[2] in _PARAMETERS or (not rest and "Parameter" in made)
    return None if is_parameter else path


def _class_of(package: Package, cls: Class, attribute: str) -> Class | None:
    """The class of the package that `self.attribute` is an instance of."""
    found = package.attribute(cls, attribute)
    if isinstance(found, tuple) and isinstance(found[1], cst.Call):
        return package.class_of(found[0].code, found[1].func)
    return None


def _default_embedding(package: Package, cls: Class) -> str | None:
    """What the base class's `get_input_embeddings` finds; None where it raises NotImplementedError."""
    if package.method(cls, _INPUT) is not None:
        return None
    if package.assigned(cls, "embed_tokens"):
        return "embed_tokens"
    prefixes = [
        value
        for one in package.lineage(cls)
        for name, value in assignments(one.node.body.body)
        if name == "base_model_prefix"
    ]
    names = ["model", *(value.raw_value for value in prefixes if isinstance(value, cst.SimpleString))]
    for name in names:
        inner = _class_of(package, cls, str(name))
        found = (_returned(package, inner, _INPUT) or _default_embedding(package, inner)) if inner is not None else None
        if found is not None:
            return f"{name}.{found}"
    return None
