"""What one commit would contain: copies by the Hub, uploads, deletions. Makes no request and writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from huggingface_hub.utils import sha

from patcher.codec import document, json_field, json_text, to_json
from patcher.constants import CARD, EXPORT_RECORD, PAGE, PLOTS, RECORD, REPORT
from patcher.documents import page
from patcher.errors import PublishError
from patcher.hashing import sha256_of
from patcher.patching.record import FileRecord, PatchedModel
from patcher.planning.files import is_loaded, join
from patcher.planning.layout import loaded_folders
from patcher.publish.hub import Entry
from patcher.publish.publishable import GRAPHS, KINDS, LARGE, Publishable
from patcher.publish.target import NOT_PUBLISHED, Target
from patcher.verify.report import Report

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ckpt", ".gguf")
_RECORDS = frozenset({*KINDS, REPORT, *(join(folder, EXPORT_RECORD) for folder in GRAPHS)})


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
        return self.content is not None and entry.blob_id == sha.git_hash(self.read())


def published_file(path: str, content: bytes) -> PublishedFile:
    """A file with this content."""
    return PublishedFile(path, len(content), sha256(content).hexdigest(), content)


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


OPEN, GATED, PRIVATE, UNKNOWN = "open", "gated", "private", "unknown"


@dataclass(frozen=True)
class Origin:
    """The large files of the source by path, or the reason why nothing can be copied from it.

    `access`: who can read the repository behind the model. `head` is the present commit of the source.
    """

    files: Mapping[str, Entry]
    refusal: str | None = None
    access: str = OPEN
    head: str | None = None


def public(model: PatchedModel) -> PatchedModel:
    """The model as it is published: a source folder is named without its path."""
    return replace(model, source=model.source.named)


def recorded_files(model: PatchedModel) -> dict[str, FileRecord]:
    """The files of the record that are published, by path."""
    return {file.path: file for file in model.files if file.path not in NOT_PUBLISHED}


def not_verified(model: PatchedModel, report: Report, record: Path) -> list[str]:
    """The files of which the report verified other bytes than those of the record at that path."""
    expected = {path: file.after for path, file in recorded_files(model).items()}
    expected[RECORD] = sha256_of(record)
    return [path for path, digest in expected.items() if report.files.get(path) != digest]


def published_files(
    item: Publishable, report: Report | None, card: str, name: str | None = None
) -> tuple[PublishedFile, ...]:
    """Every file to publish: those of the record, the card, the record; of a patched model the report and drawings.

    The page is titled `name`, that of the repository, or else as the folder is called.
    """
    files = [
        PublishedFile(file.path, file.size, file.after, local if (local := item.folder / file.path).is_file() else None)
        for file in item.files
        if file.path not in NOT_PUBLISHED
    ]
    drawn = (REPORT, *PLOTS, PAGE) if report is not None else ()
    made = {path: local.read_bytes() for path in (item.record, *drawn) if (local := item.folder / path).is_file()}
    if item.model is not None:
        if item.model.source.path is not None:
            report, changed = _without_path(item.model, report)
            made |= changed
        if report is not None and PAGE in made:
            title = name or item.folder.resolve().name
            made[PAGE] = page.render(public(item.model), report, made, title).encode("utf-8", "replace")
    made = {CARD: card.encode(), **made}
    return (*files, *(published_file(path, text) for path, text in made.items()))


def decide(
    wanted: Collection[PublishedFile],
    target: Target,
    item: Publishable,
    origin: Origin,
    keep: Collection[str],
    *,
    replacing: bool,
) -> tuple[Operation, ...]:
    """The operations that turn what the target lists into what is wanted.

    `keep` are paths to leave unchanged. `replacing` the content of another publisher also removes what would be loaded
    of it, and its records. Raises PublishError where a file is not on this machine and the Hub can't copy it.
    """
    listed, published, made = target.files, target.published, []
    for file in wanted:
        if file.path in keep or file.equals(listed.get(file.path)):
            continue
        found, there = origin.files.get(file.path), file.path in listed
        if found is not None and found.sha256 == file.sha256:
            made.append(Operation("copy", file.path, str(item.source), file.size, there))
        elif file.content is None:
            raise PublishError(
                f"{file.path} is not in {item.folder} and the Hub can't copy it: "
                f"{origin.refusal or 'the source no longer has the same file'}.",
                "Run `patcher patch` again without --code-only, then publish that folder.",
            )
        else:
            made.append(Operation("upload", file.path, "this machine", file.size, there))
    paths = {file.path for file in wanted}
    for path, entry in sorted(listed.items()):
        # A loader could find another publisher's files before ours, in whatever folder.
        obsolete = path in published or (replacing and _is_of_a_model(path))
        if obsolete and path not in paths and path not in keep:
            made.append(Operation("delete", path, "", entry.size, replaces=True))
    return tuple(made)


def find_added(target: Target, item: Publishable, wanted: Collection[PublishedFile]) -> list[str]:
    """The files of the target that change what is loaded, though no publication of this model wrote them."""
    recorded = [file.path for file in item.files]
    known, folders = {*recorded, *(file.path for file in wanted)}, loaded_folders(item.folder, recorded)
    # An export of the earlier publication has a record of its own.
    exports = {path for path in GRAPHS if join(path, EXPORT_RECORD) in {*target.files} - known}
    other = sorted(set(target.files) - known - target.published)
    there = (path for path in other if path.rpartition("/")[0] not in exports)
    return [path for path in there if is_loaded(path, folders) or path.endswith(LARGE)]


def _is_of_a_model(path: str) -> bool:
    folder = path.rpartition("/")[0]
    return path.endswith(_WEIGHTS) or is_loaded(path, {folder}) or path in _RECORDS


def _without_path(model: PatchedModel, report: Report | None) -> tuple[Report | None, dict[str, bytes]]:
    """The report, and the files of record and report, as they are published: without the path of the source folder."""
    shown = public(model)
    written = {RECORD: json_text(to_json(shown)).encode()}
    if report is not None:
        record = {RECORD: sha256(written[RECORD]).hexdigest()} if RECORD in report.files else {}
        report = replace(report, source=shown.source, files={**report.files, **record})
        written[REPORT] = json_text(document(report)).encode()
    return report, written
