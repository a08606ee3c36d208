"""Finds the code of a model: the classes that config.json names, their files, and what those import."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from patcher.codemods import Code, Package, Target
from patcher.errors import CodeError, SourceError
from patcher.source.names import check_auto_map

_IMPORT = re.compile(rb"^[ \t]*from[ \t]*\.", re.MULTILINE)


@dataclass(frozen=True)
class ModelCode:
    """The files of a model's classes. `targets` are to lose their cap, the masked-LM class first; `others` are not.

    `in_library`: the class is one of the installed transformers package, whose files are not the repository's.
    """

    package: Package
    targets: tuple[Target, ...]
    others: tuple[Target, ...]
    in_library: bool = False


def find_code(
    modules: Mapping[str, bytes], config: Mapping[str, Any], also_causal_lm: bool = False, config_json: bytes = b"{}"
) -> ModelCode:
    """The class that `auto_map` names for AutoModelForMaskedLM, or that `architectures` names in transformers.

    Raises SourceError where there is neither, CodeError where a file does not define what config.json says.
    """
    auto_map = _auto_map(config)
    homes = _homes(auto_map)
    wanted = ["AutoModelForMaskedLM", *(["AutoModelForCausalLM"] if also_causal_lm else [])]
    missing = [name for name in wanted if name not in homes]
    if missing:
        library = None if homes or len(wanted) > 1 else _library_class(config)
        if library is not None:
            return _in_library(library, config, config_json)
        raise SourceError(
            f"auto_map in config.json names no class for {missing[0]}, and {_architecture(config)} is no class of "
            "transformers with logits over a vocabulary.",
            "Only models with a masked-LM head can be patched; SPLADE needs that head.",
        )
    targets = tuple(dict.fromkeys(homes[name] for name in wanted))
    codes = _reachable(modules, targets, config)
    for target in targets:
        if target.name not in codes[target.path].classes:
            raise CodeError(f"auto_map names {target.name}, which {target.path} does not define.", "Mend config.json.")
    others = tuple(
        target
        for target in dict.fromkeys(homes.values())
        if target not in targets and target.path in codes and target.name in codes[target.path].classes
    )
    return ModelCode(Package(codes, config, config_json), targets, others)


def _auto_map(config: Mapping[str, Any]) -> Mapping[str, Any]:
    auto_map = config.get("auto_map") or {}
    if not isinstance(auto_map, dict):
        raise SourceError("auto_map in config.json is not an object.", "Mend that file.")
    check_auto_map(auto_map)
    foreign = [value for value in auto_map.values() if "--" in str(value)]
    if foreign:
        raise SourceError(
            f"auto_map points to another repository ({foreign[0]}), so transformers would ignore the patched file.",
            "Patch that other repository, or put its code beside config.json and name it without `repo--`.",
        )
    return auto_map


def _homes(auto_map: Mapping[str, Any]) -> dict[str, Target]:
    """The model classes of auto_map, by their Auto class, and the files they stand in."""
    homes = {}
    for auto_class, value in auto_map.items():
        if isinstance(value, str) and "." in value and auto_class.startswith("AutoModel"):
            module, _, name = value.rpartition(".")
            homes[auto_class] = Target(name, module.replace(".", "/") + ".py")
    return homes


def _reachable(modules: Mapping[str, bytes], targets: Iterable[Target], config: Mapping[str, Any]) -> dict[str, Code]:
    """The files that transformers would load: those of the classes, and what they import relatively."""
    waiting, codes = list(dict.fromkeys(target.path for target in targets)), dict[str, Code]()
    while waiting:
        path = waiting.pop(0)
        if path not in modules:
            raise SourceError(f"auto_map needs {path}, which is not there.", "Give a complete model repository.")
        code = codes[path] = Code(path, modules[path], config)
        if _IMPORT.search(code.content):
            for statement in code.import_statements():
                found = [p for p in imported(path, statement) if p in modules and p not in codes]
                waiting += [p for p in found if p not in waiting]
    return codes


def imported(path: str, statement: ast.ImportFrom) -> Iterator[str]:
    """The files that a relative import may mean."""
    parents = PurePosixPath(path).parents
    if not statement.level or statement.level > len(parents):
        return
    folder = parents[statement.level - 1]
    if statement.module is not None:
        yield str(folder / (statement.module.replace(".", "/") + ".py"))
    else:
        for alias in statement.names:
            if alias.name != "*":
                yield str(folder / f"{alias.name}.py")


# Models that transformers itself brings


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else "nothing that `architectures` names"


def _library_class(config: Mapping[str, Any]) -> tuple[Path, str] | None:
    """The file of the installed transformers package that defines the class of `architectures`; runs none of it."""
    name = _architecture(config)
    spec = importlib.util.find_spec("transformers")
    if not re.fullmatch(r"\w+For(MaskedLM|CausalLM)", name) or spec is None or not spec.submodule_search_locations:
        return None
    models = Path(spec.submodule_search_locations[0]) / "models"
    kind = str(config.get("model_type", ""))
    likely = models / kind.replace("-", "_") if re.fullmatch(r"[\w-]+", kind) else models
    pattern = re.compile(rb"^class " + name.encode() + rb"\b", re.MULTILINE)
    for folder in dict.fromkeys((likely, models)):
        for path in sorted(folder.glob("modeling_*.py" if folder != models else "*/modeling_*.py")):
            if pattern.search(path.read_bytes()):
                return path, name
    return None


def _in_library(found: tuple[Path, str], config: Mapping[str, Any], config_json: bytes) -> ModelCode:
    path, name = found
    shown = "/".join(path.parts[-4:])  # transformers/models/gemma2/modeling_gemma2.py
    package = Package({shown: Code(shown, path.read_bytes(), config)}, config, config_json)
    return ModelCode(package, (Target(name, shown),), (), in_library=True)
