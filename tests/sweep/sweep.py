"""Plans every file of model code in the installed packages, as if each of its language models were to be patched.

Nothing of it is imported: numbers of config.json are the defaults that the configuration classes have in their source.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst

from patcher.codemods import (
    CODEMODS,
    Applied,
    Code,
    LeftAlone,
    NotNeeded,
    Outcome,
    Package,
    Refused,
)
from patcher.codemods.proof import prove
from patcher.constants import REPAIRS
from tests.codemods.tools import find_and_remove

FOUND = Path(__file__).with_name("found.txt")
PACKAGES = ("transformers", "sentence-transformers")
_CLASS = re.compile(r"^class (\w+(?:ForMaskedLM|ForCausalLM|LMHeadModel))\b", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A file of model code, its language models, and the configuration they would have by default."""

    path: str
    content: bytes
    classes: tuple[str, ...]
    config: dict[str, Any]


def versions() -> str:
    """The first line of `found.txt`."""
    return "# " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def sources() -> list[Source]:
    """All `modeling_*.py`, and all other files with a masked or causal language model."""
    found = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package.replace("-", "_"))
        assert spec is not None and spec.submodule_search_locations
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            content = path.read_bytes()
            classes = tuple(_CLASS.findall(content.decode("utf-8")))
            if classes or path.name.startswith("modeling_"):
                found.append(Source(path.relative_to(root.parent).as_posix(), content, classes, _defaults(path)))
    return found


def _defaults(path: Path) -> dict[str, Any]:
    """The numbers that the configuration classes beside a file name, of all of them together."""
    found: dict[str, Any] = {}
    for beside in sorted(path.parent.glob("configuration_*.py")):
        for node in ast.walk(ast.parse(beside.read_text("utf-8"))):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found |= _numbers([node.target.id], [node.value])
            elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
                names = [argument.arg for argument in node.args.args][-len(node.args.defaults) :]
                found |= _numbers(names, node.args.defaults)
    return found


def _numbers(names: Sequence[str], values: Iterable[ast.expr | None]) -> dict[str, Any]:
    pairs = zip(names, values, strict=False)
    return {
        name: value.value
        for name, value in pairs
        if isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, (int, float)))
    }


def plan_all(files: Iterable[Source]) -> list[str]:
    """One line for each language model and each repair of something, in the order of the files."""
    return [line for source in files for line in _planned(source)]


def parse_all(files: Iterable[Source]) -> None:
    """The floor that planning is measured against."""
    for source in files:
        cst.parse_module(source.content)


def text_of(found: Sequence[str]) -> str:
    """What `found.txt` holds."""
    return "".join(f"{line}\n" for line in (versions(), *found))


def _planned(source: Source) -> Iterator[str]:
    code = Code(source.path, source.content, source.config)
    package = Package({source.path: code}, source.config, json.dumps(source.config, indent=2).encode())
    for name in source.classes:
        yield f"{source.path}: {name}: {_cap(package, source.path, name)}"
    for name in CODEMODS.keys() & {*REPAIRS}:
        outcome = CODEMODS[name](code)
        if isinstance(outcome, Applied):
            after = _proved(code, outcome)
            assert isinstance(CODEMODS[name](after), NotNeeded), f"{name} would change {source.path} a second time"
            yield f"{source.path}: {name}: applied to lines {', '.join(str(span.first) for span in outcome.spans)}"
        elif isinstance(outcome, Refused):
            yield f"{source.path}: {name}: {_refused(outcome)}"


def _cap(package: Package, path: str, name: str) -> str:
    """What is found and removed of one class, its proof included."""
    found = find_and_remove(package, (name,), path)
    if isinstance(found, Refused):
        return _refused(found)
    texts = []
    for changed, outcome in found.items():
        texts.append(_told(changed, outcome))
        if isinstance(outcome, Applied):
            codes = {path: _proved(package.codes[path], outcome)}
            again = find_and_remove(Package(codes, package.config, package.config_json), (name,), path)
            assert not isinstance(again, Refused), again
            assert all(isinstance(one, NotNeeded) for one in again.values()), f"{path} would change a second time"
    return "; ".join(texts)


def _proved(code: Code, outcome: Applied) -> Code:
    after = code.changed(outcome.code)
    assert prove(code, after, outcome.spans), f"nothing of {code.path} was changed"
    compile(outcome.code, code.path, "exec")
    return after


def _refused(outcome: Refused) -> str:
    return "no cap" if outcome.name == "no-cap" else f"refused, {outcome.name}: {outcome.reason}"


def _told(path: str, outcome: Outcome) -> str:
    cap = outcome.soft_cap if isinstance(outcome, (Applied, LeftAlone, NotNeeded)) else None
    words = {Applied: f"applied to {Path(path).name}", LeftAlone: "left alone", NotNeeded: "not needed"}[type(outcome)]
    if cap is None:
        return f"{words}: {outcome.reason}" if isinstance(outcome, NotNeeded) else words
    formula = f"{cap.kind}, scale {cap.scale:g}, temperature {cap.temperature:g}"
    return f"{words}, line {cap.line} of {cap.function}: {formula}: {cap.expression}"
