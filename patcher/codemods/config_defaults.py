"""Gives a configuration the attributes that transformers 5 took from its base class, with the values of 4.57.

Up to 4.57 every configuration had `is_decoder = False`, `tie_word_embeddings = True` and some forty more. In 5 reading
one raises AttributeError, or gives the other default of a `getattr`: then the model runs, and is wrong. The table of
them is made from both versions by `python -m tests.compatibility.table --write`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.config_class import ABSENT, FROM_FILE, Fate, fate
from patcher.codemods.config_json import with_keys
from patcher.codemods.config_reads import Read, read_attributes
from patcher.codemods.config_sections import TOP, Path, Section, sections
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome, Refused, Span
from patcher.codemods.rewrite import Replacement, rewrite
from patcher.constants import CONFIG

_KEY, _CLASS, _NOWHERE = "a key of config.json", "an attribute of the class", "nowhere"
_UNKNOWN = object()


@cache
def removed() -> Mapping[str, Any]:
    """What transformers 5 took away: attributes of configurations, methods of models."""
    found: Mapping[str, Any] = json.loads(files(__package__).joinpath("transformers4.json").read_bytes())
    return found


def config_defaults(package: Package, configuration: Class | None = None) -> Mapping[str, Outcome]:
    """Write 4.57's value of each attribute that the code reads and 5 does not give; what becomes of each file.

    Values go into config.json, those of a nested configuration into its section. Those that 5 does not load from there
    become annotated attributes of the configuration class: 5 refuses to save a configuration that has them otherwise.
    In 4.57 both change nothing.
    """
    places = sections(package, configuration)
    bases = {path: _values_of_base(place, path) for path, place in places.items()}
    names = {path: {name: _names(name, place.trees) for name in bases[path][0]} for path, place in places.items()}
    wanted = {one for every in names.values() for some in every.values() for one in some}
    reads = read_attributes(package.codes.values(), wanted, places)
    content, declared = package.config_json, dict[cst.ClassDef, dict[str, Any]]()
    for path, place in places.items():
        keys = dict[str, Any]()
        for name, (value, read) in _read_values(bases[path][0], names[path], reads[path]).items():
            remedy = _remedy_in(place, name, names[path][name], value, kept=bases[path][1])
            where, value = remedy or (None, value)
            owner = place.classes[0].node if where == _CLASS and _can_declare(place) else None
            if owner is not None and declared.setdefault(owner, {}).setdefault(name, value) == value:
                continue
            if where == _KEY:
                keys[name] = value
            elif where is not None:
                return {CONFIG: _refused((*path, name), value, read)}
        for name in sorted(_unsaved(place.trees)) if _can_declare(place) else ():
            declared.setdefault(place.classes[0].node, {}).setdefault(name, bases[path][0].get(name))
        content = with_keys(content, keys, path) if keys else content
    outcomes = dict[str, Outcome]()
    if content != package.config_json:
        outcomes[CONFIG] = Applied(content, ())
    codes = {one.node: one.code for place in places.values() for one in place.classes[:1]}
    for code in package.codes.values():
        if some := {node: found for node, found in declared.items() if codes[node] is code}:
            outcomes[code.path] = _declare(code, some)
    return outcomes or {
        CONFIG: NotNeeded("transformers 5 still sets every configuration attribute that the code reads")
    }


def _read_values(
    values: Mapping[str, Any], names: Mapping[str, Sequence[str]], reads: Mapping[str, Read]
) -> dict[str, tuple[Any, Read]]:
    """The attributes that are read under one of their names, with their value and the first place."""
    found = {name: next((reads[one] for one in names[name] if one in reads), None) for name in values}
    return {name: (values[name], read) for name, read in found.items() if read is not None}


def _values_of_base(place: Section, path: Path) -> tuple[Mapping[str, Any], frozenset[str]]:
    """4.57's values of the class of transformers below a configuration, and the attributes that it still has in 5."""
    table = removed()
    types = table["types"].items()
    rows = [row for key, row in types if (row["class"] == place.base if place.base else key == place.kind)]
    if path == TOP and not place.classes and not rows:
        return {}, frozenset()
    row = rows[0] if rows else {"same": [], "other": {}}
    return {**table["config"], **row["other"]}, frozenset(row["same"])


def _unsaved(classes: Sequence[ast.ClassDef]) -> set[str]:
    """Attributes that classes set and do not declare, with which transformers 5 refuses to save a configuration."""
    nodes = [node for cls in classes for node in ast.walk(cls)]
    stored = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    bound = [item for cls in classes for item in cls.body]
    targets = [each for item in bound if isinstance(item, ast.Assign) for each in item.targets]
    stored |= {each.id for each in targets if isinstance(each, ast.Name)}
    declared = {ast.unparse(item.target) for item in bound if isinstance(item, ast.AnnAssign)}
    return (stored & {*removed()["not_loaded"]}) - declared


