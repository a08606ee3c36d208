"""Runs one codemod on some code and proves its result, as the plan does."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from textwrap import dedent
from typing import Any

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
    remove_cap,
)
from patcher.codemods.proof import prove

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
    removed = remove_cap(package, caps, **options)
    return removed if isinstance(removed, Refused) else {**outcomes, **removed}


def run(
    name: str,
    code: str | bytes,
    classes: tuple[str, ...] = ("Head",),
    config: Mapping[str, Any] = CONFIG,
    **options: Any,
) -> Outcome:
    """The outcome of a codemod on the code of one file."""
    if name != "soft_cap":
        return CODEMODS[name](Code(HOME, bytes_of(code), config))
    outcomes = find_and_remove(package_of({HOME: code}, config), classes, **options)
    if isinstance(outcomes, Refused):
        return outcomes
    applied = [outcome for outcome in outcomes.values() if isinstance(outcome, Applied)]
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
