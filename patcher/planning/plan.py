"""Decides what would change in a snapshot. Writes nothing, runs no model code and needs no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import Any

from patcher.codec import json_field
from patcher.codemods import Code
from patcher.codemods.chunks import lines
from patcher.constants import CARD, CONFIG, TOKENIZER
from patcher.errors import SourceError, see
from patcher.planning.auto_class import MASKED, VOCABULARY_HEADS, find_auto_class, read_shapes
from patcher.planning.files import FileTable, file_table, join, read_by_plans
from patcher.planning.layout import (
    check_loading,
    check_pooling,
    dense_encoders,
    find_layout,
    loaded_weights,
    model_folders,
    read_json,
)
from patcher.planning.model_code import MissingCode
from patcher.planning.options import CodemodResult, Options
from patcher.planning.rewriting import Rewritten, rewrite_code, rewrite_tokenizer
from patcher.printable import printable
from patcher.soft_cap import SoftCap
from patcher.source.snapshot import Snapshot, Source, fetch_texts


@dataclass(frozen=True)
class Plan:
    """What would change, and the code of the base model.

    `auto_class` loads the class that the weights are for. `soft_cap` is None where other codemods were chosen;
    `kept_cap` is the cap that stays then, if there is one. `encoders` are the folders of the transformers of a trained
    SparseEncoder model ("" is the model's own folder), and those below the model's own of a dense one; any other model
    has none. Not in its JSON: `modules`, all code before; `originals` and `contents`, the changed files before and
    after; `base`, the code with the repairs and with the cap, as far as it differs from that of the source.
    """

    source: Source
    auto_class: str
    soft_cap: SoftCap | None
    kept_cap: SoftCap | None
    encoders: tuple[str, ...]
    codemods: tuple[CodemodResult, ...]
    files: FileTable
    diff: str
    options: Options = json_field(omit=True, default=Options())
    card: bytes = json_field(omit=True, default=b"", repr=False)
    modules: Mapping[str, bytes] = json_field(omit=True, default_factory=dict, repr=False)
    originals: Mapping[str, bytes] = json_field(omit=True, default_factory=dict, repr=False)
    contents: Mapping[str, bytes] = json_field(omit=True, default_factory=dict, repr=False)
    base: Mapping[str, bytes] = json_field(omit=True, default_factory=dict, repr=False)

    @cached_property
    def base_card(self) -> Mapping[str, Any]:
        """Licence, languages and tags of the source's card, invisible characters escaped; empty without metadata.

        `unreadable` says that there is a licence, or may be one, that could not be read.
        """
        from patcher.source.metadata import has_metadata, read_metadata

        text = self.card.decode("utf-8-sig", "replace")
        data = read_metadata(text)
        if not data:
            return {"unreadable": True} if has_metadata(text) else {}
        kept: dict[str, Any] = {
            key: printable(data[key])
            for key in ("license", "license_name", "license_link")
            if isinstance(data.get(key), str)
        }
        if "license" not in kept and data.get("license") is not None:
            names = data["license"]
            if isinstance(names, list) and names and all(isinstance(one, str) for one in names):
                kept["license"] = [printable(one) for one in names]
            else:
                kept["unreadable"] = True
        # YAML 1.1 reads an unquoted `no`, the code of Norwegian, as False.
        languages = ["no" if item is False else item for item in _listed(data.get("language"))]
        kept["language"] = [printable(item) for item in languages if isinstance(item, str)]
        kept["tags"] = [printable(item) for item in _listed(data.get("tags")) if isinstance(item, str)]
        return kept

    @property
    def executed(self) -> Mapping[str, bytes]:
        """The Python files of the patched folder, any of which loading the model may run."""
        return {**self.modules, **self.contents}

    @property
    def already_patched(self) -> bool:
        """Whether an earlier run removed the cap, or did all that was chosen instead."""
        found = [result.status for result in self.codemods if result.name == "soft_cap"]
        drops = any(result.name == "drop_bos" and result.status == "applied" for result in self.codemods)
        return {*found} == {"not_needed"} and not drops if found else not self._writes

    @property
    def nothing_to_do(self) -> str | None:
        """Why there is nothing to write; None where there is."""
        if self._writes and not self.already_patched:
            return None
        reasons = (result.reason for result in self.codemods if result.name in ("soft_cap", "drop_bos"))
        return next(reasons, f"it needs none of {', '.join(self.options.names)}")

    @property
    def _writes(self) -> bool:
        return bool(self.files.changed or self.files.converted or self.files.added)


def make_plan(snapshot: Snapshot, options: Options = Options()) -> Plan:
    """Decide what would change in the snapshot.

    Fetches small JSON files, the card and the Python files, nothing else. Raises SourceError when the snapshot is not a
    model with its own masked-LM code, and CodeError when the code can't be read or a codemod refuses.
    """
    snapshot = fetch_texts(snapshot, read_by_plans(snapshot.paths))
    layout = find_layout(snapshot)
    encoders = layout.encoders if layout else dense_encoders(snapshot)
    configs = {folder: join(folder, CONFIG) for folder in encoders or ("",)}
    if any(path not in snapshot.paths for path in configs.values()):
        raise snapshot.lacks(f"{snapshot.source} has no config.json.", "Use a model repository or a folder with one.")
    python = [path for path in snapshot.paths if path.endswith(".py")]
    modules = {path: snapshot.read(path) for path in python}
    for folder, path in configs.items():
        config = read_json(snapshot, path, encoding="utf-8")
        if not isinstance(config, dict):
            raise SourceError(f"{path} of {snapshot.source} is not an object.", "Fix that file.")
        check_loading(snapshot, folder, config)
    read = {folder: snapshot.read(path) for folder, path in configs.items()}
    paths = {folder: join(folder, TOKENIZER) for folder in configs}
    tokenizers = {folder: snapshot.read(path) for folder, path in paths.items() if path in snapshot.paths}
    weights = loaded_weights(snapshot, model_folders(snapshot))
    auto_class = MASKED if layout else _class_of_weights(snapshot, folder, modules)
    if "soft_cap" in options.names and auto_class not in VOCABULARY_HEADS:
        raise _without_head(auto_class, snapshot.source)
    try:
        rewritten = rewrite_folders(modules, read, options, auto_class, tokenizers)
    except MissingCode as error:
        raise snapshot.lacks(error.message, error.hint) from error
    if any(one.name == "soft_cap" and one.status == "applied" for one in rewritten.results):
        if layout:
            _check_trained(rewritten.soft_cap, layout.encoders, snapshot.source, options)
        else:
            check_pooling(snapshot, config)
    before = {**modules, **{configs[folder]: content for folder, content in read.items()}}
    before |= {paths[folder]: content for folder, content in tokenizers.items()}
    after = rewritten.contents
    changed = tuple(path for path in sorted(before) if after.get(path, before[path]) != before[path])
    added = _code_on_top(after, modules, encoders)
    return Plan(
        source=snapshot.source,
        auto_class=auto_class,
        soft_cap=rewritten.soft_cap,
        kept_cap=rewritten.kept_cap,
        encoders=encoders,
        codemods=rewritten.results,
        files=file_table(snapshot.paths, changed, weights, added),
        diff="".join(_diff(path, before[path], after[path]) for path in changed),
        options=options,
        card=snapshot.read(CARD) if CARD in snapshot.paths else b"",
        modules=modules,
        originals={path: before[path] for path in changed},
        contents={**{path: after[path] for path in changed}, **{path: after[origin] for path, origin in added.items()}},
        base={path: code for path, code in rewritten.base.items() if code != before[path]},
    )


def plan_again(plan: Plan, snapshot: Snapshot) -> Plan:
    """The plan for a snapshot whose weights were fetched since: another one where they are for another class.

    Raises what `make_plan` raises.
    """
    folder = (plan.encoders or ("",))[-1]
    if find_layout(snapshot) is not None or _class_of_weights(snapshot, folder, plan.modules) == plan.auto_class:
        return plan
    return make_plan(snapshot, plan.options)


def _class_of_weights(snapshot: Snapshot, folder: str, modules: Mapping[str, bytes]) -> str:
    """The Auto class for a folder: by its config.json alone where its weights are not on this machine."""
    config = read_json(snapshot, join(folder, CONFIG), encoding="utf-8")
    (weights,) = loaded_weights(snapshot, [folder])
    return find_auto_class(config, read_shapes(snapshot, weights.files), modules)


def rewrite_folders(
    modules: Mapping[str, bytes],
    configs: Mapping[str, bytes],
    options: Options = Options(),
    auto_class: str = MASKED,
    tokenizers: Mapping[str, bytes] = MappingProxyType({}),
) -> Rewritten:
    """`rewrite_code` for each folder that has a config.json, on the code beside it and on that in the model's folder.

    `tokenizers` are the tokenizer_config.json of those folders that have one. Paths are those of the whole model.

    transformers looks for a sub-folder's code in the model's own folder, and `save_pretrained` leaves it beside the
    configuration: it may be in either, or in both.
    """
    done: set[str] = set()
    found = Rewritten({}, {})
    for folder, content in configs.items():
        config = json.loads(content)
        code_folders = [one for one in dict.fromkeys((folder, "")) if _brings_code(modules, one, config, auto_class)]
        for code_folder in code_folders or [folder]:
            prefix = join(code_folder, "")
            own = {path[len(prefix) :]: code for path, code in modules.items() if path.startswith(prefix)}
            rewritten = rewrite_code(own, json.loads(content), options, content, auto_class)
            if code_folder in done:
                rewritten = _of_config(rewritten)
            done.add(code_folder)
            content = rewritten.base.get(CONFIG, content)
            found = _joined(found, rewritten, code_folder, join(folder, CONFIG))
        if folder in tokenizers:
            rewritten = rewrite_tokenizer(tokenizers[folder], config, options)
            found = _joined(found, rewritten, folder, join(folder, CONFIG))
    return found


def _of_config(rewritten: Rewritten) -> Rewritten:
    """What a run over code that another folder has as well changes in config.json."""

    def only(files: Mapping[str, bytes]) -> dict[str, bytes]:
        return {path: content for path, content in files.items() if path == CONFIG}

    results = tuple(one for one in rewritten.results if one.file == CONFIG)
    return replace(rewritten, contents=only(rewritten.contents), base=only(rewritten.base), results=results)


def _joined(found: Rewritten, more: Rewritten, folder: str, config: str) -> Rewritten:
    """Both, with paths of the whole model: the code of `more` is in `folder`, and `config` is its config.json."""

    def home(path: str) -> str:
        return config if path == CONFIG else join(folder, path)

    def moved(cap: SoftCap | None) -> SoftCap | None:
        return cap and replace(cap, file=home(cap.file))

    return Rewritten(
        contents={**found.contents, **{home(path): code for path, code in more.contents.items()}},
        base={**found.base, **{home(path): code for path, code in more.base.items()}},
        results=(*found.results, *(replace(result, file=home(result.file)) for result in more.results)),
        soft_cap=found.soft_cap or moved(more.soft_cap),
        kept_cap=found.kept_cap or moved(more.kept_cap),
    )


def _brings_code(modules: Mapping[str, bytes], folder: str, config: Mapping[str, Any], auto_class: str) -> bool:
    """Whether the file that `auto_map` names for an Auto class is in that folder."""
    auto_map = config.get("auto_map")
    target = auto_map.get(auto_class) if isinstance(auto_map, Mapping) else None
    return isinstance(target, str) and join(folder, target.rpartition(".")[0].replace(".", "/") + ".py") in modules


def _code_on_top(
    rewritten: Mapping[str, bytes], modules: Mapping[str, bytes], encoders: tuple[str, ...]
) -> dict[str, str]:
    """The code of sub-folders that the model's own folder lacks, where transformers looks for it, with its origin."""
    added: dict[str, str] = {}
    for prefix, path in product((f"{folder}/" for folder in encoders if folder), rewritten):
        if path.startswith(prefix) and path.endswith(".py") and path.removeprefix(prefix) not in modules:
            added.setdefault(path.removeprefix(prefix), path)
    return added


def _check_trained(cap: SoftCap | None, encoders: tuple[str, ...], source: Source, options: Options) -> None:
    """Refuse to take the cap off a trained model unless its user says that the weights never passed it.

    A training script can remove the cap in memory and push code that still has it, and no file tells. With a threshold
    the cap stays.
    """
    assert cap is not None
    if not options.trained_without_cap and not cap.kept:
        raise SourceError(
            f"{source} is a trained SPLADE model with a cap in its code (`{cap.expression}`, line {cap.line} of "
            f"{cap.file}); no file says whether its weights were trained with that cap or without it.",
            f"`patcher threshold {source}` measures both and names the remedy; --trained-without-cap removes the "
            f"cap without measuring; `patcher repair {source} --out DIR` keeps it and makes the model load on "
            "transformers 5." + see("trained-with-a-cap"),
        )
    if encoders != ("",):
        raise SourceError(
            f"The Transformer modules of {source} are in separate folders ({', '.join(encoders)}), and a change to "
            "what such a model computes can't be verified.",
            f"`patcher threshold {source} --save DIR` builds a threshold in as a module; or remove the cap of the base "
            "model that it was trained on, and train again from there." + see("inference-free"),
        )


def _without_head(auto_class: str, source: Source) -> SourceError:
    return SourceError(
        f"The weights of {source} are those of {auto_class} and hold no vocabulary head, so there is no cap to remove.",
        f"`patcher repair {source} --out DIR` makes it load on transformers 5. For SPLADE, patch its base model."
        + see("no-vocabulary-head"),
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _diff(path: str, before: bytes, after: bytes) -> str:
    encoding = Code(path, before, {}).encoding if path.endswith(".py") else "utf-8"
    old, new = lines(before.decode(encoding)), lines(after.decode(encoding))
    found = unified_diff(old, new, f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)
