"""Writes the calls that transformers 5 wants of a model, and refuses those of methods that it no longer has.

`init_weights()` in a constructor becomes `post_init()`, without which 5 does not load a model, and which is the same in
4.57. A model's own `tie_weights(self)` takes the keywords that 5 calls it with. A method that is gone, such as
`get_head_mask`, is named with its line; the table of these is made from both versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.config_defaults import removed
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.nodes import dotted, walk
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome, Refused, Span
from patcher.codemods.rewrite import Replacement, rewrite

_INIT, _POST, _TIE = "init_weights", "post_init", "tie_weights"


@dataclass(frozen=True)
class _Edit:
    node: cst.CSTNode
    replacement: Replacement
    span: Span


def removed_methods(package: Package) -> Mapping[str, Outcome]:
    """Give the models of a package the calls that transformers 5 wants; what becomes of each file."""
    outcomes = dict[str, Outcome]()
    for path, code in package.codes.items():
        edits: list[_Edit] = []
        if problem := _gone(package, code):
            return {path: problem}
        for node in code.class_nodes("__init__", _TIE):
            cls = Class(code, node)
            if any("PreTrainedModel" in base for base in package.unknown_bases(cls)):
                edits += [*_constructor(package, cls), *_signature(cls)]
        outcomes[path] = NotNeeded("no model in this file calls a method that transformers 5 removed")
        if edits:
            content = rewrite(code, {edit.node: edit.replacement for edit in edits})
            outcomes[path] = Applied(content, tuple(edit.span for edit in edits))
    return outcomes


def _gone(package: Package, code: Code) -> Refused | None:
    """The refusal of a call of what the base class no longer has and no class of the package defines."""
    names = removed()["model"]
    for node in code.nodes(cst.Call, re.compile(rf"\b({'|'.join(names)})\b")):
        name = _called(node)
        if name in names and not _defines(package, name):
            where = f"{code.source(node)} (line {code.line(node)})"
            return Refused("removed-method", f"the code calls `{name}`, which transformers 5 no longer has: {where}")
    return None


def _called(call: cst.Call) -> str:
    """The name of the method that a call calls or, as `getattr(self, name)`, asks for."""
    if dotted(call.func) in ("getattr", "hasattr") and len(call.args) > 1:
        name = call.args[1].value
        return str(name.raw_value) if isinstance(name, cst.SimpleString) else ""
    return call.func.attr.value if isinstance(call.func, cst.Attribute) else ""


def _defines(package: Package, name: str) -> bool:
    chunks = [chunk for code in package.codes.values() for chunk in code.chunks if name in chunk.words]
    return any(f"def {name}(" in chunk.text for chunk in chunks)


def _constructor(package: Package, cls: Class) -> Iterator[_Edit]:
    """`post_init()` in place of `init_weights()`, or at the end of the constructor that has neither."""
    init = cls.methods.get("__init__")
    if init is None or not isinstance(init.body, cst.IndentedBlock):
        return
    calls = _calls(init)
    for call in calls:
        if dotted(call.func) == f"self.{_INIT}":
            yield _Edit(call.func, lambda old: old.with_changes(attr=cst.Name(_POST)), cls.code.span(call))
    bases = [one for one in package.lineage(cls)[1:] if "__init__" in one.methods]
    if not calls and not bases:
        last = init.body.body[-1]
        line = cls.code.span(last).last
        statement = cls.code.statement(f"self.{_POST}()\n")
        yield _Edit(last, lambda old: cst.FlattenSentinel([old, statement]), Span(line + 1, line))


def _calls(init: cst.FunctionDef) -> list[cst.Call]:
    nodes = [node for node in walk(init) if isinstance(node, cst.Call)]
    return [node for node in nodes if dotted(node.func) in (f"self.{_INIT}", f"self.{_POST}")]


def _signature(cls: Class) -> Iterator[_Edit]:
    """Keyword arguments for `tie_weights`, which 4.57 called with none."""
    method = cls.methods.get(_TIE)
    if method is None or method.params.star_kwarg is not None or method.params.kwonly_params:
        return
    names = {one.name.value for one in method.params.params}
    if not {"missing_keys", "recompute_mapping"} <= names:
        parameters = method.params.with_changes(star_kwarg=cst.Param(cst.Name("kwargs")))
        line = cls.code.line(method.name)
        yield _Edit(method.params, lambda _: parameters, Span(line, cls.code.span(method.params).last))
