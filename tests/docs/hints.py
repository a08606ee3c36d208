"""Finds the hints of all errors in the code: how long their own words are, and which entries they link to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from patcher import errors
from tests.conftest import ROOT

ERRORS = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.PatcherError)}
_LINK = errors.see("", "")[: -len("/#")]


@dataclass(frozen=True)
class Hint:
    """The words of a hint, values left out, and where it is written."""

    place: str
    text: str

    @property
    def linked(self) -> bool:
        return _LINK in self.text


def hints() -> Iterator[Hint]:
    """The second argument of each error that is made, and each text of the tables of the Hub's errors."""
    for path, node in _nodes():
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in ERRORS and len(node.args) == 2:
                yield from (Hint(f"{path.name}:{node.lineno}", text) for text in _texts(node.args[1], path))
        elif isinstance(node, ast.Tuple) and len(node.elts) == 3 and getattr(node.elts[0], "id", "") in ERRORS:
            yield from (Hint(f"{path.name}:{node.lineno}", text) for text in _texts(node.elts[2], path))


def strings() -> Iterator[Hint]:
    """Every constant text of the next commands and of the templates, which a user has without a checkout."""
    for path in (ROOT / "patcher" / "cli" / "hints.py", *sorted((ROOT / "templates").glob("*.py"))):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield Hint(f"{path.name}:{node.lineno}", node.value)


def entries() -> set[tuple[str, str]]:
    """The pages and entries that the code links to by name."""
    found = set()
    for _, node in _nodes():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "see":
            words = [one.value for one in node.args if isinstance(one, ast.Constant)]
            if len(words) == len(node.args):
                found.add((str(words[1]) if len(words) > 1 else "troubleshooting", str(words[0])))
    return found


@cache
def _nodes() -> list[tuple[Path, ast.Call | ast.Tuple]]:
    """The calls and tuples of the package, each with its file."""
    paths = sorted((ROOT / "patcher").rglob("*.py"))
    found = ((path, node) for path in paths for node in ast.walk(ast.parse(path.read_bytes())))
    return [(path, node) for path, node in found if isinstance(node, (ast.Call, ast.Tuple))]


def _texts(node: ast.expr, path: Path) -> list[str]:
    """What an expression may say, without the values that it inserts."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        found = [""]
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and not isinstance(part.value, (ast.IfExp, ast.Constant)):
                continue
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            found = [before + text for before in found for text in _texts(inner, path)]
        return found
    if isinstance(node, ast.BinOp):
        return [left + right for left in _texts(node.left, path) for right in _texts(node.right, path)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body, path) + _texts(node.orelse, path)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "see":
        return [_LINK]
    if isinstance(node, ast.Name):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        value = getattr(import_module(module), node.id, "")
        return [value] if isinstance(value, str) else [""]
    return [""]
