"""Gives reads of `config.is_decoder` the default that transformers 5 no longer defines.

Up to 4.57 the configuration base class set `is_decoder = False`; in 5 the attribute exists only where config.json has
the key, and reading it without a default raises AttributeError.
"""

from __future__ import annotations

import re

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.nodes import is_name, last_name
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome
from patcher.codemods.rewrite import Replacement, rewrite

_READ = re.compile(r"\.\s*is_decoder\b")


def is_decoder(code: Code) -> Outcome:
    """Turn each read of `config.is_decoder` into `getattr(config, "is_decoder", False)`."""
    if "is_decoder" in code.config:
        return NotNeeded("config.json defines is_decoder")
    replacements: dict[cst.CSTNode, Replacement] = {}
    spans = []
    for node in code.nodes(cst.Attribute, _READ):
        if not is_name(node.attr, "is_decoder") or last_name(node.value) != "config":
            continue
        if isinstance(code.parent(node), (cst.AssignTarget, cst.AugAssign, cst.AnnAssign, cst.Del)):
            continue
        replacements[node] = lambda updated: cst.Call(
            func=cst.Name("getattr"),
            args=[
                cst.Arg(updated.value, comma=_COMMA),
                cst.Arg(cst.SimpleString('"is_decoder"'), comma=_COMMA),
                cst.Arg(cst.Name("False")),
            ],
            lpar=updated.lpar,
            rpar=updated.rpar,
        )
        spans.append(code.span(node))
    if not spans:
        return NotNeeded("this file does not read config.is_decoder")
    return Applied(rewrite(code, replacements), tuple(spans))


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
