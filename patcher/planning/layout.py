"""Finds the parts of a SparseEncoder folder: which files belong to the model, and where its masked LM and code are."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from patcher.constants import CARD, CONFIG
from patcher.errors import SourceError, see
from patcher.planning.auto_class import MASKED, MODEL
from patcher.planning.files import Weights, find_weights, index_paths, join, why_left_out
from patcher.source.snapshot import File, Snapshot, Source, fetch_texts

MODULES, ROUTERS = "modules.json", ("router_config.json", "config.json")
MODULE_NAME, CLASS_NAME = "sparse_threshold", "SparseThreshold"


@dataclass(frozen=True)
class Layout:
    """The parts of a SparseEncoder model. Paths are relative to its folder; "" is the folder itself.

    `files` are those that belong to the model (no training checkpoints, no exports, no pickles), `encoders` the folders
    of the transformers with remote code, `uncapped_tasks` the routes of a Router that pass no SpladePooling (the
    queries of an inference-free model).
    """

    modules: tuple[Mapping[str, Any], ...]
    files: tuple[str, ...]
    encoders: tuple[str, ...]
    uncapped_tasks: tuple[str, ...]
    threshold: float | None


class _NotSplade(SourceError):
    """A model of sentence-transformers whose embeddings come from no capped head."""


def find_layout(snapshot: Snapshot) -> Layout | None:
    """The layout of a SPLADE model that sentence-transformers saved; None for any other model.

    Raises SourceError for a modules.json that can't be read.
    """
    try:
        return read_layout(snapshot) if MODULES in snapshot.paths else None
    except _NotSplade:
        return None


def read_layout(snapshot: Snapshot) -> Layout:
    """Read modules.json and what it names. Fetches small JSON files only.

    Raises SourceError where this is not a SparseEncoder model with SPLADE pooling over remote code.
    """
    if MODULES not in snapshot.paths:
        why = f"{snapshot.source} is not a trained SparseEncoder model: it has no {MODULES}."
        hint = "Use a model that sentence-transformers saved; for a base model use `patcher patch`."
        raise snapshot.lacks(why, hint + see("not-a-trained-model"))
    modules, folders, uncapped = _modules(snapshot)
    pooled = any(_class(kind) == "SpladePooling" for kind in folders.values())
    encoders = tuple(folder for folder in folders if _brings_code(snapshot, folder))
    if not pooled or not encoders:
        what = "has no SpladePooling" if not pooled else "has no masked LM that comes with its own code"
        why = f"{snapshot.source} {what}, so its embeddings do not come from a capped head."
        raise _NotSplade(why, "A threshold is for SPLADE models trained on a capped NorBERT4.")
    loaded = {path for weights in loaded_weights(snapshot, folders) for path in weights.paths}
    own = next((folder for folder, kind in folders.items() if _class(kind) == CLASS_NAME), None)
    return Layout(
        modules=tuple(modules),
        files=tuple(path for path in snapshot.paths if _belongs(path, folders, loaded)),
        encoders=encoders,
        uncapped_tasks=uncapped,
        threshold=read_json(snapshot, join(own, "config.json"))["threshold"] if own is not None else None,
    )


def check_loading(snapshot: Snapshot, folder: str, config: Mapping[str, Any]) -> None:
    """Refuse a folder from which transformers loads more than, or other weights than, its own. Raises SourceError."""
    adapter, named = join(folder, "adapter_config.json"), config.get("transformers_weights")
    if adapter in snapshot.paths:
        why = f"{snapshot.source} has {adapter}: transformers adds that adapter to the weights when it loads the model."
        raise SourceError(
            why,
            "Merge the adapter (merge_and_unload in peft) and save that model, or remove its files."
            + see("other-weights"),
        )
    if named is not None:
        raise SourceError(
            f"{join(folder, 'config.json')} of {snapshot.source} names its weights in transformers_weights ({named}).",
            "Rename them to model.safetensors, in a copy of the repository, and remove that key."
            + see("other-weights"),
        )


def check_pooling(snapshot: Snapshot, config: Mapping[str, Any]) -> None:
    """Refuse a base model whose logits SparseEncoder would not pool. Raises SourceError.

    Where modules.json does not list SpladePooling, or no architecture ends in ForMaskedLM, it silently adds an
    autoencoder with random weights.
    """
    names = config.get("architectures")
    masked = isinstance(names, list) and any(str(name).endswith("ForMaskedLM") for name in names)
    if masked and MODULES not in snapshot.paths:
        return
    if MODULES in snapshot.paths:
        what = f"{MODULES} of {snapshot.source} describes a sentence-transformers model without SpladePooling"
        hint = (
            f"Use its base model, or a copy without {MODULES}; "
            "`patcher repair` makes it load on transformers 5, as the model that it is."
        )
    else:
        what = f"config.json of {snapshot.source} names no masked LM in architectures ({names})"
        hint = "If its weights have a masked-LM head, name that class there, in a copy; it has to end in ForMaskedLM."
    raise SourceError(
        f"{what}: SparseEncoder would silently add a random autoencoder to it.", hint + see("random-autoencoder")
    )


def model_folders(snapshot: Snapshot) -> tuple[str, ...]:
    """The model's own folder, "", and those of the modules that sentence-transformers loads. Raises SourceError."""
    modules = _modules(snapshot)[1] if MODULES in snapshot.paths else {}
    return tuple(dict.fromkeys(("", *modules)))


