"""Refuses code that is nested too deeply, too long or too repetitive, which would crash or stall the parsers."""

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
    """Refuse a file on which a parser, or a comparison of two texts, would take too long. Raises CodeError."""
    if len(content) > MAX_BYTES:
        raise _refused(path, f"has {len(content):,} bytes; models have less than {MAX_BYTES:,}")
    repeated, times = Counter(content.splitlines()).most_common(1)[0] if content else (b"", 0)
    if times > MAX_EQUAL_LINES:
        raise _refused(path, f"repeats the line {repeated[:40]!r} {times:,} times")


def check_depth(statements: Iterable[ast.stmt], path: str) -> None:
    """Refuse statements on which LibCST's parser, which recurses without a limit, would crash.

    Python's own parser has such limits and has read the statements before. Raises CodeError with the line.
    """
    waiting: list[tuple[ast.AST, int, int]] = [(node, 1, node.lineno) for node in statements]
    while waiting:
        node, depth, line = waiting.pop()
        line = getattr(node, "lineno", line)
        if depth > MAX_DEPTH:
            raise _refused(path, f"is nested too deeply in line {line}: more than {MAX_DEPTH} levels")
        if isinstance(node, _SMALL) and _width(node) + depth < MAX_DEPTH - 5:
            continue  # each level but a few takes at least one character, so a short line can't be deep
        waiting += [(child, depth + 1, line) for child in ast.iter_child_nodes(node)]


def _width(node: ast.stmt) -> float:
    """The number of characters of a statement on one line; infinite for one on several."""
    return (node.end_col_offset or 0) - node.col_offset if node.lineno == node.end_lineno else math.inf


def _refused(path: str, what: str) -> CodeError:
    return CodeError(f"{path} {what}.", "No code written by people looks like that; do not run it.")
