"""A Python file split into its top-level statements; LibCST parses one of them when a codemod asks for its tree.

Python's own parser finds the statements at a tenth of the cost. A codemod needs the trees of a few classes only.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider, Scope, ScopeProvider
from libcst.metadata.scope_provider import LocalScope

from patcher.codemods.nodes import children, definitions, walk

_OPERATORS = re.compile(r"(?:(?:not|await|lambda\b[^:]*:|[-+~])\s*){200}")  # unary operators in a row
_MAX_BRACKETS = 200  # nested ones; Python's parser stops there, LibCST's crashes the process
_MAX_COLUMNS = 20_000
_WORD = re.compile(r"\w+")
_INDENTED_COMMENT = re.compile(r"[ \t\f]+#")
POSITIONED = (ast.stmt, ast.expr, ast.pattern, ast.arg)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SCOPES = (*_DEFINITIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# The field of each kind of node that holds the names which it binds.
_BINDING_FIELDS: Mapping[type[ast.AST], str] = {
    ast.Name: "id",
    ast.arg: "arg",
    **dict.fromkeys((*_DEFINITIONS, ast.ExceptHandler, ast.MatchAs, ast.MatchStar), "name"),
    ast.MatchMapping: "rest",
    ast.Global: "names",
    ast.Nonlocal: "names",
}


def lines(text: str) -> list[str]:
    """The lines of a source file with their ends; a form feed ends none, as in Python and unlike str.splitlines."""
    return io.StringIO(text, newline="").readlines()


class InvalidSyntax(Exception):
    """A text that is not valid Python, or that LibCST can't parse, which the message says."""


class Chunk:
    """One or more top-level statements that share lines, with the comments above them.

    `statements` come from Python's parser, whose line numbers count from the start of a text in which `above` lines
    precede the chunk. They are None where the syntax is newer than this Python's and only LibCST can parse it.
    """

    def __init__(self, text: str, statements: Sequence[ast.stmt] | None = (), above: int = 0) -> None:
        self.text = text
        self.newer_syntax = statements is None
        self.statements: Sequence[ast.stmt] = statements or ()
        self.above = above
        self.line_count = len(lines(text))

    @cached_property
    def module(self) -> cst.Module:
        """LibCST's tree of the chunk. Raises InvalidSyntax."""
        try:
            return cst.parse_module(self.text)
        except cst.ParserSyntaxError as error:
            why = "is not valid Python" if self.newer_syntax else "is valid, but LibCST can't parse it"
            raise InvalidSyntax(f"{why}: line {self.above + error.raw_line}") from error

    @property
    def is_parsed(self) -> bool:
        """Whether LibCST has parsed the chunk."""
        return "module" in self.__dict__

    @cached_property
    def parents(self) -> Mapping[cst.CSTNode, cst.CSTNode]:
        """The parent of each node of the tree but the module."""
        return {child: node for node in walk(self.module) for child in children(node)}

    @cached_property
    def words(self) -> frozenset[str]:
        """All words of the text, comments and strings included."""
        return frozenset(_WORD.findall(self.text))

    @cached_property
    def definitions(self) -> tuple[tuple[type[cst.CSTNode], str], ...]:
        """The classes and functions that the statements define at the top level, by kind and name."""
        if self.newer_syntax:
            return tuple((type(node), node.name.value) for node in definitions(self.module.body))
        return tuple(
            (cst.ClassDef if isinstance(node, ast.ClassDef) else cst.FunctionDef, node.name)
            for node in _defined(self.statements)
        )

    @cached_property
    def bindings(self) -> Sequence[tuple[str, str]]:
        """Each name that the statements bind at the top level, with its full name: `F`, `torch.nn.functional`."""
        if not self.newer_syntax:
            return [pair for node in _same_scope(self.statements) for pair in bindings_of(node)]
        scope = self._scopes[self.module]
        assert scope is not None
        names = [one.name for one in scope.assignments]
        return [(name, full.name) for name in names for full in scope.get_qualified_names_for(name)]

    @cached_property
    def inner_names(self) -> frozenset[str]:
        """The names that are bound inside the statements, in any scope; may include more where the syntax is newer."""
        if self.newer_syntax:
            return self.words
        nodes = (node for statement in self.statements for node in ast.walk(statement) if node is not statement)
        return frozenset(name for node in nodes for name, _ in bindings_of(node))

    @cached_property
    def python_nodes(self) -> Mapping[type[ast.AST], Sequence[ast.AST]]:
        """The nodes of the statements in the trees of Python's own parser, by kind; none where the syntax is newer."""
        found: dict[type[ast.AST], list[ast.AST]] = {}
        for statement in self.statements:
            for node in ast.walk(statement):
                found.setdefault(type(node), []).append(node)
        return found

    def local_names(self, node: cst.CSTNode, root: str) -> set[str]:
        """The full names of a dotted name, by LibCST's scopes, where a function or a class binds its first part `root`.

        Empty where `root` is bound at the top level of the file, or nowhere.
        """
        if root not in self.inner_names:
            return set()  # which needs no scopes
        scope = self._scopes.get(node)
        if scope is None or not any(isinstance(one.scope, LocalScope) for one in scope[root]):
            return set()
        return {full.name for full in scope.get_qualified_names_for(node)}

    @cached_property
    def _scopes(self) -> Mapping[cst.CSTNode, Scope | None]:
        return MetadataWrapper(self.module, unsafe_skip_copy=True).resolve(ScopeProvider)

    def lines_of(self, node: ast.AST | cst.CSTNode) -> tuple[int, int]:
        """First and last line of a node of either tree, from 1 for the first line of the chunk."""
        if isinstance(node, POSITIONED):
            return node.lineno - self.above, (node.end_lineno or node.lineno) - self.above
        assert isinstance(node, cst.CSTNode)
        position = self._positions[node]
        return position.start.line, position.end.line

    @cached_property
    def _positions(self) -> Mapping[cst.CSTNode, CodeRange]:
        return MetadataWrapper(self.module, unsafe_skip_copy=True).resolve(PositionProvider)


