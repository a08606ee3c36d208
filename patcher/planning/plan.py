"""Decides what would change in a snapshot. Writes nothing, runs no model code and needs no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from functools import cached_property
from typing import Any

from patcher.codec import to_json
from patcher.codemods import Code, SoftCap
from patcher.codemods.hunks import lines
from patcher.constants import CARD, CONFIG, SCHEMA_VERSION
from patcher.errors import CodeError, SourceError
from patcher.planning.files import FileTable, dropped_because, file_table, join
from patcher.planning.layout import find_layout
from patcher.planning.rewriting import CodemodResult, Edit, Options, rewrite_code
from patcher.source.snapshot import Snapshot, Source, fetch_texts


@dataclass(frozen=True)
class Plan:
    """What would change: `originals` and `contents` are changed code before and after, `modules` all code before.

    `soft_cap` is None where other codemods were chosen; `kept_cap` is the cap that stays then, if there is one.
    `encoders` are the folders of the masked LMs of a trained SparseEncoder model ("" is the model's own folder); a base
    model has none.
    """

    source: Source
    soft_cap: SoftCap | None
    codemods: tuple[CodemodResult, ...]
    files: FileTable
    diff: str
    options: Options = Options()
    card: bytes = field(default=b"", repr=False)
    modules: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    originals: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    encoders: tuple[str, ...] = ()
    kept_cap: SoftCap | None = None

    @cached_property
    def base_card(self) -> Mapping[str, Any]:
        """What the source's card says of licence, languages and tags."""
        return _base_card(self.card)

    @property
    def executed(self) -> Mapping[str, bytes]:
        """The Python files of the patched folder, any of which loading the model may run."""
        return {**self.modules, **self.contents}

    @property
    def already_patched(self) -> bool:
        """Whether an earlier run removed the cap, or did all that was chosen instead."""
        found = [result.status for result in self.codemods if result.name == "soft_cap"]
        return all(status == "not_needed" for status in found) if found else not self._writes

    @property
    def nothing_to_do(self) -> str | None:
        """Why there is nothing to write, or None."""
        if self._writes and not self.already_patched:
            return None
        reasons = (result.reason for result in self.codemods if result.name == "soft_cap")
        return next(reasons, f"it needs none of {', '.join(self.options.names)}")

    @property
    def _writes(self) -> bool:
        return bool(self.files.changed or self.files.converted or self.files.added)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "source": to_json(self.source),
            "soft_cap": self.soft_cap.as_json() if self.soft_cap else None,
            "kept_cap": self.kept_cap.as_json() if self.kept_cap else None,
            "encoders": list(self.encoders),
            "codemods": [result.as_json() for result in self.codemods],
            "files": self.files.as_json(),
            "diff": self.diff,
        }


def make_plan(snapshot: Snapshot, options: Options = Options()) -> Plan:
    """Decide what would change in the snapshot.

    Fetches config.json, the card and the Python files, nothing else. Raises SourceError when the snapshot is no model
    with its own masked-LM code, and CodeError when the code can't be read or the cap is missing or ambiguous.
    """
    layout = find_layout(snapshot)
    configs = {folder: join(folder, CONFIG) for folder in (layout.encoders if layout else ("",))}
    if any(path not in snapshot.paths for path in configs.values()):
        raise SourceError(f"{snapshot.source} has no config.json.", "Give a model repository or a folder with one.")
    python = [path for path in snapshot.paths if path.endswith(".py")]
    snapshot = fetch_texts(snapshot, [*configs.values(), *python, *([CARD] if CARD in snapshot.paths else [])])
    modules = {path: snapshot.read(path) for path in python}
    for path in configs.values():
        _check_config(snapshot, path)
    read = {folder: snapshot.read(path) for folder, path in configs.items()}
    rewritten, results, soft_cap = rewrite_folders(modules, read, options)
    if layout and soft_cap and any(result.name == "soft_cap" and result.status == "applied" for result in results):
        raise _trained_through(soft_cap, snapshot.source)
    before = {**modules, **{configs[folder]: content for folder, content in read.items()}}
    changed = tuple(path for path in sorted(before) if rewritten.get(path, before[path]) != before[path])
    added = _code_on_top(rewritten, modules, layout.encoders if layout else ())
    return Plan(
        source=snapshot.source,
        soft_cap=soft_cap,
        codemods=results,
        files=file_table(snapshot.paths, changed, layout.folders if layout else ("",), added),
        diff="".join(_diff(path, before[path], rewritten[path]) for path in changed),
        options=options,
        card=snapshot.read(CARD) if CARD in snapshot.paths else b"",
        modules=modules,
        originals={path: before[path] for path in changed},
        contents={
            **{path: rewritten[path] for path in changed},
            **{path: rewritten[origin] for path, origin in added.items()},
        },
        encoders=layout.encoders if layout else (),
        kept_cap=_kept_cap(modules, read) if soft_cap is None else None,
    )


