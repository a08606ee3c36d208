"""Whether two Python files mean the same, whatever their comments and layout."""

from __future__ import annotations

import ast


def same_meaning(one: bytes, other: bytes) -> bool:
    """Whether two files have the same syntax tree; a file that can't be parsed is like no other."""
    try:
        return one == other or ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
