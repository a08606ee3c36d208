"""Keeps the tensors that a model computes while it is built, which transformers 5 loses when it loads one.

transformers 5 builds a model on the meta device, where nothing has a value, and then gives each buffer that no
checkpoint holds uninitialised memory (https://github.com/huggingface/transformers/issues/48892). transformers 4 had
only the parameters there. A mixin for the base class of the models brings that back: whatever `__init__` computes is
computed once, where and how the code says so, and stays. On 4.57 the mixin does nothing.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.package import Package
from patcher.codemods.nodes import base_names, dotted
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome, Refused, Span
from patcher.codemods.rewrite import Replacement, rewrite
from patcher.codemods.tensors import computes_tensors, from_parameter

_CONTEXT, _MIXIN = "ParametersOnMeta", "ComputedBuffersMixin"
_BLOCK = f'''\
class {_CONTEXT}:
    """While a model is built: parameters take no memory, and every other tensor is computed as usual."""

    def __enter__(self):
        thread = threading.get_ident()

        def on_meta(module, name, parameter):
            if parameter is not None and not parameter.is_meta and threading.get_ident() == thread:
                empty = torch.nn.Parameter(parameter.to("meta"), parameter.requires_grad)
                try:
                    torch.utils.swap_tensors(parameter, empty)  # the same object, so that tied parameters stay tied
                except RuntimeError:
                    pass  # the code keeps a view of it, so that it keeps its memory

        self.hook = torch.nn.modules.module.register_module_parameter_registration_hook(on_meta)

    def __exit__(self, *error):
        self.hook.remove()


# transformers 5 builds a model on the meta device, where nothing has a value, and later gives the buffers that no
# checkpoint holds uninitialised memory (https://github.com/huggingface/transformers/issues/48892).
class {_MIXIN}:
    """Keeps the tensors that a model computes while it is built, such as non-persistent buffers."""

    @classmethod
    def get_init_context(cls, *args, **kwargs):
        contexts = super().get_init_context(*args, **kwargs)
        return [{_CONTEXT}() if one == torch.device("meta") else one for one in contexts]

    def _initialize_weights(self, module, *args, **kwargs):
        # While the model is built, `_init_weights` is for buffers; parameters without memory follow after loading.
        parameters = list(module.parameters())
        on_meta = bool(parameters) and all(parameter.is_meta for parameter in parameters)
        has_buffers = any(one._non_persistent_buffers_set for one in module.modules())
        if has_buffers or not on_meta or not hasattr(super(), "_move_missing_keys_from_meta_to_device"):
            super()._initialize_weights(module, *args, **kwargs)

    def _move_missing_keys_from_meta_to_device(self, missing_keys, *args, **kwargs):
        # This is where transformers 5 replaces the buffers that no checkpoint holds. They are put back afterwards.
        computed = []
        for path, module in self.named_modules():
            prefix = f"{{path}}." if path else ""
            buffers = {{name: buffer for name, buffer in module._buffers.items() if buffer is not None}}
            for name, buffer in buffers.items():
                is_missing = prefix + name in missing_keys and not buffer.is_meta
                if is_missing or name in module._non_persistent_buffers_set:
                    computed.append((module, name, buffer))
                    module._buffers[name] = buffer.detach()  # a shared buffer would be moved for one module only
                    module._is_hf_initialized = True
            if any(prefix + name in missing_keys for name in module._parameters):
                module._is_hf_initialized = False
        super()._move_missing_keys_from_meta_to_device(missing_keys, *args, **kwargs)
        for module, name, buffer in computed:
            module._buffers[name] = buffer.to(module._buffers[name].device)
'''
_CLASS = re.compile(r"^[ \t]*class[ \t]", re.MULTILINE)
_MODEL = re.compile(r"transformers\..*\.?\w+(Model|For[A-Z]\w*)")


def computed_buffers(code: Code, package: Package | None = None) -> Outcome:
    """Give the base classes of the models of a file the mixin, if the package computes tensors while it is built."""
    codes = [code] if package is None else [*package.codes.values()]
    roots = _roots(code)
    if roots and all(_MIXIN in base_names(node) for node in roots):
        return NotNeeded(f"{', '.join(node.name.value for node in roots)} has {_MIXIN}")
    if not computes_tensors(codes):
        return NotNeeded("no class in these files computes a tensor that is not in the checkpoint")
    if not roots:
        if any(map(_roots, codes)):
            return NotNeeded("this file defines no model base class")
        why = "these files compute tensors while a model is built, and have no class that derives from PreTrainedModel"
        return Refused("rotary-no-home", why)
    if found := from_parameter(codes):
        where, value = found
        why = f"line {value.lineno} of {where.path} makes a tensor from a parameter, which has no value during loading"
        return Refused("table-from-parameter", f"{why} (`{ast.unparse(value)}`)")
    roots = [node for node in roots if _MIXIN not in base_names(node)]
    replacements: dict[cst.CSTNode, Replacement] = {node: _with_mixin for node in roots}
    spans = [code.span(node.bases[0]) for node in roots]
    if code.definition(cst.ClassDef, _MIXIN) is None:
        spans.append(_insert_above(code, roots[0], replacements))
    return Applied(rewrite(code, replacements), tuple(spans))


def _roots(code: Code) -> list[cst.ClassDef]:
    """The classes whose base is a model class of transformers."""
    nodes = (
        node for node in code.python_nodes(ast.ClassDef, _CLASS) if any(_is_model(code, one) for one in node.bases)
    )
    found = (code.definition(cst.ClassDef, node.name) for node in nodes)
    return list(dict.fromkeys(node for node in found if node is not None))


def _is_model(code: Code, base: ast.expr) -> bool:
    """Whether a base class is a model class of transformers, by its name."""
    name = ast.unparse(base)
    while (value := code.constant(name)) is not None and (other := dotted(value)) is not None:
        name = other
    first, dot, rest = name.partition(".")
    full = code.imports.get(first, first) + dot + rest
    if full.lstrip(".") == "modeling_utils.PreTrainedModel":  # in code of transformers itself
        return True
    if full.startswith(".") or code.definition(cst.ClassDef, full) is not None:
        return False
    return full.endswith("PreTrainedModel") or _MODEL.fullmatch(full) is not None


def _with_mixin(node: Any) -> Any:
    mixin = cst.Arg(cst.Name(_MIXIN), comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
    return node.with_changes(bases=[mixin, *node.bases])


def _insert_above(code: Code, node: cst.CSTNode, replacements: dict[cst.CSTNode, Replacement]) -> Span:
    """Plan the mixin below the statement above a class, so that comments above the class stay with it."""
    blank = cst.EmptyLine(indent=False)
    texts = [text.replace(" " * 4, code.indent) for text in _BLOCK.split("\n\n\n")]
    needed = [name for name in ("threading", "torch") if code.imports.get(name) != name]
    texts = [*(f"import {name}\n" for name in needed), *texts]
    statements = [code.statement(text) for text in texts]
    added = [one.with_changes(leading_lines=[blank, blank, *one.leading_lines]) for one in statements]
    index = code.chunks.index(code.locate(node)[0])
    if index == 0:
        replacements[node] = lambda updated: cst.FlattenSentinel([*added, _with_mixin(updated)])
        return Span(code.line(node), code.line(node) - 1)
    anchor = code.parsed(code.chunks[index - 1]).body[-1]
    replacements[anchor] = lambda updated: cst.FlattenSentinel([updated, *added])
    return Span(code.span(anchor).last + 1, code.line(node) - 1)
