"""Rewrites a file in place: the given nodes are replaced, and every other byte stays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.errors import CodeError

Replacement = Callable[[Any], Any]


def rewrite(code: Code, replacements: Mapping[cst.CSTNode, Replacement]) -> bytes:
    """The file with each given node replaced by what its function makes of it, and all else as it was, or CodeError."""
    texts, places = [], {node: code.place(node)[0] for node in replacements}
    for piece in code.pieces:
        here = [node for node in replacements if places[node] is piece]
        if not here:
            texts.append(piece.text)
            continue
        if piece.module.code != piece.text:
            raise CodeError(
                f"{code.path} can't be written back byte for byte (line ends of old Macs, or a form feed?).",
                "Save it with ordinary line ends, or report it to the authors of the model.",
            )
        touched: set[cst.CSTNode] = set()
        for node in here:
            while node not in touched:
                touched.add(node)
                node = piece.parents.get(node, node)
        texts.append(_rebuilt(piece.module, touched, replacements).code)
    return "".join(texts).encode(code.encoding)


def _rebuilt(
    node: cst.CSTNode, touched: Collection[cst.CSTNode], replacements: Mapping[cst.CSTNode, Replacement]
) -> Any:
    """A node with the replacements below it and its own; what is not touched is the same object as before."""
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
