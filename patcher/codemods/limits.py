"""Refuses code that is far too deep, long or uniform for any model, and would crash or stall the parsers."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterable

from patcher.errors import CodeError

# The deepest of the 500 models in transformers reaches 23, and the longest file has 200 kB.
MAX_DEPTH = 100
MAX_BYTES = 1_000_000
# Comparing two texts takes time that grows with the square of how often they repeat a line.
MAX_EQUAL_LINES = 5_000
_SMALL = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Assert, ast.Raise, ast.Import)


def check_size(content: bytes, path: str) -> None:
    """Refuse what would take a parser, or a comparison of two texts, far too long. Raises CodeError."""
    if len(content) > MAX_BYTES:
        raise _refused(path, f"has {len(content):,} bytes; models have less than {MAX_BYTES:,}")
    repeated, times = Counter(content.splitlines()).most_common(1)[0] if content else (b"", 0)
    if times > MAX_EQUAL_LINES:
        raise _refused(path, f"repeats the line {repeated[:40]!r} {times:,} times")


def check_depth(statements: Iterable[ast.stmt], path: str) -> None:
    """Refuse what LibCST's parser, which recurses without a limit of its own, could not survive.

    Python's parser has limits and comes first. Raises CodeError with the line.
    """
    waiting: list[tuple[ast.AST, int, int]] = [(node, 1, node.lineno) for node in statements]
    while waiting:
        node, depth, line = waiting.pop()
        line = getattr(node, "lineno", line)
        if depth > MAX_DEPTH:
            raise _refused(path, f"is nested too deeply in line {line}: more than {MAX_DEPTH} levels")
        if isinstance(node, _SMALL) and _width(node) + depth < MAX_DEPTH - 5:
            continue  # every level but a few at the ends takes a character at least: most lines need no look
        waiting += [(child, depth + 1, line) for child in ast.iter_child_nodes(node)]


def _width(node: ast.stmt) -> float:
    """The characters of a statement that stands on one line."""
    return (node.end_col_offset or 0) - node.col_offset if node.lineno == node.end_lineno else math.inf


def _refused(path: str, what: str) -> CodeError:
    return CodeError(f"{path} {what}.", "No code written by people looks like that; do not run it.")
