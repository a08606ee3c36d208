"""What one commit would contain: copies by the Hub, uploads, deletions. Makes no request and writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from patcher.codec import document, json_field, json_text, to_json
from patcher.constants import CARD, PAGE, PLOTS, RECORD, REPORT
from patcher.documents import page
from patcher.errors import PublishError
from patcher.patching.record import PatchedModel
from patcher.publish.hub import Entry
from patcher.verify.report import Report

# The Hub keeps its own, which decides what paths are LFS paths there.
NOT_PUBLISHED = frozenset({".gitattributes"})
_LOADABLE = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ckpt", ".gguf")


@dataclass(frozen=True)
class PublishedFile:
    """One file as it should be on the Hub; `size` in bytes, `content` None where only the Hub has it."""

    path: str
    size: int
    sha256: str
    content: bytes | Path | None

    def read(self) -> bytes:
        """The content; the file has to be on this machine."""
        return self.content if isinstance(self.content, bytes) else Path(str(self.content)).read_bytes()

    def equals(self, entry: Entry | None) -> bool:
        """Whether the Hub lists the same content; downloads nothing."""
        if entry is None or entry.size != self.size:
            return False
        if entry.sha256 is not None:
            return entry.sha256 == self.sha256
        return self.content is not None and entry.equals(self.read())


@dataclass(frozen=True)
class Operation:
    """One operation of the commit: `copy`, `upload` or `delete`; `origin` is where the `size` bytes come from.

    `replaces`: the target has another file at that path.
    """

    op: str
    path: str
    origin: str = json_field(key="from")
    size: int = json_field()
    replaces: bool = False


@dataclass(frozen=True)
class Origin:
    """The large files of the source by path, or the reason why nothing can be copied from it."""

    files: Mapping[str, Entry]
    refusal: str | None = None


def public(model: PatchedModel) -> PatchedModel:
    """The model as it is published: a source folder is named without its path."""
    path = model.source.path
    return model if path is None else replace(model, source=replace(model.source, path=PurePath(path).name))


def published_files(model: PatchedModel, report: Report | None, card: str) -> tuple[PublishedFile, ...]:
    """Every file to publish: those of the record, the card, the record, the report, its page and plots."""
    kept = [file for file in model.files if file.path not in NOT_PUBLISHED]
    files = [
        PublishedFile(file.path, file.size, file.after, path if (path := model.folder / file.path).is_file() else None)
        for file in kept
    ]
    record = _record(model)
    made = {CARD: card.encode(), RECORD: record}
    if report is not None:
        made[REPORT] = _report(model, report, record)
        made |= _drawn(model, report, record)
    return (*files, *(PublishedFile(path, len(text), _sha256(text), text) for path, text in made.items()))


def decide(
    wanted: Iterable[PublishedFile],
    listed: Mapping[str, Entry],
    model: PatchedModel,
    origin: Origin,
    keep: frozenset[str] = frozenset(),
    before: frozenset[str] = frozenset(),
    *,
    replacing: bool = False,
) -> tuple[Operation, ...]:
    """The operations that turn what the target lists into what is wanted.

    `keep` are paths to leave unchanged, `before` the paths that an earlier publication wrote. `replacing` the content
    of another publisher also removes its weights. Raises PublishError where a file is not on this machine and the Hub
    can't copy it.
    """
    wanted = list(wanted)
    made = []
    for file in wanted:
        if file.path in keep or file.equals(listed.get(file.path)):
            continue
        found, there = origin.files.get(file.path), file.path in listed
        if found is not None and found.sha256 == file.sha256:
            made.append(Operation("copy", file.path, str(model.source), file.size, there))
        elif file.content is None:
            raise PublishError(
                f"{file.path} is not in {model.folder} and the Hub can't copy it: "
                f"{origin.refusal or 'the source no longer has the same file'}.",
                "Run `patcher patch` again without --code-only, then publish that folder.",
            )
        else:
            made.append(Operation("upload", file.path, "this machine", file.size, there))
    paths = {file.path for file in wanted}
    for path, entry in sorted(listed.items()):
        # A loader could find another publisher's weights before ours.
        if path not in paths and path not in keep and (path in before or (replacing and path.endswith(_LOADABLE))):
            made.append(Operation("delete", path, "", entry.size, replaces=True))
    return tuple(made)


def without_copies(
    operations: Iterable[Operation], wanted: Iterable[PublishedFile], reason: str
) -> tuple[Operation, ...]:
    """The same commit with every copy as an upload. Raises PublishError where this machine lacks the bytes."""
    local = {file.path: file.content is not None for file in wanted}
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
    return json_text(to_json(public(model))).encode()


def _report(model: PatchedModel, report: Report, record: bytes) -> bytes:
    if model.source.path is None:
        return (model.folder / REPORT).read_bytes()
    return json_text(document(_public(model, report, record))).encode()


def _drawn(model: PatchedModel, report: Report, record: bytes) -> dict[str, bytes]:
    """The plots and the page of the folder; a page whose source is a folder is written again without its path."""
    found = {path: (model.folder / path).read_bytes() for path in PLOTS if (model.folder / path).is_file()}
    if (model.folder / PAGE).is_file():
        found[PAGE] = (model.folder / PAGE).read_bytes()
        if model.source.path is not None:
            name = model.folder.resolve().name
            found[PAGE] = page.render(public(model), _public(model, report, record), found, name).encode()
    return found


def _public(model: PatchedModel, report: Report, record: bytes) -> Report:
    """The report as it is published, about the record as it is published."""
    files = {**report.files, **({RECORD: _sha256(record)} if RECORD in report.files else {})}
    return replace(report, source=public(model).source, files=files)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
