"""A trained model as it has to be loaded: its code repaired for transformers 5, with its cap, and no pickles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.constants import CARD, CONFIG, TOKENIZER
from patcher.errors import CodeError, SourceError, UsageError, see
from patcher.planning.files import check_loadable, join
from patcher.planning.layout import Layout, loaded_weights, read_json, read_layout
from patcher.planning.rewriting import rewrite_code, rewrite_tokenizer
from patcher.soft_cap import SoftCap
from patcher.source.names import check_auto_map
from patcher.source.snapshot import Snapshot, Source, fetch, fetch_checked, fetch_texts, resolve

_Code = tuple[dict[str, bytes], dict[str, Any], Source, bool]


@dataclass(frozen=True)
class RepairedModel:
    """A SparseEncoder model, and what has to be changed to load it correctly.

    `code` are the repaired Python files of the masked LM, `uncapped` the same without the cap, `originals` the same as
    published. `configs` are the configurations that change: whose auto_map named another repository, or that lack an
    attribute. `code_source` is the origin of the code, `soft_cap` the cap of the head; `capped` is False where an
    earlier patch removed it.
    """

    snapshot: Snapshot
    layout: Layout
    code: Mapping[str, bytes]
    uncapped: Mapping[str, bytes]
    originals: Mapping[str, bytes]
    configs: Mapping[str, bytes]
    code_source: Source
    soft_cap: SoftCap
    capped: bool
    vocab_size: int | None

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the source that belong to the model."""
        return self.layout.files

    def fetched(self) -> RepairedModel:
        """The same with every file of the model on this machine. Raises SourceError where there are no safetensors."""
        weights = loaded_weights(self.snapshot, self.layout.encoders)
        check_loadable(self.snapshot, weights, pickled=False)
        return replace(self, snapshot=fetch_checked(self.snapshot, self.layout.files))

    def executed(self) -> dict[str, bytes]:
        """The Python files that loading the model runs, as published: the masked LM and the model's own modules."""
        paths = [path for path in self.layout.files if path.endswith(".py")]
        snapshot = fetch(self.snapshot, paths)
        return {**{path: snapshot.read(path) for path in paths}, **self.originals}

    def contents(self, *, capped: bool = True) -> dict[str, bytes | Path]:
        """The files of the model, without its card: what is in those that change, and where the others are.

        `capped=False` takes the cap off, if there is one.

        transformers looks for remote code in the model's own folder even where the transformer has a sub-folder.
        """
        folders = {"", *self.layout.encoders}
        python = self.code if capped else self.uncapped
        code = {join(folder, path): content for folder in folders for path, content in python.items()}
        changed = {**self.configs, **code}
        unchanged = {*self.layout.files} - {*changed, CARD}
        return {**changed, **{path: self.snapshot.local(path) for path in unchanged}}


def repair(snapshot: Snapshot) -> RepairedModel:
    """Read the model's layout, find its code and repair it. Fetches JSON and Python files only.

    Raises SourceError where this is not a SparseEncoder model with its own code, CodeError where that code can't be
    repaired, and UsageError where a threshold is built in already.
    """
    layout = read_layout(snapshot)
    if layout.threshold is not None:
        raise UsageError(
            f"{snapshot.source} has a threshold of {layout.threshold:g} built in already.",
            "Use the model that it was made from.",
        )
    found = [_code_of(snapshot, folder) for folder in layout.encoders]
    modules, config, source, _ = found[0]
    if any(other[0] != modules for other in found[1:]):
        raise SourceError(
            f"The Transformer modules of {snapshot.source} ({', '.join(layout.encoders)}) have different code.",
            "Routes must share their code to be loaded; transformers looks for it in one folder."
            + see("inference-free"),
        )
    try:
        rewritten = rewrite_code(modules, config)
    except CodeError as error:
        if "[no-cap]" not in error.message:
            raise
        hint = f"A model without a cap needs no threshold; `patcher repair {snapshot.source} --out DIR` makes it load."
        raise CodeError(error.message, hint + see("no-cap", "recognised")) from error
    configs = dict(_configs(snapshot, layout.encoders, found))
    code = {path: content for path, content in rewritten.base.items() if path != CONFIG}
    if rewritten.soft_cap is None:
        raise SourceError(
            f"{snapshot.source} has a signed cap or none, so its embeddings have zeros without a threshold.",
            "Use the model as it is.",
        )
    return RepairedModel(
        snapshot=snapshot,
        layout=layout,
        code=code,
        uncapped={path: content for path, content in rewritten.contents.items() if path != CONFIG},
        originals={path: modules[path] for path in code},
        configs=configs,
        code_source=source,
        soft_cap=rewritten.soft_cap,
        capped=all(result.status != "not_needed" for result in rewritten.results if result.name == "soft_cap"),
        vocab_size=config.get("vocab_size"),
    )


def _configs(snapshot: Snapshot, folders: Iterable[str], found: Iterable[_Code]) -> Iterator[tuple[str, bytes]]:
    """The configurations that change: auto_map is made local, or an attribute or the tokenizer's limit is missing."""
    for folder, (modules, local, _, foreign) in zip(folders, found, strict=True):
        path = join(folder, CONFIG)
        made = (json.dumps(local, indent=2, ensure_ascii=False) + "\n").encode()
        written = made if foreign else fetch_texts(snapshot, [path]).read(path)
        rewritten = rewrite_code(modules, local, config_json=written)
        if foreign or CONFIG in rewritten.base:
            yield path, rewritten.base.get(CONFIG, written)
        if (tokenizer := join(folder, TOKENIZER)) in snapshot.paths:
            content = fetch_texts(snapshot, [tokenizer]).read(tokenizer)
            yield from ((tokenizer, one) for one in rewrite_tokenizer(content, local).base.values())


def _code_of(snapshot: Snapshot, folder: str) -> _Code:
    """The Python files of a config.json, that config with a local auto_map, the files' origin, and if it is foreign.

    `save_pretrained` may write `other/repo--module.Class`. The code beside config.json or in the model's folder is
    preferred, as it was saved with these weights; otherwise that of the other repository is used.
    """
    config = read_json(snapshot, join(folder, "config.json"))
    check_auto_map(config["auto_map"])
    named = {name: value for name, value in config["auto_map"].items() if isinstance(value, str)}  # no tokenizers
    repositories = {value.rpartition("--")[0] for value in named.values() if "--" in value}
    auto_map = {name: value.rpartition("--")[2] for name, value in named.items()}
    local = {**config, "auto_map": auto_map}
    needed = {value.rpartition(".")[0].replace(".", "/") + ".py" for value in auto_map.values()}
    for code_folder in dict.fromkeys((folder, "")):
        modules = _python(snapshot, code_folder)
        if needed <= set(modules):
            return modules, local, snapshot.source, bool(repositories)
    if len(repositories) != 1:
        missing = ", ".join(sorted(needed))
        others = f"{len(repositories)} other repositories, not one" if repositories else "no other repository"
        raise snapshot.lacks(
            f"{snapshot.source} has no {missing}, and auto_map names {others}.",
            "Put the Python files of its base model beside config.json.",
        )
    other = resolve(repositories.pop())
    return _python(other, ""), local, other.source, True


def _python(snapshot: Snapshot, folder: str) -> dict[str, bytes]:
    """The Python files in a folder of the snapshot, by their paths in it."""
    prefix = join(folder, "")
    paths = [path for path in snapshot.paths if path.startswith(prefix) and path.endswith(".py")]
    snapshot = fetch_texts(snapshot, paths)
    return {path[len(prefix) :]: snapshot.read(path) for path in paths}
