"""A Python file cut into its top-level statements, each of which LibCST parses only when somebody looks into it.

Python's own parser does the cutting, at a tenth of the price: of a model's file a codemod looks at a few classes only.
"""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider, Scope, ScopeProvider

from patcher.codemods.nodes import children, walk

_CHAIN = re.compile(r"(?:(?:not|await|lambda\b[^:]*:|[-+~])\s*){200}")  # operators before operators
_DEEP = 200  # brackets in brackets; Python's parser stops there, LibCST's brings the process down with it
_LONG = 20_000  # characters of a line
_WORD = re.compile(r"\w+")
_INDENTED_COMMENT = re.compile(r"[ \t\f]+#")
_BETWEEN = (cst.BaseSuite, cst.EmptyLine, cst.TrailingWhitespace, cst.Module)  # of no single statement


class Unreadable(Exception):
    """A text that is no Python; says why, in Python's own words."""


class Piece:
    """The statements of some lines at the top level, with the comments above them.

    `tops` are the statements as Python's parser sees them, None where only LibCST can read them, and `zero` is the
    number of lines above the piece in the text that they were parsed from.
    """

    def __init__(self, text: str, tops: Sequence[ast.stmt] | None = (), zero: int = 0) -> None:
        self.text = text
        self.tops = tops
        self.zero = zero
        self.height = len(lines(text))

    @cached_property
    def module(self) -> cst.Module:
        """Raises Unreadable."""
        try:
            return cst.parse_module(self.text)
        except cst.ParserSyntaxError as error:
            raise Unreadable(f"line {self.zero + error.raw_line}") from error

    @property
    def is_indexed(self) -> bool:
        return "parents" in self.__dict__

    @property
    def is_parsed(self) -> bool:
        return "module" in self.__dict__

    @property
    def statements(self) -> Sequence[ast.stmt]:
        """The statements as Python's parser sees them; none where it can't."""
        return self.tops or ()

    @cached_property
    def definitions(self) -> tuple[tuple[type[cst.CSTNode], str], ...]:
        """The classes and functions that stand here, by kind and name."""
        if self.tops is None:
            found = [node for node in self.module.body if isinstance(node, (cst.ClassDef, cst.FunctionDef))]
            return tuple((type(node), node.name.value) for node in found)
        return tuple(
            (cst.ClassDef if isinstance(top, ast.ClassDef) else cst.FunctionDef, top.name)
            for top in self.tops
            if isinstance(top, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        )

    @cached_property
    def bound(self) -> str | None:
        """The names that the statements bind, as statements that do no more; None where it takes the piece itself."""
        found = []
        for top in self.tops if self.tops is not None else [None]:
            if isinstance(top, (ast.Import, ast.ImportFrom)):
                found.append(ast.unparse(top))
            elif isinstance(top, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found.append(f"{top.name} = None")
            elif isinstance(top, ast.Assign) and all(isinstance(target, ast.Name) for target in top.targets):
                found += [f"{target.id} = None" for target in top.targets if isinstance(target, ast.Name)]
            elif not isinstance(top, ast.Expr) or not isinstance(top.value, ast.Constant):
                return None
        return "\n".join(found)

    @cached_property
    def bound_inside(self) -> frozenset[str]:
        """The names that anything inside of the statements binds, in whatever scope; all others are outer ones."""
        if self.tops is None:
            return self.words  # it may be any of them
        return frozenset(
            name for top in self.tops for node in ast.walk(top) if node is not top for name in _binds(node) if name
        )

    @cached_property
    def parents(self) -> Mapping[cst.CSTNode, cst.CSTNode]:
        return {child: node for node in walk(self.module) for child in children(node)}

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(_WORD.findall(self.text))

    @cached_property
    def _positions(self) -> Mapping[cst.CSTNode, CodeRange]:
        return MetadataWrapper(self.module, unsafe_skip_copy=True).resolve(PositionProvider)

    @cached_property
    def _twins(self) -> Mapping[cst.CSTNode, ast.stmt]:
        return dict(_paired(self.module.body, self.tops or ()))

    def lines_of(self, node: cst.CSTNode) -> tuple[int, int]:
        """First and last line of a node, from 1 for the first line of the piece."""
        if isinstance(node, cst.SimpleStatementLine) and self.tops is not None:
            first, last = self._twins[node.body[0]], self._twins[node.body[-1]]
            return first.lineno - self.zero, (last.end_lineno or last.lineno) - self.zero
        around = node
        while not isinstance(around, (cst.BaseSmallStatement, cst.BaseStatement, *_BETWEEN)):
            around = self.parents[around]
        twin = self._twins.get(around) if self.tops is not None else None
        if twin is not None and (twin.lineno == twin.end_lineno or around is node):
            return twin.lineno - self.zero, (twin.end_lineno or twin.lineno) - self.zero
        where = self._positions[node]  # inside of a statement of several lines, or a comment
        return where.start.line, where.end.line

    def scope_around(self, node: cst.CSTNode, context: str) -> object:
        """LibCST's scope of a node: of the function or method it stands in, below `context`, or of the whole piece."""
        unit: cst.CSTNode = self.module
        at = node
        while at is not self.module:
            at = self.parents[at]
            if isinstance(at, cst.FunctionDef):
                unit = at
        return self._scopes(unit, context).get(node)

    def _scopes(self, unit: cst.CSTNode, context: str) -> Mapping[cst.CSTNode, object]:
        known = self._known_scopes
        if (unit, context) not in known:
            body = unit.body if isinstance(unit, cst.Module) else [unit]
            own = self.bound or "" if unit is not self.module else ""
            module = cst.Module([*cst.parse_module(context + own).body, *body])
            known[unit, context] = MetadataWrapper(module, unsafe_skip_copy=True).resolve(ScopeProvider)
        return known[unit, context]

    @cached_property
    def _known_scopes(self) -> dict[tuple[cst.CSTNode, str], Mapping[cst.CSTNode, object]]:
        return {}


def lines(text: str) -> list[str]:
    """The lines of a source file with their ends; a form feed ends none, as in Python and unlike str.splitlines."""
    return io.StringIO(text, newline="").readlines()


def cut(text: str) -> tuple[Piece, ...]:
    """The pieces of a file; together they are its text. Raises Unreadable."""
    try:
        tops = _parse(text)
    except SyntaxError as error:
        newer = _cut_by_libcst(text)
        if newer is None:
            raise Unreadable(f"line {error.lineno}: {error.msg}") from error
        return newer
    except ValueError as error:  # a NUL byte
        raise Unreadable(str(error)) from error
    except (RecursionError, MemoryError) as error:
        longest = max(enumerate(lines(text), 1), key=lambda line: len(line[1]))[0]
        raise Unreadable(f"it is nested too deeply to be parsed; line {longest} is the longest") from error
    every, found, at = lines(text), list[Piece](), 0
    for group in _by_line(tops):
        end = max(top.end_lineno or top.lineno for top in group)
        follow = end  # comments that are indented belong to the block above them
        while follow < len(every) and (not every[follow].strip() or _INDENTED_COMMENT.match(every[follow])):
            follow += 1
            end = follow if every[follow - 1].strip() else end
        found.append(Piece("".join(every[at:end]), group, at))
        at = end
    if at < len(every):
        found.append(Piece("".join(every[at:]), (), at))
    return tuple(found)


def _by_line(tops: Sequence[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Statements that share no line with others; those behind a semicolon stay with the one before."""
    group: list[ast.stmt] = []
    for top in tops:
        if group and top.lineno > (group[-1].end_lineno or 0):
            yield group
            group = []
        group.append(top)
    if group:
        yield group


def _cut_by_libcst(text: str) -> tuple[Piece, ...] | None:
    """The pieces where some syntax is newer than this Python and LibCST knows it; None where it doesn't either."""
    depth = deepest = 0
    for bracket in re.findall(r"[()\[\]{}]", text):
        depth = depth + 1 if bracket in "([{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    if deepest > _DEEP or _CHAIN.search(text) or max(map(len, text.split("\n"))) > _LONG:
        return None
    try:
        module = cst.parse_module(text)
    except cst.ParserSyntaxError:
        return None
    texts = [module.code_for_node(statement) for statement in module.body]
    above = len("".join(module.code_for_node(line) for line in module.header))
    if not texts or not text.startswith("".join(texts), above):
        return (Piece(text, None),)
    below = text[above + sum(map(len, texts)) :]
    texts[0] = text[:above] + texts[0]
    return tuple(Piece(part, _tops(part)) for part in [*texts, below] if part)


def _tops(text: str) -> Sequence[ast.stmt] | None:
    try:
        return _parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _parse(text: str) -> Sequence[ast.stmt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes of another time are the author's affair
        return ast.parse(text).body


def _binds(node: ast.AST) -> Sequence[str | None]:
    """The names that a node of Python's tree binds."""
    if isinstance(node, ast.Name):
        return () if isinstance(node.ctx, ast.Load) else (node.id,)
    if isinstance(node, ast.arg):
        return (node.arg,)
    if isinstance(node, ast.alias):
        return (node.asname or node.name.partition(".")[0],)
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return node.names
    if isinstance(node, ast.MatchMapping):
        return (node.rest,)
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
    return (node.name,) if isinstance(node, named) else ()


def outer_scope(context: str) -> Scope:
    """LibCST's scope of the top level of a file."""
    module = cst.parse_module(context)
    found = MetadataWrapper(module, unsafe_skip_copy=True).resolve(ScopeProvider)[module]
    assert isinstance(found, Scope)
    return found


def _paired(ours: Sequence[cst.CSTNode], theirs: Sequence[ast.stmt]) -> Iterator[tuple[cst.CSTNode, ast.stmt]]:
    """Each statement of LibCST with the same one of Python's parser."""
    flat: list[cst.CSTNode] = []
    for item in ours:
        flat += item.body if isinstance(item, cst.SimpleStatementLine) else [item]
    for one, other in zip(flat, theirs, strict=True):
        yield one, other
        for block, statements in _blocks(one, other):
            yield from _paired(block, statements)


def _blocks(ours: cst.CSTNode, theirs: ast.stmt) -> Iterator[tuple[Sequence[cst.CSTNode], Sequence[ast.stmt]]]:
    """The blocks of a compound statement, in both trees."""
    body = getattr(ours, "body", None)
    if isinstance(body, cst.BaseSuite):
        yield body.body, theirs.body  # type: ignore[attr-defined]
    other = getattr(ours, "orelse", None)
    if isinstance(other, cst.If):
        yield [other], theirs.orelse  # type: ignore[attr-defined]
    elif isinstance(other, cst.Else):
        yield other.body.body, theirs.orelse  # type: ignore[attr-defined]
    final = getattr(ours, "finalbody", None)
    if isinstance(final, cst.Finally):
        yield final.body.body, theirs.finalbody  # type: ignore[attr-defined]
    for many in ("handlers", "cases"):
        for one, twin in zip(getattr(ours, many, ()), getattr(theirs, many, ()), strict=True):
            yield one.body.body, twin.body
