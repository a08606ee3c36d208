"""The record of a patched folder, patch.json: where every file came from, and how it is read back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from patcher.codec import Unreadable, json_field, read_json
from patcher.constants import RECORD, SCHEMA_VERSION, TOOL
from patcher.errors import OutputError
from patcher.hashing import sha256_of
from patcher.planning.auto_class import MASKED, MODEL, NAME
from patcher.planning.files import find_weights, left_out
from patcher.planning.layout import MODULES
from patcher.planning.options import CodemodResult, Options
from patcher.soft_cap import SoftCap
from patcher.source.names import is_repository, why_unsafe
from patcher.source.snapshot import Source

SENTENCE, SPARSE = "SentenceTransformer", "SparseEncoder"  # classes of sentence-transformers
_MODEL_TYPE = "config_sentence_transformers.json"


@dataclass(frozen=True)
class Tool:
    """The program that wrote a record."""

    name: str
    version: str = ""


@dataclass(frozen=True)
class FileRecord:
    """One file of the patched folder: its SHA-256 in the source and here, its size here in bytes.

    `origin` is the path of the source's file where it differs: a pickle that was converted, or code of which this is a
    copy. `storage` says how carried weights are stored here: as a "reflink", a "hard link", a "symlink" or a "copy".
    """

    path: str
    action: str  # "changed", "copied", "converted" or "added"
    before: str = json_field(key="sha256_before")
    after: str = json_field(key="sha256_after")
    size: int = json_field()
    origin: str | None = None
    storage: str | None = None

    @property
    def source_path(self) -> str:
        """The path in the source of the file that this one was made from."""
        return self.origin or self.path

    @property
    def carried(self) -> str:
        """SHA-256 that the file must have to hold what the source holds: converted weights have one of their own."""
        return self.after if self.action == "converted" else self.before


@dataclass(frozen=True)
class Converted:
    """Weights that were pickled in `origin` and are safetensors in `path`: every tensor equal, byte by byte.

    `tied` are groups of names that shared one memory in the pickle and have equal values here.
    """

    path: str
    origin: str
    tensors: int
    tied: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class LineChange:
    """Lines `start` to `end` of a file (0-based, end excluded) are replaced by `content`."""

    start: int
    end: int
    content: bytes


def line_changes(before: bytes, after: bytes) -> tuple[LineChange, ...]:
    """What turns one file into another, which `apply_changes` does."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return tuple(LineChange(a, b, b"".join(new[c:d])) for kind, a, b, c, d in found if kind != "equal")


def apply_changes(content: bytes, changes: Iterable[LineChange]) -> bytes:
    """The file that the changes make of another one."""
    lines = content.splitlines(keepends=True)
    for change in sorted(changes, key=lambda one: -one.start):
        lines[change.start : change.end] = [change.content]
    return b"".join(lines)


