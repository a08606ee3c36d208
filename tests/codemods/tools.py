"""Runs one codemod on some code and proves its result, as the plan does."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from textwrap import dedent
from typing import Any

import pytest

from patcher.codemods import (
    CODEMODS,
    Applied,
    Code,
    FoundCap,
    NotNeeded,
    Outcome,
    Package,
    Refused,
    Span,
    Target,
    find_cap,
    lower_cap,
    remove_cap,
    tied_weights,
)
from patcher.codemods.proof import prove
from patcher.soft_cap import SoftCap
from tests.codemods.shapes import Shape
from tests.codemods.tables import REPAIRED

CONFIG: dict[str, Any] = {}
HOME = "modeling.py"
IMPORTS = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def bytes_of(code: str | bytes) -> bytes:
    """Dedented code as bytes; bytes are taken as they are."""
    return dedent(code).encode() if isinstance(code, str) else code


def package_of(files: Mapping[str, str | bytes], config: Mapping[str, Any] = CONFIG) -> Package:
    """A package of files by path, with a config.json."""
    codes = {path: Code(path, bytes_of(code), config) for path, code in files.items()}
    return Package(codes, config, json.dumps(config, indent=2).encode())


def assert_only_intended(before: str, after: str, spans: Iterable[Span], path: str) -> None:
    """The proof of a change from one text to another. Raises CodeError."""
    prove(Code(path, before.encode(), {}), Code(path, after.encode(), {}), spans)


def find_and_remove(
    package: Package, classes: tuple[str, ...] = ("Head",), path: str = HOME, **options: Any
) -> Mapping[str, Outcome] | Refused:
    """The outcomes of finding and removing the caps of classes, by file."""
    outcomes: dict[str, Outcome] = {}
    caps: list[FoundCap] = []
    for name in classes:
        found = find_cap(package, Target(name, path))
        if isinstance(found, Refused):
            return found
        if isinstance(found, FoundCap):
            caps.append(found)
        else:
            outcomes.setdefault(path, found)
    keep = options.pop("keep", False)
    removed = lower_cap(package, caps, (), **options) if keep else remove_cap(package, caps, **options)
    return removed if isinstance(removed, Refused) else {**outcomes, **removed}


def run(
    name: str,
    code: str | bytes,
    classes: tuple[str, ...] = ("Head",),
    config: Mapping[str, Any] = CONFIG,
    **options: Any,
) -> Outcome:
    """The outcome of a codemod on the code of one file."""
    if name == "tied_weights":
        return tied_weights(package_of({HOME: code}, config))[HOME]
    if name != "soft_cap":
        return CODEMODS[name](Code(HOME, bytes_of(code), config))
    outcomes = find_and_remove(package_of({HOME: code}, config), classes, **options)
    if isinstance(outcomes, Refused):
        return outcomes
    applied = [one for path, one in outcomes.items() if isinstance(one, Applied) and path != "config.json"]
    return (applied or list(outcomes.values()))[0]


def applied(
    name: str,
    code: str | bytes,
    classes: tuple[str, ...] = ("Head",),
    config: Mapping[str, Any] = CONFIG,
    **options: Any,
) -> str:
    """The new code, after the proof, a second run, and a parse of it."""
    before = Code(HOME, bytes_of(code), config)
    outcome = run(name, code, classes, config, **options)
    assert isinstance(outcome, Applied), outcome
    after = Code(HOME, outcome.code, config)
    ast.parse(after.text)
    assert_only_intended(before.text, after.text, outcome.spans, HOME)
    again = run(name, outcome.code, classes, config, **options)
    assert isinstance(again, NotNeeded), f"a second run would change something: {again}"
    return after.text


def check(name: str, before: str, after: str, classes: tuple[str, ...] = ("Head",)) -> None:
    """`before` becomes `after`, byte for byte."""
    assert applied(name, before, classes) == dedent(after)


def tables_to_load() -> dict[str, tuple[str, str, str]]:
    """What `loading.py` compares: each model with tables, in a dtype that shows in which one they were computed."""
    return {table.name: (table.code(), applied("computed_buffers", table.code()), "bfloat16") for table in REPAIRED}


def patched(shape: Shape) -> tuple[dict[str, str], dict[str, str], SoftCap]:
    """The files before and after, and the record; each file is proved, and a second run changes nothing."""
    before = shape.package()
    outcomes = find_and_remove(package_of(before, shape.settings()))
    assert not isinstance(outcomes, Refused), outcomes
    changed = {path: one for path, one in outcomes.items() if isinstance(one, Applied)}
    assert changed, outcomes
    after = dict(before)
    for path, outcome in changed.items():
        after[path] = outcome.code.decode()
        ast.parse(after[path], feature_version=(3, 10))
        assert_only_intended(before[path], after[path], outcome.spans, path)
    again = find_and_remove(package_of(after, shape.settings()))
    assert not isinstance(again, Refused), again
    assert all(isinstance(one, NotNeeded) for one in again.values()), again
    (record,) = {one.soft_cap for one in changed.values()}
    assert record is not None
    return before, after, record


def named(shapes: list[Shape]) -> pytest.MarkDecorator:
    """One test for each shape, named after it."""
    names = [" ".join(shape.name.split()) for shape in shapes]
    assert len(names) == len(set(names))
    return pytest.mark.parametrize("shape", shapes, ids=names)
