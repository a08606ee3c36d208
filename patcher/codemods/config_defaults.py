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
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import libcst as cst

from patcher.codemods.config_class import ABSENT, FROM_FILE, Fate, fate
from patcher.codemods.config_json import with_keys
from patcher.codemods.config_reads import Read, read_attributes
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome, Refused, Span
from patcher.codemods.rewrite import rewrite
from patcher.codemods.tied_weights import mappings
from patcher.constants import CONFIG

_KEY, _CLASS, _NOWHERE = "a key of config.json", "an attribute of the class", "nowhere"
_UNKNOWN = object()


@cache
def removed() -> Mapping[str, Any]:
    """What transformers 5 took away: attributes of configurations, methods of models."""
    found: Mapping[str, Any] = json.loads(Path(__file__).with_name("transformers4.json").read_bytes())
    return found


def config_defaults(package: Package, configuration: Class | None = None) -> Mapping[str, Outcome]:
    """Write 4.57's value of each attribute that the code reads and 5 does not give; what becomes of each file.

    Values go into config.json. Those that 5 does not load from there become annotated attributes of the configuration
    class: 5 refuses to save a configuration that has them otherwise. In 4.57 both change nothing.
    """
    lineage = package.lineage(configuration) if configuration is not None else []
    classes = [tree for one in lineage if (tree := _tree(one))]
    values, kept = _values_of_base(package, configuration)
    names = {name: _names(name, classes) for name in values}
    reads = read_attributes(package.codes.values(), {one for every in names.values() for one in every})
    for code in package.codes.values():  # 5 ties by that mapping where the configuration says so
        for value in mappings(code):
            reads.setdefault("tie_word_embeddings", Read(code.path, code.line(value)))
    keys, declared = dict[str, Any](), dict[str, Any]()
    for name, value in values.items():
        read = next((reads[one] for one in names[name] if one in reads), None)
        found = fate(classes, names[name], package.config) if read is not None else None
        remedy = _remedy(found, name, value, package.config, kept=kept) if found is not None else None
        if read is not None and remedy is not None:
            where, value = remedy
            if where == _NOWHERE or (where == _CLASS and not _can_declare(configuration)):
                return {CONFIG: _refused(name, value, read)}
            (keys if where == _KEY else declared)[name] = value
    for name in sorted(_unsaved(classes)) if _can_declare(configuration) else ():
        declared.setdefault(name, values.get(name))
    outcomes = dict[str, Outcome]()
    if keys:
        outcomes[CONFIG] = Applied(with_keys(package.config_json, keys), ())
    if declared and configuration is not None:
        outcomes[configuration.code.path] = _declare(configuration, declared)
    return outcomes or {CONFIG: NotNeeded("transformers 5 gives every attribute of the configuration that is read")}


def _values_of_base(package: Package, configuration: Class | None) -> tuple[Mapping[str, Any], frozenset[str]]:
    """4.57's values of the class of transformers below a configuration, and the attributes that it still has in 5."""
    table = removed()
    base = package.unknown_bases(configuration)[-1:] if configuration is not None else []
    kind, name = package.config.get("model_type"), base[0].rpartition(".")[2] if base else None
    rows = [row for key, row in table["types"].items() if (row["class"] == name if base else key == kind)]
    if configuration is None and not rows:
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
    dropped = (name in removed()["not_loaded"] or name == "rope_theta") and not found.sets_rest
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


def _constant(node: ast.expr | None) -> Any:
    """The value of a literal; _UNKNOWN for anything else."""
    with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(node) if node is not None else _UNKNOWN
    return _UNKNOWN


def _refused(name: str, value: Any, read: Read) -> Refused:
    shown = "a value of its own" if value is _UNKNOWN else json.dumps(value)
    why = f"transformers 4 gave config.{name}, read in line {read.line} of {read.path}, {shown}, and 5 does not"
    return Refused("config-attribute", why)


def _tree(cls: Class) -> ast.ClassDef | None:
    """Python's tree of a class; None where its syntax is newer than this Python's."""
    with suppress(SyntaxError):
        found = ast.parse(dedent(cst.Module([]).code_for_node(cls.node).lstrip("\r\n"))).body[0]
        return found if isinstance(found, ast.ClassDef) else None
    return None


def _can_declare(configuration: Class | None) -> bool:
    return configuration is not None and isinstance(configuration.node.body, cst.IndentedBlock)


def _declare(configuration: Class, values: Mapping[str, Any]) -> Applied:
    """Add annotated attributes to a class, above its methods."""
    code, block = configuration.code, configuration.node.body
    assert isinstance(block, cst.IndentedBlock)
    text = "".join(f"{name}: object = {value!r}\n" for name, value in values.items())
    lines = [code.statement(line) for line in text.splitlines(keepends=True)]
    index = next((at for at, item in enumerate(block.body) if isinstance(item, cst.FunctionDef)), len(block.body))
    above = code.span(block.body[index - 1]).last if index else code.line(configuration.node)
    below = code.line(block.body[index]) if index < len(block.body) else above + 1
    added = rewrite(code, {block: lambda old: old.with_changes(body=[*old.body[:index], *lines, *old.body[index:]])})
    return Applied(added, (Span(above + 1, below - 1),))