@dataclass(frozen=True, kw_only=True)
class PatchedModel:
    """A patched folder and its record of where every file came from; all but `folder` stands in `patch.json`.

    `source`, `auto_class`, `soft_cap`, `kept_cap`, `encoders`, `codemods` and `diff` are those of the plan. `base_card`
    is what the source's card says of licence, languages and tags, `dropped` what the folder leaves out and why,
    `originals` the changed code as published, `base` the changes that make the base model of a verification of it:
    repaired, with the cap (None in a record of version 0.1.0).
    """

    folder: Path = json_field(omit=True, default=Path())
    schema_version: int = SCHEMA_VERSION
    tool: Tool
    versions: Mapping[str, str] = field(default_factory=dict)
    source: Source
    auto_class: str = MASKED
    soft_cap: SoftCap | None
    kept_cap: SoftCap | None = None
    encoders: tuple[str, ...] = ()
    codemods: tuple[CodemodResult, ...]
    diff: str
    options: Options
    base_card: Mapping[str, Any]
    files: tuple[FileRecord, ...]
    converted: tuple[Converted, ...] = ()
    dropped: tuple[Mapping[str, str], ...] = ()
    originals: Mapping[str, bytes]
    base: Mapping[str, tuple[LineChange, ...]] | None = None

    def file(self, path: str) -> FileRecord | None:
        """The record of one file, or None."""
        return next((file for file in self.files if file.path == path), None)

    @property
    def loaded_by(self) -> str:
        """The class that users load the model with: one of sentence-transformers, or an Auto class."""
        if self.is_trained_splade:
            return SPARSE
        found = _saved_by(self.folder) if self.auto_class == MODEL and self.file(MODULES) else None
        return found if found in (SENTENCE, SPARSE) else self.auto_class

    @property
    def is_trained_splade(self) -> bool:
        """Whether it is a SPLADE model that sentence-transformers saved."""
        return bool(self.encoders) and self.auto_class == MASKED

    @property
    def drops_bos(self) -> bool:
        """Whether the synthetic first row of the logits was made zero."""
        return any(one.name == "drop_bos" and one.status == "applied" for one in self.codemods)

    @property
    def left_out(self) -> Mapping[str, str]:
        """The files of the model that the folder leaves out, each with the reason."""
        return left_out({one["path"]: one["reason"] for one in self.dropped})

    @property
    def made(self) -> str:
        """What was made of the source, in words that follow its name."""
        cap = self.soft_cap
        if cap is None:
            return "repaired for transformers 5"
        return f"with a threshold of {cap.threshold:g} in its code" if cap.kept else "without the logit cap"

    @property
    def what_runs(self) -> str:
        """What a verification of this folder runs, in words."""
        return "the base and the patched model" if self.soft_cap else "the repaired model"

    @property
    def weights(self) -> tuple[FileRecord, ...]:
        """The records of the safetensors files."""
        return tuple(file for file in self.files if file.path.endswith(".safetensors"))

    def weights_of(self, folder: str) -> tuple[FileRecord, ...]:
        """The records of the safetensors files that are loaded from one folder of the model."""
        here = {file.path: file for file in self.files if (self.folder / file.path).is_file()}
        found = find_weights(here, folder, lambda path: (self.folder / path).read_bytes())
        return tuple(here[path] for path in found.files if path in here)

    def source_copy(self, file: FileRecord) -> Path | None:
        """Where the source's own copy of a file would lie on this machine, if anywhere."""
        if self.source.path is not None:
            folder = self.source.folder or Path(self.source.path)  # early records have the whole path
            found = folder / file.source_path
            return found.parent.resolve() / found.name if self.source.folder or folder.is_absolute() else None
        if self.source.repo_id is not None:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(self.source.repo_id, file.source_path, revision=self.source.revision)
            return Path(cached).absolute() if isinstance(cached, str) else None
        return None

    def source_weights(self, file: FileRecord) -> Path:
        """A file with the source's weights: the folder's own if its SHA-256 is that of the source.

        Otherwise the source's copy where this machine has it unchanged, else the folder's all the same. For converted
        weights the source's copy is the pickle that they were made from.
        """
        own = self.folder.resolve() / file.path  # not what a link leads to: a blob of the cache has no suffix
        if sha256_of(own) == file.before:
            return own
        found = self.source_copy(file)
        if found is not None and found.is_file() and sha256_of(found) == file.before:
            return found
        return own

    @property
    def code_only(self) -> bool:
        """Whether the weights were left on the Hub."""
        return bool(self.weights) and not any(os.path.lexists(self.folder / file.path) for file in self.weights)


def _saved_by(folder: Path) -> str:
    """The class of sentence-transformers that saved a folder: any other class silently builds other modules of it."""
    with suppress(OSError, ValueError, AttributeError):
        return str(json.loads((folder / _MODEL_TYPE).read_bytes()).get("model_type", SENTENCE))
    with suppress(OSError):
        return SPARSE if b".sparse_encoder." in (folder / MODULES).read_bytes() else SENTENCE
    return SENTENCE


def load(folder: Path) -> PatchedModel:
    """Read the record of a patched folder. Raises OutputError where there is none or it is not one of ours."""
    try:
        return read_record(folder, (folder / RECORD).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        make = "Make one with `patcher patch SOURCE --out DIR`."
        if folder.is_file():
            raise OutputError(
                f"{folder} is a file, not a patched folder.", f"Pass the folder `{folder.parent}`."
            ) from error
        if not folder.exists():
            raise OutputError(f"There is no folder {folder}.", f"Check the path. {make}") from error
        raise OutputError(f"{folder} is not a patched folder: it has no {RECORD}.", make) from error
    except Unreadable as error:
        raise OutputError(
            f"{folder / RECORD} is not a record that this version of {TOOL} understands.",
            "Make the folder again with `patcher patch`.",
        ) from error


def read_record(folder: Path, content: bytes) -> PatchedModel:
    """The value behind a `patch.json`. Raises Unreadable where it is none, or names files outside of its folder."""
    model = replace(read_json(PatchedModel, content), folder=folder)
    if model.tool.name != TOOL or model.schema_version != SCHEMA_VERSION:
        raise Unreadable("another tool or another schema")
    paths = {path for file in model.files for path in (file.path, file.source_path)}
    paths |= {*model.originals, *(model.base or ())}
    unsafe = [path for path in (*paths, *filter(None, model.encoders)) if why_unsafe(path) is not None]
    if unsafe:
        raise Unreadable(f"{unsafe[0]!r} is not a path in the folder")
    for name in filter(None, (model.source.repo_id, model.source.base_model)):
        if not is_repository(name):
            raise Unreadable(f"{name!r} is not the id of a repository")
    if NAME.fullmatch(model.auto_class) is None:
        raise Unreadable(f"{model.auto_class!r} is not an Auto class")
    return model
