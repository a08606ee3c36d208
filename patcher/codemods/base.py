"""The types that all codemods share: what goes in, what comes out, and how a tree is rewritten in place."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider, QualifiedNameProvider

from patcher.errors import CodeError

MARK = "splade-patcher:"
Node = TypeVar("Node", bound=cst.CSTNode)


@dataclass(frozen=True)
class SoftCap:
    """A cap as found in the code: `scale * kind(x / temperature)` with kind sigmoid or tanh. `line` counts from 1.

    Without the cap the model gives x - shift; `shift` is 0 unless somebody asked for a calibrated one.
    """

    class_name: str
    function: str
    file: str
    line: int
    expression: str
    scale: float
    temperature: float
    kind: str = "sigmoid"
    shift: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "class": self.class_name,
            "function": self.function,
            "file": self.file,
            "line": self.line,
            "expression": self.expression,
            "scale": self.scale,
            "temperature": self.temperature,
            "kind": self.kind,
            "shift": self.shift,
        }


@dataclass(frozen=True)
class Span:
    """Lines first..last (from 1, both included) of the file that a codemod was given and means to change."""

    first: int
    last: int


@dataclass(frozen=True)
class Applied:
    """The new code, and the lines of the old code that were meant to change."""

    code: bytes
    spans: tuple[Span, ...]
    soft_cap: SoftCap | None = None


@dataclass(frozen=True)
class NotNeeded:
    """Nothing to do here, and why."""

    reason: str
    soft_cap: SoftCap | None = None


@dataclass(frozen=True)
class LeftAlone:
    """Found, and not changed because nobody asked for it; the reason says how to."""

    reason: str
    soft_cap: SoftCap


@dataclass(frozen=True)
class Refused:
    """The place to change is missing, ambiguous or not understood; nothing was changed. `name` is stable."""

    name: str
    reason: str


Outcome = Applied | NotNeeded | LeftAlone | Refused


@dataclass(frozen=True)
class Code:
    """One Python file of the model: its bytes, and what config.json says about its classes."""

    path: str
    content: bytes
    config: Mapping[str, Any]

    @cached_property
    def wrapper(self) -> MetadataWrapper:
        """The file as a syntax tree. Raises CodeError for a syntax error or an unreadable encoding."""
        try:
            module = cst.parse_module(self.content)
            if module.bytes != self.content:
                raise CodeError(
                    f"{self.path} can't be written back byte for byte (line ends of old Macs, or a form feed?).",
                    "Save it with ordinary line ends, or report it to the authors of the model.",
                )
            return MetadataWrapper(module, unsafe_skip_copy=True)
        except cst.ParserSyntaxError as error:
            raise CodeError(
                f"{self.path} is not valid Python: {self._syntax_error(error)}.",
                "Report it to the authors of the model, or give a revision whose code parses.",
            ) from error
        except (UnicodeDecodeError, LookupError, SyntaxError) as error:
            raise CodeError(
                f"{self.path} can't be decoded: {error}.",
                "Save the file as UTF-8, or declare its encoding in the first line.",
            ) from error

    def _syntax_error(self, error: cst.ParserSyntaxError) -> str:
        """Line and reason in Python's own words, which are better than the parser's."""
        try:
            ast.parse(self.content)
        except SyntaxError as ours:
            return f"line {ours.lineno}: {ours.msg}"
        return f"line {error.raw_line}"

    @property
    def module(self) -> cst.Module:
        return self.wrapper.module

    @property
    def text(self) -> str:
        """The file as text, every line end as it stands."""
        return self.content.decode(self.module.encoding)

    @cached_property
    def _positions(self) -> Mapping[cst.CSTNode, CodeRange]:
        return self.wrapper.resolve(PositionProvider)

    @cached_property
    def _names(self) -> Mapping[cst.CSTNode, Any]:
        return self.wrapper.resolve(QualifiedNameProvider)

    def full_names(self, node: cst.CSTNode) -> set[str]:
        """What a name or a dotted name in this file may refer to: `torch.sigmoid`, `.heads.Head`, `Head`."""
        found = self._names.get(node, ())
        return {item.name for item in (found() if callable(found) else found)}

    @cached_property
    def _parents(self) -> Mapping[cst.CSTNode, cst.CSTNode]:
        return {child: node for node in self._nodes for child in children(node)}

    @cached_property
    def _nodes(self) -> tuple[cst.CSTNode, ...]:
        return tuple(walk(self.module))

    def nodes(self, kind: type[Node]) -> list[Node]:
        """Every node of a kind, in the order of the file."""
        return [node for node in self._nodes if isinstance(node, kind)]

    def line(self, node: cst.CSTNode) -> int:
        """Line of the node's first character, from 1."""
        return self._positions[node].start.line

    def span(self, node: cst.CSTNode) -> Span:
        """Lines of the node."""
        where = self._positions[node]
        return Span(where.start.line, where.end.line)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        return self._parents[node]

    def source(self, node: cst.CSTNode) -> str:
        """The node as it is written, on one line and without comments."""
        text = self.module.code_for_node(node)
        if "#" in text or "\\" in text:
            with contextlib.suppress(SyntaxError):
                return ast.unparse(ast.parse(text.strip()))
        return " ".join(text.split())

    def classes(self) -> dict[str, cst.ClassDef]:
        """The classes at the top level of the file."""
        return {node.name.value: node for node in self.module.body if isinstance(node, cst.ClassDef)}

    def functions(self) -> dict[str, cst.FunctionDef]:
        """The functions at the top level of the file."""
        return {node.name.value: node for node in self.module.body if isinstance(node, cst.FunctionDef)}

    def imports(self) -> Mapping[str, str]:
        """Names that imports at the top level bind, with what they stand for: `.heads.Head`, `torch.nn`."""
        return self._imports

    @cached_property
    def _imports(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for line in self.module.body:
            for item in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                if isinstance(item, cst.Import):
                    found |= {
                        alias.evaluated_alias: alias.evaluated_name for alias in item.names if alias.evaluated_alias
                    }
                elif isinstance(item, cst.ImportFrom) and not isinstance(item.names, cst.ImportStar):
                    origin = "." * len(item.relative) + (self.source(item.module) if item.module else "")
                    joint = "" if not item.module else "."
                    for alias in item.names:
                        found[alias.evaluated_alias or alias.evaluated_name] = f"{origin}{joint}{alias.evaluated_name}"
        return found

    def constants(self) -> Mapping[str, cst.BaseExpression]:
        """Names that the file binds once, by an assignment at its top level, and that no function declares global."""
        return self._constants

    @cached_property
    def _constants(self) -> Mapping[str, cst.BaseExpression]:
        found: dict[str, list[cst.BaseExpression]] = {}
        for line in self.module.body:
            for item in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                targets: list[cst.BaseExpression] = []
                if isinstance(item, cst.Assign):
                    targets = [target.target for target in item.targets]
                elif isinstance(item, (cst.AnnAssign, cst.AugAssign)):
                    targets = [item.target]
                for target in targets:
                    if isinstance(target, cst.Name):
                        value = item.value if isinstance(item, (cst.Assign, cst.AnnAssign)) else None
                        found.setdefault(target.value, []).append(value or cst.Ellipsis())
        rebound = {item.name.value for node in self.nodes(cst.Global) for item in node.names} if found else set()
        for line in self.module.body if found else ():
            if not isinstance(line, (cst.SimpleStatementLine, cst.FunctionDef, cst.ClassDef)):  # if, try, for, with
                bound = (
                    n.target for n in walk(line) if isinstance(n, (cst.AssignTarget, cst.AnnAssign, cst.AugAssign))
                )
                rebound |= {target.value for target in bound if isinstance(target, cst.Name)}
        return {name: values[0] for name, values in found.items() if len(values) == 1 and name not in rebound}

    def statement(self, text: str) -> cst.SimpleStatementLine | cst.BaseCompoundStatement:
        """Parse one new statement in the manner (indentation, line ends) of this file."""
        return cst.parse_statement(text, config=self.module.config_for_parsing)


class Codemod(Protocol):
    """One idea: a pure function from a file to an outcome."""

    def __call__(self, code: Code) -> Outcome: ...


Replacement = Callable[[Any], Any]


class _Rewrite(cst.CSTTransformer):
    def __init__(self, replacements: Mapping[cst.CSTNode, Replacement]) -> None:
        super().__init__()
        self.replacements = replacements

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        replace = self.replacements.get(original_node)
        return replace(updated_node) if replace else updated_node


def rewrite(code: Code, replacements: Mapping[cst.CSTNode, Replacement]) -> bytes:
    """The file with each given node replaced by what its function makes of it; everything else as it was."""
    changed = code.module.visit(_Rewrite(replacements))
    assert isinstance(changed, cst.Module)
    return changed.bytes


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The node and all below it, in the order of the file. Several times faster than a LibCST visitor."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for name in node.__dataclass_fields__:
        value = getattr(node, name)
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, cst.CSTNode):
                yield item


def methods(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    """The methods of a class by name."""
    return {item.name.value: item for item in node.body.body if isinstance(item, cst.FunctionDef)}


def base_names(node: cst.ClassDef) -> list[str]:
    """Names of the base classes as written; a dotted name gives its last part."""
    values = [argument.value for argument in node.bases]
    return [name for value in values if (name := last_name(value))]


def last_name(node: cst.CSTNode) -> str | None:
    """`sigmoid` for `sigmoid` and for `torch.sigmoid`; None for anything that isn't a name."""
    if isinstance(node, cst.Name):
        return node.value
    return node.attr.value if isinstance(node, cst.Attribute) else None


def dotted(node: cst.CSTNode) -> str | None:
    """`a.b.c` as text; None for anything that isn't made of names alone."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        before = dotted(node.value)
        return None if before is None else f"{before}.{node.attr.value}"
    return None


def comment_line(text: str, newline: cst.Newline | None = None) -> cst.EmptyLine:
    """A comment on a line of its own, indented like the block it stands in."""
    return cst.EmptyLine(indent=True, comment=cst.Comment(f"# {text}"), newline=newline or cst.Newline())
