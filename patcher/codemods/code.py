"""One Python file of a model, and what codemods ask about it: names, lines, definitions, nodes of a kind."""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import math
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, TypeVar

import libcst as cst
from libcst.helpers import get_full_name_for_node

from patcher.codemods.chunks import Chunk, InvalidSyntax, bindings_of, lines, split
from patcher.codemods.nodes import assignments, definitions
from patcher.codemods.outcomes import Outcome, Span
from patcher.errors import CodeError

MARK = "splade-patcher:"
_FROM = re.compile(r"\bfrom\b[^\n]*\bimport\b")
_GLOBAL = re.compile(r"\bglobal\s")
# The deepest of the 500 models in transformers reaches 23, and the longest file has 200 kB and 27,000 nodes.
_MAX_DEPTH = 100
_MAX_BYTES = 1_000_000
_MAX_NODES = 100_000  # of Python's trees, in classes and functions: what is done with those takes time for each node
# Comparing two texts takes time that grows with the square of how often they repeat a line.
_MAX_EQUAL_LINES = 5_000
_SMALL = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Assert, ast.Raise, ast.Import)
Node = TypeVar("Node", bound=cst.CSTNode)
PythonNode = TypeVar("PythonNode", bound=ast.AST)
Definition = TypeVar("Definition", cst.ClassDef, cst.FunctionDef)


