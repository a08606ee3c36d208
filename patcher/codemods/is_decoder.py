"""Gives reads of `config.is_decoder` the default that transformers 5 no longer defines.

Up to 4.57 the configuration base class set `is_decoder = False`; in 5 the attribute exists only where config.json has
the key, and reading it without a default raises AttributeError.
"""

from __future__ import annotations

import re

import libcst as cst
from libcst.helpers import parse_template_expression

from patcher.codemods.code import Code
from patcher.codemods.nodes import is_name, last_name
from patcher.codemods.outcomes import NotNeeded, Outcome
from patcher.codemods.rewrite import Replacement, replaced

_READ = re.compile(r"\.\s*is_decoder\b")


def is_decoder(code: Code) -> Outcome:
    """Turn each read of `config.is_decoder` into `getattr(config, "is_decoder", False)`."""
    if "is_decoder" in code.config:
        return NotNeeded("config.json defines is_decoder")
    replacements: dict[cst.CSTNode, Replacement] = {
        node: _with_default
        for node in code.nodes(cst.Attribute, _READ)
        if is_name(node.attr, "is_decoder") and last_name(node.value) == "config"
        if not isinstance(code.parent(node), (cst.AssignTarget, cst.AugAssign, cst.AnnAssign, cst.Del))
    }
    return replaced(code, replacements, "this file does not read config.is_decoder")


def _with_default(read: cst.Attribute) -> cst.BaseExpression:
    call = parse_template_expression('getattr({owner}, "is_decoder", False)', owner=read.value)
    return call.with_changes(lpar=read.lpar, rpar=read.rpar)
