"""Proves that a codemod changed the intended lines and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from patcher.codemods.code import Code
from patcher.codemods.hunks import Hunk, hunks
from patcher.codemods.outcomes import Span
from patcher.errors import CodeError


def prove(before: Code, after: Code, spans: Iterable[Span]) -> tuple[Hunk, ...]:
    """Compare two files as `assert_only_intended` does, chunk by chunk.

    Chunks whose texts are equal, byte for byte, have equal trees and are skipped. Python's parser has read every
    statement of both files. Raises CodeError.
    """
    intended = tuple(spans)
    if len(before.chunks) != len(after.chunks):
        return assert_only_intended(before.text, after.text, intended, before.path)
    found: list[Hunk] = []
    old = new = 0
    for one, other in zip(before.chunks, after.chunks, strict=True):
        if one.text != other.text:
            here = [Span(span.first - old, span.last - old) for span in intended]
            for hunk in assert_only_intended(one.text, other.text, here, before.path, old):
                (a, b), (c, d) = hunk.before, hunk.after
                found.append(Hunk((a + old, b + old), (c + new, d + new)))
        old, new = old + one.line_count, new + other.line_count
    return tuple(found)


def assert_only_intended(before: str, after: str, spans: Iterable[Span], path: str, above: int = 0) -> tuple[Hunk, ...]:
    """Compare two texts as lines and as trees, and return the hunks between them.

    Every changed line has to lie inside one of `spans` (an insertion: inside or at its edge), and the two trees,
    without the statements on changed lines, have to be equal.

    Raises CodeError for any other difference, which is a defect of a codemod. `above` is the number of lines that
    precede the two texts in their file, and is added to the line numbers of the error.
    """
    changed, intended = hunks(before, after), tuple(spans)
    for hunk in changed:
        first, last = hunk.before[0] + 1, hunk.before[1]
        if last < first and not any(span.first <= first and last <= span.last for span in intended):
            raise _defect(path, f"line {above + first} changed and was not meant to")
        for line in range(first, last + 1):
            if not any(span.first <= line <= span.last for span in intended):
                raise _defect(path, f"line {above + line} changed and was not meant to")
    dump = _dump if _parses(before) else _dump_newer_syntax
    old = dump(before, [(h.before[0] + 1, h.before[1]) for h in changed], path)
    new = dump(after, [(h.after[0] + 1, h.after[1]) for h in changed], path)
    if old != new:
        raise _defect(path, "a statement outside the changed lines differs")
    return changed


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _dump(text: str, ranges: list[tuple[int, int]], path: str) -> str:
    """The tree without the statements on changed lines, as text."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise _defect(path, f"the result does not parse: {error}") from error
    _prune(tree, ranges)
    return ast.dump(tree)


def _dump_newer_syntax(text: str, ranges: list[tuple[int, int]], path: str) -> str:
    """The same by LibCST, for syntax that is newer than this Python's: f-strings of 3.12 on 3.11."""
    try:
        wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    except cst.ParserSyntaxError as error:
        raise _defect(path, f"the result does not parse: {error.message}") from error
    found: list[str] = []
    waiting: list[tuple[int, cst.CSTNode]] = [(0, wrapper.module)]
    positions = wrapper.resolve(PositionProvider)
    while waiting:
        depth, node = waiting.pop()
        changed = _overlap(positions[node].start.line, positions[node].end.line, ranges)
        if isinstance(node, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            found += [] if changed else [f"{depth} {wrapper.module.code_for_node(item)}" for item in node.body]
        elif not isinstance(node, cst.BaseExpression):
            found.append(f"{depth} {type(node).__name__}" if isinstance(node, cst.BaseCompoundStatement) else "")
            waiting += [(depth + 1, child) for child in reversed(node.children)]
    return "\n".join(filter(None, found))


def _prune(node: ast.AST, ranges: list[tuple[int, int]]) -> None:
    """Drop simple statements that overlap a changed line, and compound ones that lie entirely inside changed lines."""
    for _, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            value[:] = [child for child in value if not _is_changed(child, ranges)]
            children = value
        for child in children:
            if isinstance(child, ast.AST):
                _clear_header(child, ranges)
                _prune(child, ranges)


def _clear_header(node: ast.AST, ranges: list[tuple[int, int]]) -> None:
    """Drop the header of a compound statement where a changed line overlaps it; its blocks stay."""
    if not isinstance(node, (ast.If, ast.While, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith, ast.Match)):
        return
    fields = [name for name in ("test", "target", "iter", "items", "subject") if hasattr(node, name)]
    below = {id(part) for part in ast.iter_child_nodes(node) if isinstance(part, (ast.stmt, ast.match_case))}
    header = [part for child in ast.iter_child_nodes(node) if id(child) not in below for part in ast.walk(child)]
    last = max((part.end_lineno or 0 for part in header if isinstance(part, ast.expr)), default=node.lineno)
    if _overlap(node.lineno, last, ranges):
        for name in fields:
            setattr(node, name, None)


def _is_changed(node: ast.stmt, ranges: list[tuple[int, int]]) -> bool:
    first, last = node.lineno, node.end_lineno or node.lineno
    if hasattr(node, "body"):
        return any(start <= first and last <= end for start, end in ranges)
    return _overlap(first, last, ranges)


def _overlap(first: int, last: int, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= end and start <= last for start, end in ranges)


def _defect(path: str, what: str) -> CodeError:
    return CodeError(
        f"The rewritten {path} is not what was intended: {what}; nothing was written.",
        "This is a defect of splade-patcher: please report it with the name and the revision of the model.",
    )
