"""Follows an attribute through the constructors of a configuration class: what transformers' base class makes of it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FROM_FILE, GIVEN, ABSENT = "config.json", "an argument", "nothing"


@dataclass(frozen=True)
class Fate:
    """What becomes of one attribute before the base class sets it.

    `arrives` is where the base class gets its value from; `given` is the argument that a constructor passes, `before`
    what a constructor assigned beforehand (None for both where there is no such thing). `takes_key` says whether that
    assignment is the value of the key in config.json, `is_open` whether the base class would get a key of config.json,
    `sets_rest` whether a constructor sets all other keys itself, `in_class` what a class body binds.
    """

    arrives: str = ABSENT
    given: ast.expr | None = None
    before: ast.expr | None = None
    default: ast.expr | None = None
    takes_key: bool = False
    is_open: bool = True
    sets_rest: bool = False
    in_class: ast.expr | None = None


def fate(classes: Sequence[ast.ClassDef], names: Collection[str], config: Mapping[str, Any]) -> Fate | None:
    """What becomes of the attribute of these names in a configuration class and its own bases, in that order.

    None where the classes set it themselves after their base class, so that both versions have the same.
    """
    found: dict[str, Any] = {"arrives": FROM_FILE if any(name in config for name in names) else ABSENT}
    for cls in classes:
        bound = [value for name, value in _bound(cls) if name in names]
        if None in bound:
            return None  # a property
        if bound:
            found.setdefault("in_class", bound[-1])
        init = next((one for one in cls.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
        if init is None:
            continue
        index, call = _base_call(init)
        if call is None or any(True for one in init.body[index + 1 :] for _ in _assigned([one], names)):
            return None
        _follow(found, init, call, init.body[: index + 1], names, config)
    return Fate(**found)


def _follow(
    found: dict[str, Any],
    init: ast.FunctionDef,
    call: ast.Call,
    before: list[ast.stmt],
    names: Collection[str],
    config: Mapping[str, Any],
) -> None:
    """Bring `found` from before a constructor to its call of the next one."""
    parameters = [*init.args.posonlyargs, *init.args.args]
    defaults: list[ast.expr | None] = [None] * (len(parameters) - len(init.args.defaults))
    named = dict(zip([one.arg for one in parameters], [*defaults, *init.args.defaults], strict=True))
    named |= dict(zip([one.arg for one in init.args.kwonlyargs], init.args.kw_defaults, strict=True))
    taken = dict(_taken(before, names))
    given = next((one.value for one in call.keywords if one.arg in names), None)
    is_set = any(sets_key(node) in names for one in before for node in ast.walk(one))
    for value in _assigned(before, names):
        name = value.id if isinstance(value, ast.Name) else None
        found["before"] = value
        found["takes_key"] = (name in names and name in named) or any(one in ast.walk(value) for one in taken)
        found["default"] = named[name] if name in named else next(iter(taken.values()), None)
    found["sets_rest"] = found.get("sets_rest", False) or any(_sets_all(node) for node in ast.walk(init))
    if given is not None or is_set:
        name = given.id if isinstance(given, ast.Name) and given.id in named else ""
        if name in config and not (name in names and found["arrives"] != FROM_FILE):
            given = ast.Constant(config[name])
        found.update(arrives=GIVEN, given=named.get(name) if isinstance(given, ast.Name) else given)
    elif (
        not named.keys().isdisjoint(names)
        or taken
        or (all(one.arg is not None for one in call.keywords) and not found["sets_rest"])
    ):
        found.update(arrives=ABSENT, is_open=False)


def _base_call(init: ast.FunctionDef) -> tuple[int, ast.Call | None]:
    """The call of the next constructor, with the index of its statement."""
    for index, statement in enumerate(init.body):
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__":
                return index, node
    return len(init.body), None


def _assigned(statements: Iterable[ast.stmt], names: Collection[str]) -> Iterator[ast.expr]:
    """What statements themselves assign to an attribute of `self`, outside of blocks."""
    for one in statements:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        value = one.value if isinstance(one, (ast.Assign, ast.AnnAssign)) else None
        named = any(isinstance(each, ast.Attribute) and each.attr in names for each in targets)
        if named and value is not None:
            yield value


def _taken(statements: Iterable[ast.stmt], names: Collection[str]) -> Iterator[tuple[ast.Call, ast.expr | None]]:
    """Calls of `kwargs.pop` for one of the names, with their default."""
    for node in (node for one in statements for node in ast.walk(one)):
        if (key := _key_given(node, "pop")) is not None and key in names:
            assert isinstance(node, ast.Call)
            yield node, node.args[1] if len(node.args) > 1 else None


def sets_key(node: ast.AST) -> str | None:
    """The key that a node puts into a mapping, such as the keyword arguments; None for any other node."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant):
        key = node.slice.value
    else:
        key = _key_given(node, "setdefault")
    return key if isinstance(key, str) else None


def _key_given(node: ast.AST, method: str) -> Any:
    """The constant that is the first argument of a call of a method; None for any other node."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method and node.args:
        return node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    return None


def _sets_all(node: ast.AST) -> bool:
    """Whether a node sets attributes whose names it does not say: `setattr(self, key, value)`, `self.__dict__`."""
    if isinstance(node, ast.Attribute):
        return node.attr == "__dict__"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
        return not any(isinstance(one, ast.Constant) for one in node.args[1:2])
    return False


def _bound(cls: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """The names that a class body binds, with their values; None for a property."""
    for item in cls.body:
        if isinstance(item, ast.FunctionDef):
            yield item.name, None
        if isinstance(item, (ast.Assign, ast.AnnAssign)) and item.value is not None:
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            yield from ((one.id, item.value) for one in targets if isinstance(one, ast.Name))
