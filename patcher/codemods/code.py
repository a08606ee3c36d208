"""The types that all codemods share: what goes in, what comes out, and how a tree is rewritten in place."""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol, TypeVar, cast

import libcst as cst
from libcst.helpers import get_full_name_for_node

from patcher.codemods.chunks import Piece, Unreadable, bindings, cut, lines
from patcher.codemods.limits import check_depth, check_size
from patcher.codemods.outcomes import Outcome, Span
from patcher.errors import CodeError

MARK = "splade-patcher:"
_FROM = re.compile(r"\bfrom\b[^\n]*\bimport\b")
_GLOBAL = re.compile(r"\bglobal\s")
_COMPOUND = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
Node = TypeVar("Node", bound=cst.CSTNode)
PythonNode = TypeVar("PythonNode", bound=ast.AST)


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
        """The file as text, every line end as it stands. Raises CodeError."""
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
    def pieces(self) -> tuple[Piece, ...]:
        """The file, cut. Raises CodeError for a syntax error, and for what is no code that people write."""
        check_size(self.content, self.path)
        try:
            pieces = cut(self.text)
        except Unreadable as error:
            raise self._no_python(error) from error
        check_depth((top for piece in pieces for top in piece.statements), self.path)
        return pieces

    def _no_python(self, error: Unreadable) -> CodeError:
        return CodeError(
            f"{self.path} is not valid Python: {error}.",
            "Report it to the authors of the model, or give a revision whose code parses.",
        )

    def changed(self, content: bytes) -> Code:
        """The file with other content; what is parsed of the pieces that stay is kept."""
        code = replace(self, content=content)
        text, at, end = code.text, 0, len(code.text)
        before, after = list[Piece](), list[Piece]()
        rest = list(self.pieces)
        while rest and text.startswith(rest[0].text, at) and rest[0].text.endswith("\n"):
            at += len(rest[0].text)
            before.append(rest.pop(0))
        while rest and end - len(rest[-1].text) >= at and text.endswith(rest[-1].text, at, end):
            end -= len(rest[-1].text)
            after.insert(0, rest.pop())
        known = {piece.text: piece for piece in rest}
        try:
            middle = [known.get(piece.text, piece) for piece in cut(text[at:end])]
        except Unreadable:
            return code  # cut it as a whole, which says what is wrong with it
        code.__dict__["pieces"] = (*before, *middle, *after)
        return code

    def parsed(self, piece: Piece) -> cst.Module:
        """One piece as a syntax tree. Raises CodeError where LibCST can't read it."""
        try:
            return piece.module
        except Unreadable as error:
            raise self._no_python(error) from error

    @cached_property
    def _starts(self) -> Sequence[int]:
        """How many lines stand above each piece."""
        return tuple(accumulate((piece.height for piece in self.pieces), initial=0))

    def place(self, node: cst.CSTNode) -> tuple[Piece, int]:
        """The piece that a node stands in, and the number of lines above that."""
        parsed = [pair for pair in zip(self.pieces, self._starts, strict=False) if pair[0].is_parsed]
        for piece, start in sorted(parsed, key=lambda pair: not pair[0].is_indexed):
            if node in piece.parents or node is piece.module:
                return piece, start
        raise KeyError(node)

    def full_names(self, node: cst.CSTNode) -> set[str]:
        """What a name or a dotted name in this file may refer to: `torch.sigmoid`, `.heads.Head`, `Head`.

        What the function or class around the node binds comes first, then what the top level of the file binds.
        """
        name = get_full_name_for_node(node)
        if name is None:
            return set()
        piece, _ = self.place(node)
        root = name.partition(".")[0]
        local = piece.local_names(node, root) if root in piece.bound_inside else set()
        if local:
            return local
        if root not in self._bindings:
            return {f"builtins.{root}"} if hasattr(builtins, root) else set()
        return {full + name.removeprefix(root) for full in self._bindings[root]}

    @cached_property
    def _bindings(self) -> Mapping[str, AbstractSet[str]]:
        """The full names of what the top level binds, by name."""
        found: dict[str, AbstractSet[str]] = {name: {name} for name in self._rebound}
        for piece in self.pieces:
            for name, full in piece.bindings.items():
                found[name] = found.get(name, frozenset()) | full
        return found

    @cached_property
    def _rebound(self) -> frozenset[str]:
        """The names that some function declares global."""
        return frozenset(name for node in self.python_nodes(ast.Global, _GLOBAL) for name in node.names)

    def import_statements(self) -> list[ast.ImportFrom]:
        """Every `from ... import`, wherever it stands."""
        return self.python_nodes(ast.ImportFrom, _FROM)

    def python_nodes(self, kind: type[PythonNode], mentioned: re.Pattern[str]) -> list[PythonNode]:
        """Every node of a kind in the tree of Python's own parser, in the pieces in which a pattern is found."""
        tops = [top for piece in self.pieces if mentioned.search(piece.text) for top in piece.statements]
        return [node for top in tops for node in ast.walk(top) if isinstance(node, kind)]

    def nodes(self, kind: type[Node], mentioned: re.Pattern[str]) -> list[Node]:
        """Every node of a kind in the pieces in which a pattern is found."""
        return [
            node
            for piece in self.pieces
            if mentioned.search(piece.text) and self.parsed(piece)
            for node in piece.parents
            if isinstance(node, kind)
        ]

    def line(self, node: cst.CSTNode) -> int:
        """Line of the node's first character, from 1."""
        return self.span(node).first

    def span(self, node: cst.CSTNode) -> Span:
        """Lines of the node."""
        piece, above = self.place(node)
        first, last = piece.lines_of(node)
        return Span(above + first, above + last)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        return self.place(node)[0].parents[node]

    def source(self, node: cst.CSTNode) -> str:
        """The node as it is written, on one line and without comments."""
        text = cst.Module([]).code_for_node(node)
        if "#" in text or "\\" in text:
            with contextlib.suppress(SyntaxError):
                return ast.unparse(ast.parse(text.strip()))
        return " ".join(text.split())

    def classes(self) -> Mapping[str, cst.ClassDef]:
        """The classes at the top level of the file."""
        return self._classes

    @cached_property
    def _classes(self) -> Mapping[str, cst.ClassDef]:
        return Definitions(self, cst.ClassDef)

    def class_nodes(self, *mentioned: str) -> list[cst.ClassDef]:
        """The classes at the top level whose text has one of these words."""
        return [
            self._classes[name]
            for piece in self.pieces
            if not piece.words.isdisjoint(mentioned)
            for kind, name in piece.definitions
            if kind is cst.ClassDef
        ]

    def functions(self) -> Mapping[str, cst.FunctionDef]:
        """The functions at the top level of the file."""
        return self._functions

    @cached_property
    def _functions(self) -> Mapping[str, cst.FunctionDef]:
        return Definitions(self, cst.FunctionDef)

    def imports(self) -> Mapping[str, str]:
        """Names that imports at the top level bind, with what they stand for: `.heads.Head`, `torch.nn`."""
        return self._imports

    @cached_property
    def _imports(self) -> Mapping[str, str]:
        tops = (top for piece in self.pieces for top in piece.statements)
        return dict(pair for top in tops if isinstance(top, (ast.Import, ast.ImportFrom)) for pair in bindings(top))

    def constants(self) -> Mapping[str, cst.BaseExpression]:
        """Names that the file binds once, by an assignment at its top level, and that no function declares global."""
        return self._constants

    @cached_property
    def _constants(self) -> Mapping[str, cst.BaseExpression]:
        found: dict[str, list[Piece]] = {}
        rebound = set(self._rebound)
        for piece in self.pieces:
            for top in piece.statements:
                if isinstance(top, _COMPOUND):
                    names = (node for node in ast.walk(top) if isinstance(node, ast.Name))
                    rebound |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
                targets = top.targets if isinstance(top, ast.Assign) else [getattr(top, "target", None)]
                for target in targets if isinstance(top, (ast.Assign, ast.AnnAssign, ast.AugAssign)) else ():
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, []).append(piece)
        return Constants(self, {name: p[0] for name, p in found.items() if len(p) == 1 and name not in rebound})

    @cached_property
    def indent(self) -> str:
        """One step of indentation, as the first block of the file has it."""
        for piece in self.pieces:
            for top in piece.statements:
                if isinstance(top, (ast.ClassDef, ast.FunctionDef)) and top.body[0].lineno > top.lineno:
                    return lines(piece.text)[top.body[0].lineno - piece.zero - 1][: top.body[0].col_offset]
        return " " * 4

    def statement(self, text: str) -> cst.SimpleStatementLine | cst.BaseCompoundStatement:
        """Parse one new statement in the manner of this file; its line ends become those of the block it goes to."""
        return cst.parse_statement(text, config=cst.PartialParserConfig(default_indent=self.indent))