def rewrite_folders(
    modules: Mapping[str, bytes], configs: Mapping[str, bytes], options: Options = Options()
) -> tuple[dict[str, bytes], tuple[CodemodResult, ...], SoftCap | None]:
    """`rewrite_code` for each folder that has a config.json, on the code beside it and on that in the model's folder.

    transformers looks for a sub-folder's code in the model's own folder, and `save_pretrained` leaves it beside the
    configuration: either may be there, or both. Paths are those of the whole model.
    """
    rewritten: dict[str, bytes] = {}
    results: list[CodemodResult] = []
    soft_cap: SoftCap | None = None
    done: set[str] = set()
    for folder, content in configs.items():
        config = json.loads(content)
        places = [place for place in dict.fromkeys((folder, "")) if _brings_code(modules, place, config)]
        for place in places or [folder]:
            if place in done:
                continue
            done.add(place)
            prefix = join(place, "")
            own = {path[len(prefix) :]: code for path, code in modules.items() if path.startswith(prefix)}
            code, found, cap = rewrite_code(own, config, options, config_json=content)
            homes = {path: join(folder if path == CONFIG else place, path) for path in (*own, CONFIG)}
            rewritten |= {homes.get(path, path): new for path, new in code.items()}
            results += [replace(result, file=homes.get(result.file, result.file)) for result in found]
            soft_cap = soft_cap or (cap and replace(cap, file=homes.get(cap.file, cap.file)))
    return rewritten, tuple(results), soft_cap


def _brings_code(modules: Mapping[str, bytes], folder: str, config: Mapping[str, Any]) -> bool:
    """Whether the file that `auto_map` names for the masked LM lies in that folder."""
    auto_map = config.get("auto_map")
    target = auto_map.get("AutoModelForMaskedLM") if isinstance(auto_map, Mapping) else None
    return isinstance(target, str) and join(folder, target.rpartition(".")[0].replace(".", "/") + ".py") in modules


def _code_on_top(
    rewritten: Mapping[str, bytes], modules: Mapping[str, bytes], encoders: tuple[str, ...]
) -> dict[str, str]:
    """Code of a sub-folder that the model's own folder lacks, where transformers looks for it; by path, its origin."""
    added: dict[str, str] = {}
    for folder in encoders:
        prefix = join(folder, "")
        for path in rewritten:
            if folder and path.startswith(prefix) and (name := path[len(prefix) :]) not in modules:
                added.setdefault(name, path)
    return added


def _kept_cap(modules: Mapping[str, bytes], configs: Mapping[str, bytes]) -> SoftCap | None:
    """The cap that other codemods leave in place, None where there is none or it is not understood."""
    try:
        _, results, cap = rewrite_folders(modules, configs, Options(codemods=("soft_cap",)))
    except CodeError:
        return None
    return cap if any(result.status == "applied" for result in results) else None


def _trained_through(cap: SoftCap, source: Source) -> SourceError:
    return SourceError(
        f"{source} is a trained SPLADE model: its weights were trained through the cap "
        f"(`{cap.expression}`, line {cap.line} of {cap.file}), and without it they mean something else.",
        f"`patcher threshold {source}` gives it true zeros; "
        f"`patcher patch {source} --codemod repairs --out DIR` makes it load on transformers 5, cap and all.",
    )


def _check_config(snapshot: Snapshot, path: str) -> None:
    try:
        config = json.loads(snapshot.read(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} of {snapshot.source} is not valid JSON: {error}.", "Mend that file.") from error
    if not isinstance(config, dict):
        raise SourceError(f"{path} of {snapshot.source} is not an object.", "Mend that file.")


def _base_card(card: bytes) -> dict[str, Any]:
    """What the source's card says of licence, languages and tags; nothing where it has none that can be read."""
    from patcher.source.metadata import read_metadata

    data = read_metadata(card.decode("utf-8-sig", "replace"))
    if not data:
        return {}
    kept: dict[str, Any] = {
        key: data[key] for key in ("license", "license_name", "license_link") if isinstance(data.get(key), str)
    }
    # YAML 1.1 reads an unquoted `no`, the code of Norwegian, as False.
    languages = ["no" if item is False else item for item in _listed(data.get("language"))]
    kept["language"] = [item for item in languages if isinstance(item, str)]
    kept["tags"] = [item for item in _listed(data.get("tags")) if isinstance(item, str)]
    return kept


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _diff(path: str, before: bytes, after: bytes) -> str:
    encoding = Code(path, before, {}).encoding if path.endswith(".py") else "utf-8"
    old, new = lines(before.decode(encoding)), lines(after.decode(encoding))
    found = unified_diff(old, new, f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)


__all__ = [
    "CodemodResult",
    "Edit",
    "FileTable",
    "Options",
    "Plan",
    "dropped_because",
    "file_table",
    "make_plan",
    "rewrite_code",
    "rewrite_folders",
]
