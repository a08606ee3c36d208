"""Fills the rotary tables again in `_init_weights`, where transformers 5 expects it.

transformers 5 builds a model on the meta device and then allocates every non-persistent buffer uninitialised: tables
that `__init__` computed are silently lost. Its maintainers ask remote code to fill them in `_init_weights`
(https://github.com/huggingface/transformers/issues/48892). Each such module remembers its arguments, and
`_init_weights` builds it a second time and copies the tables over. On 4.57 the values stay the same.
"""

from __future__ import annotations

from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.nodes import base_names, dotted, is_name, mentions, methods, walk
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome, Refused, Span
from patcher.codemods.rewrite import Replacement, rewrite

_ARGUMENTS = "_init_arguments"
_BRANCH = f"""\
# transformers 5 leaves non-persistent buffers uninitialised after loading; they are computed again here.
if isinstance({{module}}, {{kinds}}):
{{indent}}rebuilt = type({{module}})(**{{module}}.{_ARGUMENTS})
{{indent}}for name, table in rebuilt.named_buffers(recurse=False):
{{indent}}{{indent}}getattr({{module}}, name).copy_(table)
"""


def rotary_tables(code: Code) -> Outcome:
    """Restore each non-persistent buffer that a module of this file computes in its `__init__`."""
    flash = _from_flash_attn(code)
    tables = [node for node in code.class_nodes("register_buffer", *flash) if _has_tables(node, flash)]
    if not tables:
        return NotNeeded("no module of this file computes non-persistent buffers in __init__")
    names = [node.name.value for node in tables]
    owners = [node for node in code.class_nodes("_init_weights") if "_init_weights" in methods(node)]
    if owners and all(mentions(methods(node)["_init_weights"], name) for node in owners for name in names):
        return NotNeeded(f"_init_weights already handles {', '.join(names)}")
    insertions = _Insertions(code)
    for node in tables:
        if problem := _remember_arguments(insertions, node):
            return problem
    kinds = names[0] if len(names) == 1 else f"({', '.join(names)})"
    for owner in owners:
        _insert_branch(insertions, methods(owner)["_init_weights"], kinds)
    if not owners:
        roots = [node for node in code.class_nodes("PreTrainedModel") if "PreTrainedModel" in base_names(node)]
        if not roots:
            why = f"{', '.join(names)}: this file has no PreTrainedModel that could fill the tables again"
            return Refused("rotary-no-home", why)
        for root in roots:
            _add_method(insertions, root, kinds)
    return Applied(rewrite(code, insertions.replacements), tuple(insertions.spans))


class _Insertions:
    """Statements to insert before or after others; no line of the old file is meant to change."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.replacements: dict[cst.CSTNode, Replacement] = {}
        self.spans: list[Span] = []

    def before(self, anchor: cst.CSTNode, statement: Any) -> None:
        self.replacements[anchor] = lambda updated: cst.FlattenSentinel([statement, updated])
        line = self.code.line(anchor)
        self.spans.append(Span(line, line - 1))

    def after(self, anchor: cst.CSTNode, statement: Any) -> None:
        self.replacements[anchor] = lambda updated: cst.FlattenSentinel([updated, statement])
        self._span_after(anchor)

    def at_end(self, block: cst.BaseSuite, statement: Any) -> None:
        self.replacements[block] = lambda updated: updated.with_changes(body=[*updated.body, statement])
        self._span_after(block.body[-1])

    def _span_after(self, node: cst.CSTNode) -> None:
        last = self.code.span(node).last
        self.spans.append(Span(last + 1, last))


def _has_tables(node: cst.ClassDef, flash: set[str]) -> bool:
    """Whether the class, or flash-attn's rotary class below it, registers non-persistent buffers on construction."""
    init = methods(node).get("__init__")
    return init is not None and (any(map(_is_table, walk(init))) or not flash.isdisjoint(base_names(node)))


def _is_table(node: cst.CSTNode) -> bool:
    """Whether a node is `self.register_buffer(..., persistent=False)`."""
    if not isinstance(node, cst.Call) or dotted(node.func) != "self.register_buffer":
        return False
    return any(
        is_name(argument.value, "False") and (argument.keyword is None or is_name(argument.keyword, "persistent"))
        for argument in node.args
    )


def _from_flash_attn(code: Code) -> set[str]:
    """The names of rotary classes imported from flash-attn; their `inv_freq` is a non-persistent buffer too."""
    found = code.import_statements() if "flash_attn" in code.text else []
    found = [item for item in found if not item.level and (item.module or "").startswith("flash_attn")]
    return {name for item in found for alias in item.names if "Rotary" in (name := alias.asname or alias.name)}


def _remember_arguments(insertions: _Insertions, node: cst.ClassDef) -> Refused | None:
    """Plan `self._init_arguments = {...}` after `super().__init__`; returns a refusal where that is impossible."""
    code = insertions.code
    name, init = node.name.value, methods(node)["__init__"]
    if any("PreTrainedModel" in base for base in base_names(node)):
        why = f"{name} computes non-persistent buffers in the model itself, which can't be built a second time"
        return Refused("rotary-in-model", why)
    params, where = init.params, f"{name}.__init__ (line {code.line(init)})"
    if isinstance(params.star_arg, cst.Param) or params.star_kwarg:
        return Refused("rotary-star-arguments", f"{where} takes *args or **kwargs, so its arguments can't be repeated")
    arguments = [p.name.value for p in (*params.posonly_params, *params.params, *params.kwonly_params)][1:]
    if params.posonly_params:
        return Refused("rotary-positional-only", f"{where} takes positional-only arguments")
    anchor = next((line for line in init.body.body if any(_is_super_init(n) for n in walk(line))), None)
    if anchor is None:
        return Refused("rotary-no-super-init", f"{where} does not call super().__init__ at its top level")
    repeated = ", ".join(f'"{argument}": {argument}' for argument in arguments)
    insertions.after(anchor, code.statement(f"self.{_ARGUMENTS} = {{{repeated}}}  # for _init_weights\n"))
    return None


def _is_super_init(node: cst.CSTNode) -> bool:
    func = node.func if isinstance(node, cst.Call) else None
    made = func.value if isinstance(func, cst.Attribute) and is_name(func.attr, "__init__") else None
    return isinstance(made, cst.Call) and is_name(made.func, "super")


def _insert_branch(insertions: _Insertions, method: cst.FunctionDef, kinds: str) -> None:
    code, body = insertions.code, method.body.body
    parameter = method.params.params[1].name.value
    statement = code.statement(_BRANCH.format(module=parameter, kinds=kinds, indent=code.indent))
    if _is_docstring(body[0]) and len(body) > 1:
        insertions.after(body[0], statement)
    else:
        insertions.before(body[0], statement)


def _is_docstring(node: cst.CSTNode) -> bool:
    one = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    return isinstance(one, cst.Expr) and isinstance(one.value, cst.SimpleString)


def _add_method(insertions: _Insertions, node: cst.ClassDef, kinds: str) -> None:
    indent = insertions.code.indent
    lines = _BRANCH.format(module="module", kinds=kinds, indent=indent).splitlines()
    text = f"def _init_weights(self, module):\n{indent}super()._init_weights(module)\n"
    statement = insertions.code.statement(text + "".join(f"{indent}{line}\n" for line in lines))
    insertions.at_end(node.body, statement.with_changes(leading_lines=[cst.EmptyLine(indent=False)]))