class Definitions(Mapping[str, Any]):
    """The classes, or the functions, at the top level of a file by name; each is parsed when it is asked for."""

    def __init__(self, code: Code, kind: type[cst.CSTNode]) -> None:
        self._code = code
        self._kind = kind
        self._pieces = {
            name: piece for piece in code.pieces for other, name in piece.definitions if issubclass(other, kind)
        }

    def __getitem__(self, name: str) -> Any:
        module = self._code.parsed(self._pieces[name])
        found = [node for node in module.body if isinstance(node, self._kind)]
        return [node for node in found if cast(Any, node).name.value == name][-1]

    def __contains__(self, name: object) -> bool:
        return name in self._pieces

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


class Constants(Mapping[str, cst.BaseExpression]):
    """What names are bound to at the top level of a file; an Ellipsis where that is no single value."""

    def __init__(self, code: Code, pieces: Mapping[str, Piece]) -> None:
        self._code = code
        self._pieces = pieces

    def __getitem__(self, name: str) -> cst.BaseExpression:
        for line in self._code.parsed(self._pieces[name]).body:
            for item in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                targets: list[cst.BaseExpression] = []
                if isinstance(item, cst.Assign):
                    targets = [target.target for target in item.targets]
                elif isinstance(item, cst.AnnAssign):
                    targets = [item.target]
                if any(isinstance(target, cst.Name) and target.value == name for target in targets):
                    return cast(Any, item).value or cst.Ellipsis()
        return cst.Ellipsis()

    def __contains__(self, name: object) -> bool:
        return name in self._pieces

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


class Codemod(Protocol):
    """One idea: a pure function from a file to an outcome."""

    def __call__(self, code: Code) -> Outcome: ...
