"""Replaces nodes of a file and keeps every other byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
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
            raise CodeError(
                f"{code.path} can't be written back byte for byte (line ends of old Macs, or a form feed?).",
                "Save it with ordinary line ends, or report it to the authors of the model.",
            )
        touched: set[cst.CSTNode] = set()
        for node in here:
            while node not in touched:
                touched.add(node)
                node = chunk.parents.get(node, node)
        texts.append(_rebuilt(chunk.module, touched, replacements).code)
    return "".join(texts).encode(code.encoding)


def _rebuilt(
    node: cst.CSTNode, touched: Collection[cst.CSTNode], replacements: Mapping[cst.CSTNode, Replacement]
) -> Any:
    """A node with its own replacement and those below it; nodes outside `touched` stay the same objects."""
    if node not in touched:
        return node
    fields: dict[str, Any] = {}
    for name in node.__dataclass_fields__:
        value = getattr(node, name)
        if isinstance(value, cst.CSTNode):
            fields[name] = _rebuilt(value, touched, replacements)
        elif isinstance(value, (list, tuple)) and any(item in touched for item in value):
            items: list[Any] = []
            for item in value:
                new = _rebuilt(item, touched, replacements)
                if isinstance(new, cst.FlattenSentinel):
                    items += new
                elif new is not cst.RemovalSentinel.REMOVE:
                    items.append(new)
            fields[name] = items
    updated = node.with_changes(**fields)
    replace_ = replacements.get(node)
    return replace_(updated) if replace_ else updated
