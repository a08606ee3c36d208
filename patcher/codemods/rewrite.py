"""Replaces nodes of a file and keeps every other byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.outcomes import Applied, NotNeeded
from patcher.errors import CodeError

Replacement = Callable[[Any], Any]


def rewrite(code: Code, replacements: Mapping[cst.CSTNode, Replacement]) -> bytes:
    """The file with each given node replaced by the result of its function, every other byte unchanged.

    Raises CodeError where LibCST does not write a chunk back as it was.
    """
    texts, homes = [], {node: code.locate(node)[0] for node in replacements}
    for chunk in code.chunks:
        here = [node for node in replacements if homes[node] is chunk]
        if not here:
            texts.append(chunk.text)
            continue
        if chunk.module.code != chunk.text:
            why = f"{code.path} can't be written back byte for byte (CR line endings, or a form feed?)."
            raise CodeError(why, "Save it with LF line endings, or report it to the authors of the model.")
        touched: set[cst.CSTNode] = set()
        for node in here:
            while node not in touched:
                touched.add(node)
                node = chunk.parents.get(node, node)
        texts.append(chunk.module.visit(_Replacer(touched, replacements)).code)
    return "".join(texts).encode(code.encoding)


class _Replacer(cst.CSTTransformer):
    """Replaces nodes; those outside `touched` stay the same objects."""

    def __init__(self, touched: Collection[cst.CSTNode], replacements: Mapping[cst.CSTNode, Replacement]) -> None:
        self.touched = touched
        self.replacements = replacements

    def on_visit(self, node: cst.CSTNode) -> bool:
        return node in self.touched

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        replacement = self.replacements.get(original_node)
        return replacement(updated_node) if replacement else updated_node


def replaced(code: Code, replacements: Mapping[cst.CSTNode, Replacement], otherwise: str) -> Applied | NotNeeded:
    """The file with these nodes replaced; not needed, for the reason `otherwise`, where there are none."""
    if not replacements:
        return NotNeeded(otherwise)
    return Applied(rewrite(code, replacements), tuple(code.span(node) for node in replacements))