def split(text: str) -> tuple[Chunk, ...]:
    """The chunks of a file, whose texts joined are its text. Raises InvalidSyntax."""
    if "\0" in text:  # LibCST reads one in a string, and Python nowhere
        raise InvalidSyntax("is not valid Python: it contains a NUL byte")
    try:
        statements = _parse(text)
    except SyntaxError as error:
        newer = _split_by_libcst(text)
        if newer is None:
            raise InvalidSyntax(f"is not valid Python: line {error.lineno}: {error.msg}") from error
        return newer
    except (RecursionError, MemoryError) as error:
        longest = max(enumerate(lines(text), 1), key=lambda line: len(line[1]))[0]
        raise InvalidSyntax(f"is nested too deeply to be parsed; line {longest} is the longest") from error
    every, found, start = lines(text), list[Chunk](), 0
    groups: list[list[ast.stmt]] = []
    for statement in statements:  # those that share a line stay together
        if not groups or statement.lineno > (groups[-1][-1].end_lineno or 0):
            groups.append([])
        groups[-1].append(statement)
    for group in groups:
        end = group[-1].end_lineno or 0
        following = end  # indented comments belong to the block above them
        while following < len(every) and (not every[following].strip() or _INDENTED_COMMENT.match(every[following])):
            following += 1
            end = following if every[following - 1].strip() else end
        found.append(Chunk("".join(every[start:end]), group, start))
        start = end
    if start < len(every):
        found.append(Chunk("".join(every[start:]), (), start))
    return tuple(found)


def _split_by_libcst(text: str) -> tuple[Chunk, ...] | None:
    """The chunks of a file whose syntax is newer than this Python's; None where LibCST can't parse it either."""
    depth = deepest = 0
    for bracket in re.findall(r"[()\[\]{}]", text):
        depth = depth + 1 if bracket in "([{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    if deepest > _MAX_BRACKETS or _OPERATORS.search(text) or max(map(len, text.split("\n"))) > _MAX_COLUMNS:
        return None
    try:
        module = cst.parse_module(text)
    except cst.ParserSyntaxError:
        return None
    texts = [module.code_for_node(statement) for statement in module.body]
    above = len("".join(module.code_for_node(line) for line in module.header))
    if not texts or not text.startswith("".join(texts), above):
        return (Chunk(text, None),)
    below = text[above + sum(map(len, texts)) :]
    texts[0] = text[:above] + texts[0]
    return tuple(Chunk(part, _try_parse(part)) for part in [*texts, below] if part)


def _try_parse(text: str) -> Sequence[ast.stmt] | None:
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return _parse(text)
    return None


def _parse(text: str) -> Sequence[ast.stmt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes are for the authors of the model to fix
        return ast.parse(text).body


def _same_scope(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Statements and the nodes below them, without those in a scope of their own."""
    waiting = list(statements)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)


def _defined(statements: Iterable[ast.AST]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The definitions of statements in the order of the file, also below `if`, `try`, `with` and loops."""
    for node in statements:
        if isinstance(node, _DEFINITIONS):
            yield node
        elif not isinstance(node, ast.expr):
            yield from _defined(ast.iter_child_nodes(node))


def bindings_of(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that one node of Python's tree binds, each with the full name of what it refers to."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            package = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (package, package)
    elif isinstance(node, ast.ImportFrom):
        origin = "." * node.level + (f"{node.module}." if node.module else "")
        yield from ((alias.asname or alias.name, origin + alias.name) for alias in node.names if alias.name != "*")
    elif not isinstance(node, ast.Name) or isinstance(node.ctx, ast.Store):
        names = getattr(node, _BINDING_FIELDS.get(type(node), ""), None) or ()
        yield from ((name, name) for name in ([names] if isinstance(names, str) else names))