@dataclass(frozen=True)
class Code:
    """One Python file of the model: its bytes, and what config.json says about its classes."""

    path: str
    content: bytes
    config: Mapping[str, Any]

    @cached_property
    def encoding(self) -> str:
        """The encoding that the file declares, as Python reads it. Raises CodeError."""
        try:
            return tokenize.detect_encoding(io.BytesIO(self.content).readline)[0]
        except (SyntaxError, LookupError) as error:
            raise self._undecodable(error) from error

    @cached_property
    def text(self) -> str:
        """The file as text, with its line ends unchanged. Raises CodeError."""
        try:
            text = self.content.decode(self.encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise self._undecodable(error) from error
        if text.encode(self.encoding) != self.content:
            raise CodeError(f"{self.path} can't be written back byte for byte.", "Save the file as UTF-8.")
        return text

    def _undecodable(self, error: Exception) -> CodeError:
        return CodeError(
            f"{self.path} can't be decoded: {error}.",
            "Save the file as UTF-8, or declare its encoding in the first line.",
        )

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The file, split. Raises CodeError for a syntax error, and for code that no model would have."""
        _check_size(self.content, self.path)
        try:
            chunks = split(self.text)
        except InvalidSyntax as error:
            raise self._invalid(error) from error
        statements = [statement for chunk in chunks for statement in chunk.statements]
        _check_depth(statements, self.path)
        if len(self.content) > 2 * _MAX_NODES:  # a node takes two characters
            _check_nodes(statements, self.path)
        return chunks

    def _invalid(self, error: InvalidSyntax) -> CodeError:
        return CodeError(
            f"{self.path} {error}.",
            "Report it to the model's authors, or use a revision whose code parses.",
        )

    def changed(self, content: bytes) -> Code:
        """The file with other content; a chunk whose text stays keeps its trees. Raises CodeError."""
        code = replace(self, content=content)
        known: dict[str, list[Chunk]] = {}
        for chunk in self.chunks:
            known.setdefault(chunk.text, []).append(chunk)
        same = (known.get(chunk.text) for chunk in code.chunks)
        kept = tuple(old.pop(0) if old else new for new, old in zip(code.chunks, same, strict=True))
        code.__dict__["chunks"] = kept
        return code

    def parsed(self, chunk: Chunk) -> cst.Module:
        """LibCST's tree of a chunk. Raises CodeError where LibCST can't parse it."""
        try:
            return chunk.module
        except InvalidSyntax as error:
            raise self._invalid(error) from error

    @cached_property
    def _starts(self) -> Sequence[int]:
        """The number of lines above each chunk."""
        return tuple(accumulate((chunk.line_count for chunk in self.chunks), initial=0))

    def locate(self, node: cst.CSTNode) -> tuple[Chunk, int]:
        """The chunk that contains a node, and the number of lines above it. Raises KeyError."""
        if node not in self._places:
            for chunk, above in zip(self.chunks, self._starts, strict=False):
                if chunk.is_parsed and chunk not in self._indexed:
                    self._indexed.add(chunk)
                    self._places.update(dict.fromkeys(chunk.parents, (chunk, above)))
        return self._places[node]

    @cached_property
    def _places(self) -> dict[cst.CSTNode, tuple[Chunk, int]]:
        return {}

    @cached_property
    def _indexed(self) -> set[Chunk]:
        return set()

    def full_names(self, node: cst.CSTNode) -> set[str]:
        """What a name or a dotted name in this file may refer to: `torch.sigmoid`, `.heads.Head`, `Head`.

        A binding in an enclosing function or class hides those at the top level of the file, and these the builtins.
        """
        name = get_full_name_for_node(node)
        if name is None:
            return set()
        root = name.partition(".")[0]
        local = self.locate(node)[0].local_names(node, root)
        if local or root in self._bindings:
            return local or {full + name.removeprefix(root) for full in self._bindings[root]}
        return {f"builtins.{root}"} if hasattr(builtins, root) else set()

    @cached_property
    def _bindings(self) -> Mapping[str, Sequence[str]]:
        """The full names of what the file binds at its top level, by name, one for each time that it is bound."""
        found: dict[str, list[str]] = {}
        pairs = (pair for chunk in self.chunks for pair in chunk.bindings)
        outside = ((name, name) for node in self.python_nodes(ast.Global, _GLOBAL) for name in node.names)
        for name, full in chain(pairs, outside):
            found.setdefault(name, []).append(full)
        return found

    def import_statements(self) -> list[ast.ImportFrom]:
        """Every `from ... import`, also those inside functions."""
        return self.python_nodes(ast.ImportFrom, _FROM)

    def python_nodes(self, kind: type[PythonNode], pattern: re.Pattern[str]) -> list[PythonNode]:
        """Every node of a kind in the trees of Python's own parser, of the chunks that match a pattern."""
        chunks = (chunk for chunk in self.chunks if pattern.search(chunk.text))
        return [node for chunk in chunks for node in chunk.python_nodes.get(kind, ()) if isinstance(node, kind)]

    def nodes(self, kind: type[Node], pattern: re.Pattern[str]) -> list[Node]:
        """Every node of a kind in LibCST's trees of the chunks that match a pattern. Raises CodeError."""
        return [
            node
            for chunk in self.chunks
            if pattern.search(chunk.text) and self.parsed(chunk)
            for node in chunk.parents
            if isinstance(node, kind)
        ]

    def line(self, node: cst.CSTNode) -> int:
        """Line of the node's first character, from 1."""
        return self.span(node).first

    def span(self, node: cst.CSTNode) -> Span:
        """Lines of the node."""
        chunk, above = self.locate(node)
        first, last = chunk.lines_of(node)
        return Span(above + first, above + last)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """The node right above a node."""
        return self.locate(node)[0].parents[node]

    def source(self, node: cst.CSTNode) -> str:
        """The code of a node on one line, without comments."""
        text = cst.Module([]).code_for_node(node)
        if "#" in text or "\\" in text:
            with contextlib.suppress(SyntaxError):
                return ast.unparse(ast.parse(text.strip()))
        return " ".join(text.split())

    def definition(self, kind: type[Definition], name: str) -> Definition | None:
        """The class or function of that name at the top level of the file. Raises CodeError."""
        chunk = self._homes.get((kind, name))
        nodes = list(definitions(self.parsed(chunk).body)) if chunk is not None else []
        return next((node for node in reversed(nodes) if isinstance(node, kind) and node.name.value == name), None)

    def is_unbound(self, name: str) -> bool:
        """Whether neither the file nor Python gives a name at its top level a value."""
        return name not in self._bindings and not hasattr(builtins, name) and not self.has_star_import

    @cached_property
    def has_star_import(self) -> bool:
        """Whether names come from `from ... import *`."""
        return any(alias.name == "*" for statement in self.import_statements() for alias in statement.names)

    def is_bound_once(self, name: str) -> bool:
        """Whether the top level of the file binds a name in one statement only."""
        return len(self._bindings.get(name, ())) == 1

    @cached_property
    def _homes(self) -> Mapping[tuple[type[cst.CSTNode], str], Chunk]:
        """The chunk of each class and function; of several with one name, the last."""
        return {definition: chunk for chunk in self.chunks for definition in chunk.definitions}

    def class_nodes(self, *words: str) -> list[cst.ClassDef]:
        """The classes at the top level in the chunks that have one of these words."""
        chunks = [chunk for chunk in self.chunks if not chunk.words.isdisjoint(words)]
        return [node for chunk in chunks for node in self.parsed(chunk).body if isinstance(node, cst.ClassDef)]

    @cached_property
    def imports(self) -> Mapping[str, str]:
        """Names that imports at the top level bind, with their full names: `.heads.Head`, `torch.nn`."""
        statements = (item for chunk in self.chunks for item in chunk.statements)
        imports = (item for item in statements if isinstance(item, (ast.Import, ast.ImportFrom)))
        return dict(pair for item in imports for pair in bindings_of(item))

    def constant(self, name: str) -> cst.BaseExpression | None:
        """The value of a name that the file binds once, by an assignment at its top level. Raises CodeError."""
        if self._bindings.get(name) != [name]:
            return None
        chunks = [chunk for chunk in self.chunks if (name, name) in chunk.bindings]
        pairs = (pair for chunk in chunks for pair in assignments(self.parsed(chunk).body))
        return next((value for target, value in pairs if target == name), None)

    @cached_property
    def indent(self) -> str:
        """One step of indentation, as in the first block of the file."""
        for chunk in self.chunks:
            for item in chunk.statements:
                if isinstance(item, (ast.ClassDef, ast.FunctionDef)) and item.body[0].lineno > item.lineno:
                    return lines(chunk.text)[item.body[0].lineno - chunk.above - 1][: item.body[0].col_offset]
        return " " * 4

    def statement(self, text: str) -> cst.SimpleStatementLine | cst.BaseCompoundStatement:
        """Parse a new statement with the indentation of this file; its line ends become those of the target chunk."""
        return cst.parse_statement(text, config=cst.PartialParserConfig(default_indent=self.indent))


def _check_size(content: bytes, path: str) -> None:
    """Refuse a file on which a parser, or a comparison of two texts, would take too long. Raises CodeError."""
    if len(content) > _MAX_BYTES:
        raise _too_much(path, f"has {len(content):,} bytes; models have less than {_MAX_BYTES:,}")
    repeated, times = Counter(content.splitlines()).most_common(1)[0] if content else (b"", 0)
    if times > _MAX_EQUAL_LINES:
        raise _too_much(path, f"repeats the line {repeated[:40]!r} {times:,} times")


def _check_depth(statements: Iterable[ast.stmt], path: str) -> None:
    """Refuse statements on which LibCST's parser, which recurses without a limit, would crash.

    Python's own parser has such limits and has read the statements before. Raises CodeError with the line.
    """
    waiting: list[tuple[ast.AST, int, int]] = [(node, 1, node.lineno) for node in statements]
    while waiting:
        node, depth, line = waiting.pop()
        line = getattr(node, "lineno", line)
        if depth > _MAX_DEPTH:
            raise _too_much(path, f"is nested too deeply in line {line}: more than {_MAX_DEPTH} levels")
        if isinstance(node, _SMALL) and _width(node) + depth < _MAX_DEPTH - 5:
            continue  # each level but a few takes at least one character, so a short line can't be deep
        below = depth + (len(node.values) - 1 if isinstance(node, ast.BoolOp) else 1)  # LibCST nests `a and b and c`
        waiting += [(child, below, line) for child in ast.iter_child_nodes(node)]


def _check_nodes(statements: Iterable[ast.stmt], path: str) -> None:
    """Refuse classes and functions that take minutes to follow. Raises CodeError."""
    bodies = (one for one in statements if isinstance(one, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)))
    nodes = sum(1 for body in bodies for _ in ast.walk(body))
    if nodes > _MAX_NODES:
        raise _too_much(path, f"has {nodes:,} nodes in its classes and functions; models have less than {_MAX_NODES:,}")


def _width(node: ast.stmt) -> float:
    """The number of characters of a statement on one line; infinite for one on several."""
    return (node.end_col_offset or 0) - node.col_offset if node.lineno == node.end_lineno else math.inf


def _too_much(path: str, what: str) -> CodeError:
    return CodeError(f"{path} {what}.", "No code written by people looks like that; do not run it.")


Codemod = Callable[[Code], Outcome]
