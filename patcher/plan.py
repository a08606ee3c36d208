"""Decides what would change in a snapshot. Writes nothing, runs no model code and needs no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from typing import Any

from huggingface_hub import ModelCard
from yaml import YAMLError

from patcher.codemods import Code, SoftCap
from patcher.codemods.proof import lines
from patcher.errors import SourceError
from patcher.rewriting import CodemodResult, Options, rewrite_code
from patcher.snapshot import Snapshot, Source, fetch

SCHEMA_VERSION = 1
CARD, CONFIG, RECORD, REPORT = "README.md", "config.json", "patch.json", "report.json"

# First match wins. What is left of a pattern's last slash is a folder.
_DROPPED = (
    (r".*\.onnx(_data|\.data)?|(.*/)?onnx/.*", "exported graph: it still contains the sigmoid"),
    (r"(.*/)?openvino/.*|.*openvino.*\.(xml|bin)", "exported graph: it still contains the sigmoid"),
    (r"(.*/)?coreml/.*|.*\.(tflite|gguf|mlmodel|mlpackage|pb)", "exported graph: it still contains the sigmoid"),
    (r".*\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?", "pickled weights: loading them can execute code"),
    (r".*\.(h5|msgpack|ot)(\.index\.json)?", "weights of another framework: safetensors are carried over"),
    (re.escape(CARD), "replaced by the generated model card"),
    (rf"{re.escape(RECORD)}|{re.escape(REPORT)}", "replaced by the record of this patch"),
)


@dataclass(frozen=True)
class FileTable:
    """Every file of the source: rewritten, carried over byte for byte, or left out with a reason."""

    changed: tuple[str, ...]
    copied: tuple[str, ...]
    dropped: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "changed": list(self.changed),
            "copied": list(self.copied),
            "dropped": [{"path": path, "reason": reason} for path, reason in self.dropped.items()],
        }


@dataclass(frozen=True)
class Plan:
    """What would change: `originals` and `contents` are changed code before and after, `modules` all code before."""

    source: Source
    soft_cap: SoftCap | None
    codemods: tuple[CodemodResult, ...]
    files: FileTable
    diff: str
    options: Options = Options()
    base_card: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    originals: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def executed(self) -> Mapping[str, bytes]:
        """The Python files of the patched folder, any of which loading the model may run."""
        return {**self.modules, **self.contents}

    @property
    def already_patched(self) -> bool:
        """Whether an earlier run removed the cap."""
        found = [result.status for result in self.codemods if result.name == "soft_cap"]
        return bool(found) and all(status == "not_needed" for status in found)

    @property
    def nothing_to_do(self) -> str | None:
        """Why there is nothing to write, or None."""
        if self.files.changed and not self.already_patched:
            return None
        return next((result.reason for result in self.codemods if result.name == "soft_cap"), None)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source.as_json(),
            "soft_cap": self.soft_cap.as_json() if self.soft_cap else None,
            "codemods": [result.as_json() for result in self.codemods],
            "files": self.files.as_json(),
            "diff": self.diff,
        }


def make_plan(snapshot: Snapshot, options: Options = Options()) -> Plan:
    """Decide what would change in the snapshot.

    Fetches config.json, the card and the Python files, nothing else. Raises SourceError when the snapshot is no model
    with its own masked-LM code, and CodeError when the code can't be read or the cap is missing or ambiguous.
    """
    if CONFIG not in snapshot.paths:
        raise SourceError(f"{snapshot.source} has no config.json.", "Give a model repository or a folder with one.")
    python = [path for path in snapshot.paths if path.endswith(".py")]
    snapshot = fetch(snapshot, [CONFIG, *python, *([CARD] if CARD in snapshot.paths else [])])
    config = _config(snapshot)
    modules = {path: snapshot.read(path) for path in python}
    config_json = snapshot.read(CONFIG)
    rewritten, results, soft_cap = rewrite_code(modules, config, options, config_json=config_json)
    read = {**modules, CONFIG: config_json}
    changed = tuple(path for path in sorted(rewritten) if rewritten[path] != read[path])
    return Plan(
        source=snapshot.source,
        soft_cap=soft_cap,
        codemods=results,
        files=file_table(snapshot.paths, changed),
        diff="".join(_diff(path, read[path], rewritten[path]) for path in changed),
        options=options,
        base_card=_base_card(snapshot),
        modules=modules,
        originals={path: read[path] for path in changed},
        contents={path: rewritten[path] for path in changed},
    )


def _config(snapshot: Snapshot) -> dict[str, Any]:
    try:
        config = json.loads(snapshot.read("config.json").decode("utf-8"))
    except ValueError as error:
        raise SourceError(f"config.json of {snapshot.source} is not valid JSON: {error}.", "Mend that file.") from error
    if not isinstance(config, dict):
        raise SourceError(f"config.json of {snapshot.source} is not an object.", "Mend that file.")
    return config


def _base_card(snapshot: Snapshot) -> dict[str, Any]:
    """What the source's card says of licence, languages and tags; nothing where it has none that can be read."""
    if CARD not in snapshot.paths:
        return {}
    try:
        card = ModelCard(snapshot.read(CARD).decode("utf-8-sig", "replace"), ignore_metadata_errors=True)
        data: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, YAMLError, SourceError):
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


def file_table(paths: Iterable[str], changed: tuple[str, ...]) -> FileTable:
    """What becomes of each file: `changed` is rewritten, graphs and pickles are left out, the rest is carried over."""
    dropped = {path: reason for path in paths if (reason := dropped_because(path))}
    copied = tuple(path for path in paths if path not in dropped and path not in changed)
    return FileTable(changed, copied, dropped)


def dropped_because(path: str) -> str | None:
    return next((reason for pattern, reason in _DROPPED if re.fullmatch(pattern, path, re.IGNORECASE)), None)


def _diff(path: str, before: bytes, after: bytes) -> str:
    encoding = Code(path, before, {}).encoding if path.endswith(".py") else "utf-8"
    old, new = lines(before.decode(encoding)), lines(after.decode(encoding))
    found = unified_diff(old, new, f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)
