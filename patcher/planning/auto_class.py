"""Which Auto class loads the class that the weights of a model are for."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from patcher.source.snapshot import Snapshot

MODEL, MASKED, CAUSAL = "AutoModel", "AutoModelForMaskedLM", "AutoModelForCausalLM"
VOCABULARY_HEADS = (MASKED, CAUSAL)
NAME = re.compile(r"AutoModel(For[A-Za-z]+)?")
_MAX_HEADER = 100_000_000  # bytes; the limit of the format


def find_auto_class(
    config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]] | None = None, modules: Mapping[str, bytes] = {}
) -> str:
    """The Auto class that loads the first of `architectures`, as `auto_map` or that name says.

    `shapes` are those of the checkpoint's tensors (`read_shapes`), where they are known: a vocabulary head that they
    have or lack overrules config.json. `modules` is the code, to which the names of the tensors are compared.
    """
    auto_map = config.get("auto_map")
    classes = {name: str(value) for name, value in auto_map.items()} if isinstance(auto_map, Mapping) else {}
    found = _named(config, classes)
    if not shapes or found not in (MODEL, *VOCABULARY_HEADS):
        return found
    # The embedding of the input is one tensor with a row for each token; a head brings a bias, a matrix or both.
    has_head = sum(list(shape[:1]) == [config.get("vocab_size")] for shape in shapes.values()) > 1
    if found == MODEL and has_head:
        return MASKED if MASKED in classes else found
    if found == MODEL or has_head or {name.partition(".")[0] for name in shapes} & _attributes(classes, found, modules):
        return found
    return MODEL


def read_shapes(snapshot: Snapshot, files: Sequence[str]) -> dict[str, list[int]]:
    """The shapes of the tensors in safetensors files, by name; empty where these are not on this machine."""
    paths = [snapshot.root / path for path in files if path.endswith(".safetensors")] if snapshot.root else []
    found: dict[str, list[int]] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        for path in paths:
            found |= {name: tensor["shape"] for name, tensor in _header(path).items() if name != "__metadata__"}
        return found
    return {}


def _header(file: Path) -> Any:
    """The header of a safetensors file. The library would import numpy, which takes longer than a whole plan."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        return json.loads(opened.read(size)) if size <= _MAX_HEADER else {}


def _named(config: Mapping[str, Any], classes: Mapping[str, str]) -> str:
    architectures = config.get("architectures")
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    loads = [auto for auto, value in classes.items() if auto.startswith(MODEL) and value.rpartition(".")[2] == name]
    if loads:
        return MASKED if MASKED in loads else loads[0]
    _, task, kind = name.partition("For")
    if task:
        return f"{MODEL}For{kind}"
    if name.endswith("Model") and MODEL in classes:
        return MODEL
    return CAUSAL if CAUSAL in classes and MASKED not in classes else MASKED


def _attributes(classes: Mapping[str, str], auto_class: str, modules: Mapping[str, bytes]) -> set[str]:
    """The attributes of `self` that the class behind an Auto class reads; empty where its code can't be read."""
    module, _, name = classes.get(auto_class, "").rpartition(".")
    with suppress(SyntaxError, ValueError, KeyError):
        tree = ast.parse(modules[module.replace(".", "/") + ".py"])
        return {
            node.attr
            for definition in tree.body
            if isinstance(definition, ast.ClassDef) and definition.name == name
            for node in ast.walk(definition)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        }
    return set()
