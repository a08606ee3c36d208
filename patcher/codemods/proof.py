"""Proves that a codemod changed what it meant to change, and not one byte or node more."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from patcher.codemods.chunks import lines as lines
from patcher.codemods.code import Code
from patcher.codemods.outcomes import Span
from patcher.errors import CodeError


@dataclass(frozen=True)
class Hunk:
    """Lines `before` of the old text became lines `after` of the new one (0-based, end excluded)."""

    before: tuple[int, int]
    after: tuple[int, int]


def hunks(before: str, after: str) -> tuple[Hunk, ...]:
    """The changed line ranges between two texts. A line is compared with its line end."""
    old, new = lines(before), lines(after)
    same = 0  # the equal lines at the start, which need no search
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    matcher = SequenceMatcher(None, old[same:], new[same:], autojunk=False)
    found = []
    for tag, *around in matcher.get_opcodes():
        i1, i2, j1, j2 = (same + index for index in around)
        # Of the places at which an insertion could be reported (blank lines around it), take the first.
        while tag == "insert" and i1 and old[i1 - 1] == new[j2 - 1]:
            i1, i2, j1, j2 = i1 - 1, i2 - 1, j1 - 1, j2 - 1
        if tag != "equal":
            found.append(Hunk((i1, i2), (j1, j2)))
    return tuple(found)


def prove(before: Code, after: Code, spans: Iterable[Span]) -> tuple[Hunk, ...]:
    """Compare two files as `assert_only_intended` does, top-level statement by top-level statement.

    Those whose text is equal, byte for byte, need no more: one text has one tree. Every statement of either file went
    through Python's parser, also the new ones. Raises CodeError.
    """
    meant = tuple(spans)
    if len(before.pieces) != len(after.pieces):
        return assert_only_intended(before.text, after.text, meant, before.path)
    found: list[Hunk] = []
    old = new = 0
    for one, other in zip(before.pieces, after.pieces, strict=True):
        if one.text != other.text:
            here = [Span(span.first - old, span.last - old) for span in meant]
            for hunk in assert_only_intended(one.text, other.text, here, before.path, old):
                (a, b), (c, d) = hunk.before, hunk.after
                found.append(Hunk((a + old, b + old), (c + new, d + new)))
        old, new = old + one.height, new + other.height
    return tuple(found)


def assert_only_intended(before: str, after: str, spans: Iterable[Span], path: str, above: int = 0) -> tuple[Hunk, ...]:
    """Compare both texts as lines and as trees, and return the hunks between them.

    Every changed line has to lie inside one of `spans` (an insertion: inside or at its edge), and the two trees,
    with the statements on changed lines taken out of both, have to be equal node by node.

    Raises CodeError where anything else differs: this is a mistake in a codemod, never one of the user's. Its lines
    are counted from `above`, the number of lines in front of the two texts.
    """
    changed, meant = hunks(before, after), tuple(spans)
    for hunk in changed:
        first, last = hunk.before[0] + 1, hunk.before[1]
        if last < first and not any(span.first <= first and last <= span.last for span in meant):
            raise _mistake(path, f"line {above + first} changed and was not meant to")
        for line in range(first, last + 1):
            if not any(span.first <= line <= span.last for span in meant):
                raise _mistake(path, f"line {above + line} changed and was not meant to")
    rest = _rest if _is_read_by_this_python(before) else _rest_of_newer_python
    old = rest(before, [(h.before[0] + 1, h.before[1]) for h in changed], path)
    new = rest(after, [(h.after[0] + 1, h.after[1]) for h in changed], path)
    if old != new:
        raise _mistake(path, "a statement outside the changed lines differs")
    return changed


def _is_read_by_this_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _rest(text: str, ranges: list[tuple[int, int]], path: str) -> str:
    """The tree without the statements on changed lines."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise _mistake(path, f"the result does not parse: {error}") from error
    _prune(tree, ranges)
    return ast.dump(tree)


def _rest_of_newer_python(text: str, ranges: list[tuple[int, int]], path: str) -> str:
    """The same by LibCST, for code in the syntax of a newer Python than runs here: f-strings of 3.12 on 3.11."""
    try:
        wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    except cst.ParserSyntaxError as error:
        raise _mistake(path, f"the result does not parse: {error.message}") from error
    found: list[str] = []
    waiting: list[tuple[int, cst.CSTNode]] = [(0, wrapper.module)]
    positions = wrapper.resolve(PositionProvider)
    while waiting:
        depth, node = waiting.pop()
        touched = any(
            positions[node].start.line <= last and first <= positions[node].end.line for first, last in ranges
        )
        if isinstance(node, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            found += [] if touched else [f"{depth} {wrapper.module.code_for_node(item)}" for item in node.body]
        elif not isinstance(node, cst.BaseExpression):
            found.append(f"{depth} {type(node).__name__}" if isinstance(node, cst.BaseCompoundStatement) else "")
            waiting += [(depth + 1, child) for child in reversed(node.children)]
    return "\n".join(filter(None, found))


def _prune(node: ast.AST, ranges: list[tuple[int, int]]) -> None:
    """Drop each simple statement that touches a changed line, and each compound one that lies inside them."""
    for _, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            value[:] = [child for child in value if not _touched(child, ranges)]
            children = value
        for child in children:
            if isinstance(child, ast.AST):
                _behead(child, ranges)
                _prune(child, ranges)


def _behead(node: ast.AST, ranges: list[tuple[int, int]]) -> None:
    """Drop what stands in the head of a compound statement, where a changed line touches that; its blocks stay."""
    if not isinstance(node, (ast.If, ast.While, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith, ast.Match)):
        return
    fields = [name for name in ("test", "target", "iter", "items", "subject") if hasattr(node, name)]
    below = {id(part) for part in ast.iter_child_nodes(node) if isinstance(part, (ast.stmt, ast.match_case))}
    head = [part for child in ast.iter_child_nodes(node) if id(child) not in below for part in ast.walk(child)]
    last = max((part.end_lineno or 0 for part in head if isinstance(part, ast.expr)), default=node.lineno)
    if any(node.lineno <= end and start <= last for start, end in ranges):
        for name in fields:
            setattr(node, name, None)


def _touched(node: ast.stmt, ranges: list[tuple[int, int]]) -> bool:
    first, last = node.lineno, node.end_lineno or node.lineno
    if hasattr(node, "body"):
        return any(start <= first and last <= end for start, end in ranges)
    return any(first <= end and start <= last for start, end in ranges)


def _mistake(path: str, what: str) -> CodeError:
    return CodeError(
        f"The rewritten {path} is not what was intended: {what}; nothing was written.",
        "This is a defect of splade-patcher: please report it with the name and the revision of the model.",
    )
