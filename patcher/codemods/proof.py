"""Proves that a codemod changed the intended lines and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import libcst as cst

from patcher.codemods.chunks import POSITIONED, Chunk, lines
from patcher.codemods.code import Code
from patcher.codemods.nodes import children
from patcher.codemods.outcomes import Span
from patcher.errors import CodeError, see

Node = ast.AST | cst.CSTNode
_SIMPLE = (*POSITIONED, cst.BaseSmallStatement, cst.BaseExpression)


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
    for tag, *ranges in matcher.get_opcodes():
        i1, i2, j1, j2 = (same + index for index in ranges)
        # An insertion next to equal blank lines has several positions; report the first.
        while tag == "insert" and i1 and old[i1 - 1] == new[j2 - 1]:
            i1, i2, j1, j2 = i1 - 1, i2 - 1, j1 - 1, j2 - 1
        if tag != "equal":
            found.append(Hunk((i1, i2), (j1, j2)))
    return tuple(found)


def prove(before: Code, after: Code, spans: Iterable[Span]) -> tuple[Hunk, ...]:
    """Compare two files as lines and as trees, and return the hunks between them.

    Every changed line has to lie inside one of `spans` (an insertion: inside or at its edge), and the two trees,
    without the statements on changed lines, have to be equal. Chunks whose texts are equal, byte for byte, have equal
    trees and are skipped. Python's parser has read every statement of both files.

    Raises CodeError for any other difference, which is a defect of a codemod.
    """
    intended, found = tuple(spans), list[Hunk]()
    old = new = 0
    for one, other in _aligned(before.chunks, after.chunks):
        changed = hunks("".join(chunk.text for chunk in one), "".join(chunk.text for chunk in other))
        for hunk in changed:
            (a, b), (c, d) = hunk.before, hunk.after
            found.append(Hunk((a + old, b + old), (c + new, d + new)))
            _check_lines(found[-1], intended, before.path)
        ranges = [(h.before[0] + 1, h.before[1]) for h in changed], [(h.after[0] + 1, h.after[1]) for h in changed]
        newer = any(chunk.newer_syntax for chunk in (*one, *other))
        if changed and _unchanged(one, ranges[0], newer=newer) != _unchanged(other, ranges[1], newer=newer):
            raise defect(
                f"The rewritten {before.path} is not what was intended: a statement outside the changed lines differs"
            )
        old += sum(chunk.line_count for chunk in one)
        new += sum(chunk.line_count for chunk in other)
    return tuple(found)


def _aligned(before: Sequence[Chunk], after: Sequence[Chunk]) -> Iterator[tuple[Sequence[Chunk], Sequence[Chunk]]]:
    """Pairs of consecutive chunks of two files: one by one where the texts are equal or their number is."""
    old, new = ([chunk.text for chunk in chunks] for chunks in (before, after))
    for _, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if i2 - i1 == j2 - j1:
            yield from (((one,), (other,)) for one, other in zip(before[i1:i2], after[j1:j2], strict=True))
        else:
            yield before[i1:i2], after[j1:j2]


def _check_lines(hunk: Hunk, spans: Iterable[Span], path: str) -> None:
    first, last = hunk.before[0] + 1, hunk.before[1]
    edge = 1 if last < first else 0  # an insertion changes no line of the old file
    for line in range(first, last + edge + 1):
        if not any(span.first <= line and line - edge <= span.last for span in spans):
            raise defect(f"The rewritten {path} is not what was intended: line {line} changed and was not meant to")


def _unchanged(chunks: Iterable[Chunk], ranges: Sequence[tuple[int, int]], *, newer: bool) -> list[tuple[int, str]]:
    """What is not on changed lines, with its depth: simple statements, and the expressions of headers.

    Of a compound statement only its kind, and nothing where all its lines changed. Trees are those of Python's parser;
    those of LibCST where some syntax is newer than this Python's.
    """
    found: list[tuple[int, str]] = []
    above = 0
    for chunk in chunks:
        waiting: list[tuple[int, Node]] = [(0, node) for node in ([chunk.module] if newer else chunk.statements)]
        while waiting:
            depth, node = waiting.pop()
            compound = isinstance(node, cst.BaseCompoundStatement) or (
                isinstance(node, ast.stmt) and (hasattr(node, "body") or hasattr(node, "cases"))
            )
            if compound or isinstance(node, _SIMPLE):
                first, last = (above + line for line in chunk.lines_of(node))
                if any(a <= first and last <= b if compound else a <= last and first <= b for a, b in ranges):
                    continue
                found.append((depth, type(node).__name__ if compound else _text(node)))
            if compound or not isinstance(node, _SIMPLE):
                below = list[Node](children(node) if isinstance(node, cst.CSTNode) else ast.iter_child_nodes(node))
                waiting += [(depth + 1, child) for child in reversed(below)]
        above += chunk.line_count
    return found


def _text(node: Node) -> str:
    return ast.dump(node) if isinstance(node, ast.AST) else cst.Module([]).code_for_node(node)


def defect(what: str) -> CodeError:
    """The error for a result that no codemod should give."""
    return CodeError(
        f"{what}; nothing was written.",
        "This is a defect of splade-patcher: please report it with the name and the revision of the model."
        + see("defect"),
    )