def loaded_folders(root: Path, recorded: Collection[str]) -> frozenset[str]:
    """The folders from which a model is loaded: those of its recorded files, and those that its modules.json names.

    `root` holds the modules.json. One that can't be read names none: it is not the recorded one, or loads nothing.
    """
    files = tuple(File(path, None) for path in recorded)
    folders = {path.rpartition("/")[0] for path in recorded}
    try:
        return frozenset({*folders, *model_folders(Snapshot(Source(None, None, str(root)), files, root))})
    except SourceError:
        return frozenset({*folders, ""})


def dense_encoders(snapshot: Snapshot) -> tuple[str, ...]:
    """The sub-folders of a dense model's transformers; none where its own folder holds the only one."""
    folders = () if CONFIG in snapshot.paths else model_folders(snapshot)
    return tuple(folder for folder in folders if _brings_code(snapshot, folder, MODEL))


def loaded_weights(snapshot: Snapshot, folders: Iterable[str]) -> tuple[Weights, ...]:
    """The checkpoints that are loaded from these folders. Fetches their indexes; raises SourceError."""
    folders = tuple(folders)
    snapshot = fetch_texts(snapshot, index_paths(snapshot.paths, folders))
    return tuple(find_weights(snapshot.paths, folder, snapshot.read) for folder in folders)


def read_json(snapshot: Snapshot, path: str, encoding: str = "utf-8-sig") -> Any:
    """A JSON file of the snapshot. Raises SourceError where it can't be parsed."""
    try:
        return json.loads(fetch_texts(snapshot, [path]).read(path).decode(encoding))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} of {snapshot.source} is not valid JSON: {error}.", "Fix that file.") from error


def _modules(snapshot: Snapshot) -> tuple[list[Mapping[str, Any]], dict[str, str], tuple[str, ...]]:
    """The list of modules, the folder of each with its type, and the routes that pass no SpladePooling."""
    modules = read_json(snapshot, MODULES)
    if not isinstance(modules, list) or not all(isinstance(entry, dict) and "type" in entry for entry in modules):
        raise SourceError(f"{MODULES} of {snapshot.source} is not a list of modules.", "Fix that file.")
    folders = {str(entry.get("path", "")): str(entry["type"]) for entry in modules}
    uncapped: tuple[str, ...] = ()
    for folder, kind in tuple(folders.items()):
        if _class(kind) == "Router":
            routes, uncapped = _routes(snapshot, folder)
            folders |= routes
    return modules, folders, uncapped


def _routes(snapshot: Snapshot, folder: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The sub-folders of a Router with their types, and the routes that pass no SpladePooling."""
    name = next((name for name in ROUTERS if join(folder, name) in snapshot.paths), ROUTERS[0])
    path = join(folder, name)
    config = read_json(snapshot, path)
    try:
        types: dict[str, str] = {part: str(kind) for part, kind in config["types"].items()}
        routes = config["structure"].items()
        uncapped = [task for task, parts in routes if all(_class(types[x]) != "SpladePooling" for x in parts)]
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path} of {snapshot.source} does not describe a Router.", "Fix that file.") from error
    return {join(folder, part): kind for part, kind in types.items()}, tuple(sorted(uncapped))


def _brings_code(snapshot: Snapshot, folder: str, auto_class: str = MASKED) -> bool:
    path = join(folder, CONFIG)
    config = read_json(snapshot, path) if path in snapshot.paths else None
    return isinstance(config, dict) and auto_class in (config.get("auto_map") or {})


def _belongs(path: str, folders: Iterable[str], loaded: Collection[str]) -> bool:
    """Whether a file is carried over, and in the model's folder or a module's, not in `checkpoint-500/` or the like."""
    if path != CARD and why_left_out(path, loaded) is not None:
        return False
    parents = {str(parent) for parent in PurePosixPath(path).parents}
    return "/" not in path or any(folder and folder in parents for folder in folders)


def _class(kind: str) -> str:
    return kind.rpartition(".")[2]
