"""What one commit would hold: copies by the Hub, additions by us, deletions. Asks nobody and writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from patcher.constants import CARD, PAGE, PLOTS, RECORD, REPORT
from patcher.documents import page
from patcher.errors import PublishError
from patcher.patching.record import PatchedModel
from patcher.publish.hub import Entry
from patcher.verify.report import Report, sealed

# The Hub keeps its own: it is what makes a path an LFS path there.
NOT_PUBLISHED = frozenset({".gitattributes"})
_LOADABLE = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ckpt", ".gguf")


@dataclass(frozen=True)
class Piece:
    """One file as it is to stand on the Hub. `content` is None where only the Hub has it."""

    path: str
    size: int
    sha256: str
    content: bytes | Path | None

    def read(self) -> bytes:
        """The content of a file that is on this machine."""
        return self.content if isinstance(self.content, bytes) else Path(str(self.content)).read_bytes()

    def equals(self, entry: Entry | None) -> bool:
        """Whether the Hub lists this very content; nothing is downloaded for it."""
        if entry is None or entry.size != self.size:
            return False
        if entry.sha256 is not None:
            return entry.sha256 == self.sha256
        return self.content is not None and entry.holds(self.read())


@dataclass(frozen=True)
class Operation:
    """One line of the commit: `copy`, `upload` or `delete`; `origin` is where the `size` bytes come from.

    `replaces`: the target has another file at that path.
    """

    op: str
    path: str
    origin: str
    size: int
    replaces: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "op": self.op,
            "path": self.path,
            "from": self.origin,
            "size": self.size,
            "replaces": self.replaces,
        }


@dataclass(frozen=True)
class Origin:
    """What the source can give: its large files by path, or the reason why nothing can be copied from it."""

    files: Mapping[str, Entry]
    refusal: str | None = None


def public(model: PatchedModel) -> PatchedModel:
    """The model as strangers may see it: of a source folder only the last name, not where it lies."""
    path = model.source.path
    return model if path is None else replace(model, source=replace(model.source, path=PurePath(path).name))


def pieces(model: PatchedModel, report: Report | None, card: str) -> tuple[Piece, ...]:
    """Every file that is to stand on the Hub: those of the record, the card, the record, the report, its drawings."""
    kept = [file for file in model.files if file.path not in NOT_PUBLISHED]
    files = [
        Piece(file.path, file.size, file.after, path if (path := model.folder / file.path).is_file() else None)
        for file in kept
    ]
    record = _record(model)
    made = {CARD: card.encode(), RECORD: record}
    if report is not None:
        made[REPORT] = _report(model, report, record)
        made |= _drawn(model, report, record)
    return (*files, *(Piece(path, len(text), _sha256(text), text) for path, text in made.items()))


def decide(
    wanted: Iterable[Piece],
    listed: Mapping[str, Entry],
    model: PatchedModel,
    origin: Origin,
    keep: frozenset[str] = frozenset(),
    before: frozenset[str] = frozenset(),
    replacing: bool = False,
) -> tuple[Operation, ...]:
    """The operations that turn what the target lists into what is wanted.

    `keep` are paths to leave alone, `before` the paths that an earlier publication wrote.
    `replacing` somebody else's content also removes its weights. Raises PublishError where
    a file is neither on this machine nor can be copied by the Hub.
    """
    wanted = list(wanted)
    made = []
    for piece in wanted:
        if piece.path in keep or piece.equals(listed.get(piece.path)):
            continue
        found, there = origin.files.get(piece.path), piece.path in listed
        if found is not None and found.sha256 == piece.sha256:
            made.append(Operation("copy", piece.path, str(model.source), piece.size, there))
        elif piece.content is None:
            raise PublishError(
                f"{piece.path} is not in {model.folder} and the Hub can't copy it: "
                f"{origin.refusal or 'the source no longer has this very file'}.",
                "Run `patcher patch` again without --code-only, then publish that folder.",
            )
        else:
            made.append(Operation("upload", piece.path, "this machine", piece.size, there))
    paths = {piece.path for piece in wanted}
    for path, entry in sorted(listed.items()):
        # A stranger's weights beside ours would be what a loader finds first.
        if path not in paths and path not in keep and (path in before or (replacing and path.endswith(_LOADABLE))):
            made.append(Operation("delete", path, "", entry.size, True))
    return tuple(made)


def without_copies(operations: Iterable[Operation], wanted: Iterable[Piece], reason: str) -> tuple[Operation, ...]:
    """The same commit with every copy as an upload. Raises PublishError where the bytes are not here."""
    local = {piece.path: piece.content is not None for piece in wanted}
    changed = []
    for operation in operations:
        if operation.op == "copy" and not local[operation.path]:
            raise PublishError(
                f"The Hub would not copy {operation.path} ({reason}), and the folder does not hold it.",
                "Run `patcher patch` again without --code-only, then publish that folder.",
            )
        copied = operation.op == "copy"
        changed.append(replace(operation, op="upload", origin="this machine") if copied else operation)
    return tuple(changed)


def _record(model: PatchedModel) -> bytes:
    if model.source.path is None:
        return (model.folder / RECORD).read_bytes()
    return _json({**model.record, "source": public(model).source.as_json()})


def _report(model: PatchedModel, report: Report, record: bytes) -> bytes:
    if model.source.path is None:
        return (model.folder / REPORT).read_bytes()
    return _json(sealed(_public(model, report, record)))


def _drawn(model: PatchedModel, report: Report, record: bytes) -> dict[str, bytes]:
    """The pictures and the page of the folder; a page that names a folder as its source is written without its path."""
    found = {path: (model.folder / path).read_bytes() for path in PLOTS if (model.folder / path).is_file()}
    if (model.folder / PAGE).is_file():
        found[PAGE] = (model.folder / PAGE).read_bytes()
        if model.source.path is not None:
            name = model.folder.resolve().name
            found[PAGE] = page.render(public(model), _public(model, report, record), found, name).encode()
    return found


def _public(model: PatchedModel, report: Report, record: bytes) -> Report:
    """The report as strangers may see it, about the record as they see it."""
    files = {**report.files, **({RECORD: _sha256(record)} if RECORD in report.files else {})}
    return replace(report, source=public(model).source, files=files)


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
