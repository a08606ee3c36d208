"""The record of a patched folder: where every file came from, and how it is read back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.codec import from_json
from patcher.codemods import SoftCap
from patcher.constants import RECORD, SCHEMA_VERSION, TOOL
from patcher.errors import OutputError
from patcher.planning.rewriting import Options
from patcher.source.names import is_repository, why_unsafe
from patcher.source.snapshot import Source, sha256_of

_RECORDED = {"source", "soft_cap", "kept_cap", "encoders", "codemods", "diff"}  # what patch.json repeats of the plan


@dataclass(frozen=True)
class FileRecord:
    """One file of the patched folder: its SHA-256 in the source and here, its size here in bytes.

    `origin` is the path of the source's file where that is another one: a pickle that was converted, or code of which
    this is one more copy.
    """

    path: str
    action: str  # "changed", "copied", "converted" or "added"
    before: str
    after: str
    size: int
    origin: str | None = None

    @property
    def source_path(self) -> str:
        """Where the source has what this file was made of."""
        return self.origin or self.path

    @property
    def carried(self) -> str:
        """SHA-256 that the file must have to hold what the source holds: converted weights have one of their own."""
        return self.after if self.action == "converted" else self.before

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "action": self.action,
            "sha256_before": self.before,
            "sha256_after": self.after,
            "size": self.size,
            "origin": self.origin,
        }


@dataclass(frozen=True)
class Converted:
    """Weights that were pickled in `origin` and are safetensors in `path`: every tensor equal, byte by byte.

    `tied` are groups of names that shared one memory in the pickle and have equal values here.
    """

    path: str
    origin: str
    tensors: int
    tied: tuple[tuple[str, ...], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "origin": self.origin,
            "tensors": self.tensors,
            "tied": [list(names) for names in self.tied],
        }


@dataclass(frozen=True)
class PatchedModel:
    """A patched folder and its record of where every file came from (`patch.json`).

    `soft_cap`, `kept_cap`, `encoders` and `base` are those of the plan; `base` is None in a record of version 0.1.0.
    """

    folder: Path
    source: Source
    options: Options
    soft_cap: SoftCap | None
    files: tuple[FileRecord, ...]
    originals: Mapping[str, bytes]
    diff: str
    record: Mapping[str, Any]
    encoders: tuple[str, ...] = ()
    converted: tuple[Converted, ...] = ()
    kept_cap: SoftCap | None = None
    base: Mapping[str, bytes] | None = None

    def file(self, path: str) -> FileRecord | None:
        """The record of one file, or None."""
        return next((file for file in self.files if file.path == path), None)

    @property
    def what_runs(self) -> str:
        """What a verification of this folder runs, for people."""
        return "the base and the patched model" if self.soft_cap else "the repaired model"

    @property
    def weights(self) -> tuple[FileRecord, ...]:
        """The records of the safetensors files."""
        return tuple(file for file in self.files if file.path.endswith(".safetensors"))

    def weights_of(self, folder: str) -> tuple[FileRecord, ...]:
        """The records of the safetensors files that lie in one folder of the model."""
        return tuple(file for file in self.weights if file.path.rpartition("/")[0] == folder)

    def source_weights(self, file: FileRecord) -> Path:
        """The source's own copy of a weight file where this machine has it unchanged, else the folder's.

        Of converted weights the source's copy is the pickle that they were made of.
        """
        found: Path | None = None
        if self.source.path is not None:
            found = Path(self.source.path) / file.source_path
        elif self.source.repo_id is not None:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(self.source.repo_id, file.source_path, revision=self.source.revision)
            found = Path(cached) if isinstance(cached, str) else None
        if found is not None and found.is_file() and sha256_of(found) == file.before:
            return found.absolute()
        return (self.folder / file.path).resolve()

    @property
    def code_only(self) -> bool:
        """Whether the weights were left on the Hub."""
        return any(not (self.folder / file.path).is_file() for file in self.weights)


def load(folder: Path) -> PatchedModel:
    """Read the record of a patched folder. Raises OutputError where there is none or it is not one of ours."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        return from_record(folder, record)
    except FileNotFoundError as error:
        raise OutputError(
            f"{folder} is not a patched folder: it has no {RECORD}.", "Make one with `patcher patch SOURCE --out DIR`."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{folder / RECORD} is not a record that this version of {TOOL} understands.",
            "Make the folder again with `patcher patch`.",
        ) from error


def from_record(folder: Path, record: Mapping[str, Any]) -> PatchedModel:
    """The value behind a `patch.json`. Raises KeyError, TypeError or ValueError where it is none."""
    if record["tool"]["name"] != TOOL or record["schema_version"] != SCHEMA_VERSION:
        raise ValueError("another tool or another schema")
    for key, kind in (("diff", str), ("codemods", list), ("base_card", dict), ("originals", dict)):
        if not isinstance(record[key], kind):
            raise TypeError(key)
    named = [path for file in record["files"] for path in (file["path"], file.get("origin")) if path is not None]
    if any(why_unsafe(path) is not None for path in (*named, *record["originals"], *(record.get("base") or ()))):
        raise ValueError("a path that leads out of the folder")
    if any(why_unsafe(folder) is not None for folder in record.get("encoders", ()) if folder):
        raise ValueError("a folder that lies elsewhere")
    repo_id = record["source"]["repo_id"]
    if repo_id is not None and not is_repository(repo_id):
        raise ValueError("a source that is no repository")
    return PatchedModel(
        folder=folder,
        source=from_json(Source, record["source"]),
        options=from_json(Options, record["options"]),
        soft_cap=_cap(record["soft_cap"]),
        kept_cap=_cap(record.get("kept_cap")),
        base=from_json(dict[str, bytes], record["base"]) if "base" in record else None,
        files=tuple(
            FileRecord(f["path"], f["action"], f["sha256_before"], f["sha256_after"], f["size"], f.get("origin"))
            for f in record["files"]
        ),
        originals={path: base64.b64decode(text) for path, text in record["originals"].items()},
        diff=record["diff"],
        record=record,
        encoders=tuple(record.get("encoders", ())),
        converted=tuple(
            Converted(w["path"], w["origin"], w["tensors"], tuple(tuple(names) for names in w["tied"]))
            for w in record.get("converted", ())
        ),
    )


def _cap(data: Mapping[str, Any] | None) -> SoftCap | None:
    return None if data is None else from_json(SoftCap, data)
