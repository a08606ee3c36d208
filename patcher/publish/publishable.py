"""What a folder offers to be published, whatever command made it: a record with the hashes of its files, and a card."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from patcher.codec import Unreadable, from_json
from patcher.constants import CARD, EXPORT_RECORD, RECORD, THRESHOLD_RECORD, TRAINING_RECORD
from patcher.errors import OutputError, PublishError, see
from patcher.hashing import sha256_of
from patcher.patching.record import FileRecord, PatchedModel, read_record
from patcher.planning.files import fingerprint, join
from patcher.source.names import is_repository, why_unsafe
from patcher.source.snapshot import MAX_TEXT, Source, resolve


@dataclass(frozen=True)
class Kind:
    """A kind of folder: the keys under which its record names its source and its verdict; what it is, in words."""

    source: tuple[str, ...]
    passed: tuple[str, ...]
    made: str
    again: str


# By the name of the record. The first that a folder has counts: it may have kept those of the model it was made from.
KINDS: Mapping[str, Kind] = {
    RECORD: Kind(("source",), (), "patched", "`patcher patch`"),
    EXPORT_RECORD: Kind(("source",), ("passed",), "as a graph", "`patcher export`"),
    THRESHOLD_RECORD: Kind(
        ("report", "source"), ("report", "passed"), "with a threshold", "`patcher threshold --save`"
    ),
    TRAINING_RECORD: Kind(("base",), (), "fine-tuned", "the training script"),
}
LARGE = (".safetensors", ".onnx")
GRAPHS = ("onnx", "openvino")  # the folders of a model in which exports are
MADE = "made"  # the action of a file of which the source's own is not known


@dataclass(frozen=True, kw_only=True)
class Publishable:
    """A folder that can be published.

    `record` is the name of its record, `version` that of the tool that wrote it, `source` the model it was made from,
    `origin` the repository behind that, also behind a folder, whose terms hold. `passed` is the record's own verdict.
    `fingerprint` tells which model an export was made of. `exports` are the folders in it that hold one, by path.
    """

    folder: Path
    record: str
    version: str
    source: Source
    origin: str | None
    files: tuple[FileRecord, ...]
    made: str
    again: str
    passed: bool = True
    model: PatchedModel | None = None
    fingerprint: str | None = None
    exports: Mapping[str, Publishable] = field(default_factory=dict)

    @property
    def base_card(self) -> Mapping[str, Any]:
        """What the card of the source says of licence, languages and tags, where the record has it."""
        return self.model.base_card if self.model else {}

    @property
    def originals(self) -> Mapping[str, bytes]:
        """The changed code as the source has it."""
        return self.model.originals if self.model else {}

    def file(self, path: str) -> FileRecord | None:
        """The record of one file, or None."""
        return next((file for file in self.files if file.path == path), None)


def find_record(paths: Collection[str]) -> str | None:
    """The record that tells what kind of folder has these paths; None where there is none."""
    return next((name for name in KINDS if name in paths), None)


def load(folder: Path) -> Publishable:
    """Read a folder that a command of this tool made, with the exports in its sub-folders.

    Raises OutputError where it has no record that can be read, PublishError for an export of another model.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise OutputError(
            f"{folder} {what}.", "Check the path; it has to be a folder that a command of this tool wrote."
        )
    name = find_record([path.name for path in folder.iterdir()])
    if name is None:
        raise OutputError(
            f"{folder} can't be published: it has none of {', '.join(KINDS)}.",
            "Pass a folder that `patcher patch`, `repair`, `threshold --save`, `export` or the training script wrote."
            + see("not-a-folder-of-this-tool"),
        )
    try:
        found = read(folder, name)
        exports = {
            path: read(folder / path, EXPORT_RECORD) for path in GRAPHS if (folder / path / EXPORT_RECORD).is_file()
        }
    except (Unreadable, OSError) as error:
        raise OutputError(
            f"{folder / name} is not a record that this version of splade-patcher understands.",
            f"Make the folder again with {KINDS[name].again}.",
        ) from error
    for path, export in exports.items():
        if export.fingerprint != fingerprint(resolve(str(folder)), {file.path: file.after for file in found.files}):
            raise PublishError(
                f"{folder / path} is an export of another model, or of this one before it was changed.",
                f"Remove it, or export again: `patcher export {folder} --out {folder / path}`.",
            )
    inside = [replace(file, path=join(path, file.path)) for path, one in exports.items() for file in one.files]
    records = [_file(folder, join(path, EXPORT_RECORD)) for path in exports]
    return replace(found, exports=exports, files=(*found.files, *inside, *records))


def read(folder: Path, name: str) -> Publishable:
    """The value behind a record in a folder. Raises Unreadable where it is none, or names files outside of it."""
    content = (folder / name).read_bytes()
    if name == RECORD:
        return patched(read_record(folder, content))
    kind = KINDS[name]
    try:
        data = json.loads(content)
        source = from_json(Source, _under(data, kind.source))
        hashes = from_json(Mapping[str, str], data["files"])  # type: ignore[type-abstract]
        passed = all(_under(data, keys) is True for keys in [kind.passed] if keys)
        version = str((data.get("tool") or {}).get("version") or data["versions"].get("splade-patcher", ""))
        before = data.get("base", {}).get("patched_from") or {}
        origin = source.origin or before.get("repo_id") or before.get("base_model")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    if any(why_unsafe(path) is not None for path in hashes) or (origin is not None and not is_repository(str(origin))):
        raise Unreadable("it names a file outside of its folder, or no repository")
    # The card may be edited by anyone.
    files = tuple(_file(folder, path, digest) for path, digest in sorted(hashes.items()) if path != CARD)
    return Publishable(
        folder=folder,
        record=name,
        version=version,
        source=source,
        origin=origin,
        files=files,
        made=kind.made,
        again=kind.again,
        passed=passed,
        fingerprint=data.get("fingerprint"),
    )


def patched(model: PatchedModel) -> Publishable:
    """A patched or repaired model as something to publish."""
    return Publishable(
        folder=model.folder,
        record=RECORD,
        version=model.tool.version,
        source=model.source,
        origin=model.source.origin,
        files=model.files,
        made=model.made,
        again="`patcher patch`",
        model=model,
    )


def _file(folder: Path, path: str, digest: str | None = None) -> FileRecord:
    local = folder / path
    size = local.stat().st_size if local.is_file() else 0
    digest = digest or sha256_of(local)
    return FileRecord(path, MADE, digest, digest, size)


def _under(data: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        data = data[key]
    return data


def is_large(file: FileRecord) -> bool:
    """Whether a file is hashed only where it is uploaded: weights and graphs."""
    return file.size > MAX_TEXT or file.path.endswith(LARGE)
