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
        """Whether it ends with the address of an entry, or of another page that says more."""
        return _LINK in self.text or "https://" in self.text


@dataclass(frozen=True)
class Place:
    """A file, and what the names of the function at hand are assigned there."""

    path: Path
    names: dict[str, list[ast.expr]]


def hints() -> Iterator[Hint]:
    """The second argument of each error that is made, and each text of the tables of the Hub's errors."""
    for place, node in _nodes():
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            said = node.args[1:] if called in {*ERRORS, "lacks"} and len(node.args) == 2 else []
        else:
            said = node.elts[2:] if len(node.elts) == 3 and getattr(node.elts[0], "id", "") in ERRORS else []
        for hint in said:
            yield from (Hint(f"{place.path.name}:{node.lineno}", text) for text in _texts(hint, place))


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
def _nodes() -> list[tuple[Place, ast.Call | ast.Tuple]]:
    """The calls and tuples of the package and of the training script, each with its place."""
    paths = sorted([*(ROOT / "patcher").rglob("*.py"), *(ROOT / "templates").glob("*.py")])
    return [found for path in paths for found in _within(ast.parse(path.read_bytes()), Place(path, {}))]


def _within(tree: ast.AST, place: Place) -> Iterator[tuple[Place, ast.Call | ast.Tuple]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Call, ast.Tuple)):
            yield place, node
        inner = isinstance(node, (ast.FunctionDef, ast.Lambda))
        yield from _within(node, Place(place.path, _assigned(node)) if inner else place)


def _assigned(function: ast.AST) -> dict[str, list[ast.expr]]:
    """The expressions that each name of a function is assigned; of a text that grows, with and without its end."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                for name, value in pairs:
                    found.setdefault(getattr(name, "id", ""), []).append(value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            known = found.setdefault(getattr(node.target, "id", ""), [])
            known += [ast.BinOp(one, ast.Add(), node.value) for one in known]
    return found


def _texts(node: ast.expr, place: Place) -> list[str]:
    """What an expression may say, without the values that it inserts."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        found = [""]
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and not _is_text(part.value, place):
                continue
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            found = [before + text for before in found for text in _texts(inner, place)]
        return found
    if isinstance(node, ast.BinOp):
        return [left + right for left in _texts(node.left, place) for right in _texts(node.right, place)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body, place) + _texts(node.orelse, place)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "see":
        return [_LINK]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "replace":
        return _texts(node.func.value, place)  # type: ignore[attr-defined]
    if isinstance(node, ast.Name) and node.id in place.names:
        names = {name: values for name, values in place.names.items() if name != node.id}  # `hint = hint + ...`
        return [text for value in place.names[node.id] for text in _texts(value, Place(place.path, names))]
    if isinstance(node, ast.Name) and ROOT / "patcher" in place.path.parents:
        module = ".".join(place.path.relative_to(ROOT).with_suffix("").parts)
        value = getattr(import_module(module), node.id, "")
        return [value] if isinstance(value, str) else [""]
    return [""]


def _is_text(node: ast.expr, place: Place) -> bool:
    """Whether what is inserted into a text is words, and not a value."""
    return isinstance(node, (ast.IfExp, ast.Constant)) or (isinstance(node, ast.Name) and node.id == "hint")
