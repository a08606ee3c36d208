"""A Python file cut into its top-level statements, each of which LibCST parses only when somebody looks into it.

Python's own parser does the cutting, at a tenth of the price: of a model's file a codemod looks at a few classes only.
"""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider, Scope, ScopeProvider
from libcst.metadata.scope_provider import LocalScope

from patcher.codemods.nodes import children, walk

_CHAIN = re.compile(r"(?:(?:not|await|lambda\b[^:]*:|[-+~])\s*){200}")  # operators before operators
_DEEP = 200  # brackets in brackets; Python's parser stops there, LibCST's brings the process down with it
_LONG = 20_000  # characters of a line
_WORD = re.compile(r"\w+")
_INDENTED_COMMENT = re.compile(r"[ \t\f]+#")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SCOPES = (*_DEFINITIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# Which field of a node has the names that it binds.
_BINDING = (
    (ast.Name, "id"),
    (ast.arg, "arg"),
    ((*_DEFINITIONS, ast.ExceptHandler, ast.MatchAs, ast.MatchStar), "name"),
    ((ast.Global, ast.Nonlocal), "names"),
    (ast.MatchMapping, "rest"),
)


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
    def bindings(self) -> Mapping[str, AbstractSet[str]]:
        """The full names of what the statements bind at the top level, by name: `F` to `torch.nn.functional`."""
        if self.tops is None:
            scope = self._scopes[self.module]
            assert scope is not None
            return {
                one.name: {full.name for full in scope.get_qualified_names_for(one.name)} for one in scope.assignments
            }
        found: dict[str, set[str]] = {}
        for node in _of_one_scope(self.tops):
            for name, full in bindings(node):
                found.setdefault(name, set()).add(full)
        return found

    @cached_property
    def bound_inside(self) -> AbstractSet[str]:
        """The names that anything inside of the statements binds, in whatever scope; all others are outer ones."""
        if self.tops is None:
            return self.words  # it may be any of them
        inside = (node for top in self.tops for node in ast.walk(top) if node is not top)
        return {name for node in inside for name, _ in bindings(node)}

    @cached_property
    def parents(self) -> Mapping[cst.CSTNode, cst.CSTNode]:
        return {child: node for node in walk(self.module) for child in children(node)}

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(_WORD.findall(self.text))

    @cached_property
    def _positions(self) -> Mapping[cst.CSTNode, CodeRange]:
        return MetadataWrapper(self.module, unsafe_skip_copy=True).resolve(PositionProvider)

    def lines_of(self, node: cst.CSTNode) -> tuple[int, int]:
        """First and last line of a node, from 1 for the first line of the piece."""
        where = self._positions[node]
        return where.start.line, where.end.line

    @cached_property
    def _scopes(self) -> Mapping[cst.CSTNode, Scope | None]:
        return MetadataWrapper(self.module, unsafe_skip_copy=True).resolve(ScopeProvider)

    def local_names(self, node: cst.CSTNode, root: str) -> set[str]:
        """The full names of a dotted name whose first part a function or a class binds, by LibCST's scopes.

        Empty where the first part is bound at the top level of the file, or nowhere.
        """
        scope = self._scopes.get(node)
        if scope is None or not any(isinstance(one.scope, LocalScope) for one in scope[root]):
            return set()
        return {item.name for item in scope.get_qualified_names_for(node)}


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


def _of_one_scope(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Statements and all below them but what has a scope of its own."""
    waiting = list(statements)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)


def bindings(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that a node of Python's tree binds, each with the full name of what it stands for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (root, root)
    elif isinstance(node, ast.ImportFrom):
        origin = "." * node.level + (f"{node.module}." if node.module else "")
        yield from ((alias.asname or alias.name, origin + alias.name) for alias in node.names if alias.name != "*")
    else:
        field = next((field for kind, field in _BINDING if isinstance(node, kind)), "")
        names = getattr(node, field, None) if not isinstance(getattr(node, "ctx", None), ast.Load) else None
        for name in [names] if isinstance(names, str) else names or ():
            yield name, name
