"""Finds the code of a model: the classes that config.json names, their files, and what those import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import libcst as cst

from patcher.codemods import Class, Code, Package, Target
from patcher.errors import CodeError, SourceError, see
from patcher.planning.auto_class import CAUSAL, MASKED, NAME
from patcher.source.names import check_auto_map

_IMPORT = re.compile(rb"^[ \t]*from[ \t]*\.", re.MULTILINE)


class MissingCode(SourceError):
    """A file that auto_map names is not among the model's."""


@dataclass(frozen=True)
class ModelCode:
    """The files of a model's classes. `targets` lose their cap, the masked-LM class first; `others` keep it.

    `configuration` is the class of `AutoConfig`, None where it is one of transformers.
    """

    package: Package
    targets: tuple[Target, ...]
    others: tuple[Target, ...]
    configuration: Class | None = None


def find_code(
    modules: Mapping[str, bytes],
    config: Mapping[str, Any],
    *,
    auto_class: str = MASKED,
    also_causal_lm: bool = False,
    config_json: bytes = b"{}",
) -> ModelCode:
    """The class that `auto_map` names for an Auto class, and the code that it needs.

    Raises SourceError where there is none, CodeError where a file does not define what config.json says.
    """
    wanted = [auto_class, *([CAUSAL] if also_causal_lm else [])]
    every = _classes(_auto_map(config, wanted))
    classes = {name: target for name, target in every.items() if NAME.fullmatch(name)}
    configuration = every.get("AutoConfig")
    missing = [name for name in wanted if name not in classes]
    if missing:
        why = f"auto_map in config.json names no class for {missing[0]}."
        raise SourceError(
            why,
            "Only models that ship the code of the class for their weights can be patched." + see("no-code"),
        )
    targets = tuple(dict.fromkeys(classes[name] for name in wanted))
    codes = _reachable(modules, [*(one.path for one in targets), *_configuration_paths(config, modules)], config)
    for target in targets:
        if codes[target.path].definition(cst.ClassDef, target.name) is None:
            raise CodeError(f"auto_map names {target.name}, which {target.path} does not define.", "Fix config.json.")
    more = [one for one in dict.fromkeys(classes.values()) if one not in targets and one.path in codes]
    others = tuple(one for one in more if codes[one.path].definition(cst.ClassDef, one.name) is not None)
    package = Package(codes, config, config_json)
    own = codes.get(configuration.path) if configuration is not None else None
    found = package.top_level(own, configuration.name) if own is not None and configuration is not None else None
    return ModelCode(package, targets, others, found if isinstance(found, Class) else None)


def _auto_map(config: Mapping[str, Any], wanted: Iterable[str]) -> Mapping[str, Any]:
    """The part of auto_map that names code of this repository. What `wanted` loads has to be in it."""
    auto_map = config.get("auto_map") or {}
    if not isinstance(auto_map, dict):
        raise SourceError("auto_map in config.json is not an object.", "Fix that file.")
    check_auto_map(auto_map)
    foreign = [str(auto_map[name]) for name in ("AutoConfig", *wanted) if "--" in str(auto_map.get(name))]
    if foreign:
        raise SourceError(
            f"auto_map points to another repository ({foreign[0]}), so transformers would ignore the patched file.",
            "Patch that other repository, or put its code beside config.json and name it without `repo--`."
            + see("code-in-another-repository"),
        )
    # `save_pretrained` leaves the names of classes that it did not save: of the base model, in its repository.
    return {name: value for name, value in auto_map.items() if "--" not in str(value)}


def _classes(auto_map: Mapping[str, Any]) -> dict[str, Target]:
    """The classes of auto_map, by their Auto class, and the files that define them."""
    parts = {name: value.rpartition(".") for name, value in auto_map.items() if isinstance(value, str) and "." in value}
    return {
        name: Target(class_name, module.replace(".", "/") + ".py") for name, (module, _, class_name) in parts.items()
    }


def _configuration_paths(config: Mapping[str, Any], modules: Mapping[str, bytes]) -> list[str]:
    """The file of the configuration class, which says what numbers the model reads."""
    name = (config.get("auto_map") or {}).get("AutoConfig")
    path = name.rpartition(".")[0].replace(".", "/") + ".py" if isinstance(name, str) else ""
    return [path] if path in modules else []


def _reachable(modules: Mapping[str, bytes], paths: Iterable[str], config: Mapping[str, Any]) -> dict[str, Code]:
    """The files that transformers would load: those of the classes, and what they import relatively."""
    waiting, codes = list(dict.fromkeys(paths)), dict[str, Code]()
    while waiting:
        path = waiting.pop(0)
        if path not in modules:
            raise MissingCode(f"auto_map needs {path}, which is missing.", "Use a complete model repository.")
        code = codes[path] = Code(path, modules[path], config)
        for statement in code.import_statements() if _IMPORT.search(code.content) else ():
            found = [p for p in imported(path, statement) if p in modules and p not in codes]
            waiting += [p for p in found if p not in waiting]
    return codes


def imported(path: str, statement: ast.ImportFrom) -> Iterator[str]:
    """The files that a relative import may mean."""
    parents = PurePosixPath(path).parents
    if not statement.level or statement.level > len(parents):
        return
    folder = parents[statement.level - 1]
    names = [alias.name for alias in statement.names if alias.name != "*"]
    for name in names if statement.module is None else [statement.module.replace(".", "/")]:
        yield str(folder / f"{name}.py")