def _names(name: str, classes: Sequence[ast.ClassDef]) -> tuple[str, ...]:
    """An attribute's own name first, then those which `attribute_map` of the classes joins with it."""
    maps = [item.value for cls in classes for item in cls.body if isinstance(item, (ast.Assign, ast.AnnAssign))]
    pairs = [
        (str(key.value), str(value.value))
        for one in maps
        if isinstance(one, ast.Dict)
        for key, value in zip(one.keys, one.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
    ]
    return (name, *(other for pair in pairs if name in pair for other in pair if other != name))


def _remedy(
    found: Fate, name: str, value: Any, config: Mapping[str, Any], *, kept: frozenset[str]
) -> tuple[str, Any] | None:
    """Where 4.57's value has to be written, and that value; None where 5 gives it."""
    dropped = _is_dropped(name) and not found.sets_rest
    if found.arrives != ABSENT and not dropped:
        return None
    if found.arrives != ABSENT:
        value = config[name] if found.arrives == FROM_FILE else _constant(found.given)
    if found.takes_key:
        now = config[name] if name in config else _constant(found.default)
        return None if now == value else (_KEY, value)
    now = _constant(found.before if found.before is not None else found.in_class)
    if now == value and type(now) is type(value):
        return None
    if value is _UNKNOWN or (found.before is not None and (dropped or not found.is_open)):
        return _NOWHERE, value
    if name in kept and found.arrives == ABSENT and found.is_open and found.in_class is None:
        return None
    return (_KEY if found.is_open and not dropped else _CLASS), value


def _remedy_in(
    place: Section, name: str, names: Sequence[str], value: Any, *, kept: frozenset[str]
) -> tuple[str, Any] | None:
    """Where 4.57's value of an attribute of one configuration has to be written, as in _remedy."""
    config = dict(place.config or {}) if place.is_open else {}
    if not place.is_known:
        is_same = any(one in config for one in names) and not _is_dropped(name)
        return None if is_same else (_NOWHERE, value)
    config |= {one: _constant(node) for one, node in place.given.items()}
    found = fate(place.trees, names, config)
    if found is None or (name in kept and found == Fate()):
        return None
    is_open = place.is_open and place.config is not None
    remedy = _remedy(replace(found, is_open=found.is_open and is_open), name, value, config, kept=kept)
    fixed = not is_open or not {*place.given, *place.preset}.isdisjoint(names)
    return (_NOWHERE, value) if remedy is not None and remedy[0] == _KEY and fixed else remedy


def _is_dropped(name: str) -> bool:
    """Whether 5 does not take an attribute from config.json."""
    return name in removed()["not_loaded"] or name == "rope_theta"


def _constant(node: ast.expr | None) -> Any:
    """The value of a literal; _UNKNOWN for anything else."""
    with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(node) if node is not None else _UNKNOWN
    return _UNKNOWN


def _refused(path: Path, value: Any, read: Read) -> Refused:
    shown = "a value of its own" if value is _UNKNOWN else json.dumps(value)
    name = ".".join(path if path[0].endswith("()") else ("config", *path))
    why = f"transformers 4 set {name} to {shown} and 5 does not; line {read.line} of {read.path} reads it"
    return Refused("config-attribute", why)


def _can_declare(place: Section) -> bool:
    return bool(place.classes) and isinstance(place.classes[0].node.body, cst.IndentedBlock)


def _declare(code: Code, classes: Mapping[cst.ClassDef, Mapping[str, Any]]) -> Applied:
    """Add annotated attributes to classes of a file, above their methods."""
    replacements, spans = dict[cst.CSTNode, Replacement](), list[Span]()
    for node, values in classes.items():
        block = node.body
        assert isinstance(block, cst.IndentedBlock)
        text = "".join(f"{name}: object = {value!r}\n" for name, value in values.items())
        lines = [code.statement(line) for line in text.splitlines(keepends=True)]
        index = next((at for at, item in enumerate(block.body) if isinstance(item, cst.FunctionDef)), len(block.body))
        above = code.span(block.body[index - 1]).last if index else code.line(node)
        below = code.line(block.body[index]) if index < len(block.body) else above + 1
        replacements[block] = _with_lines(index, lines)
        spans.append(Span(above + 1, below - 1))
    return Applied(rewrite(code, replacements), tuple(spans))


def _with_lines(index: int, lines: Sequence[cst.BaseStatement]) -> Replacement:
    return lambda old: old.with_changes(body=[*old.body[:index], *lines, *old.body[index:]])
