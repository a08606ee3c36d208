"""Where a model comes from: one immutable revision on the Hub, in the local Hub cache, or a folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.constants import RECORD
from patcher.errors import SourceError, UsageError
from patcher.hashing import git_blob_id, sha256_of
from patcher.printable import printable
from patcher.source.hub_errors import from_hub, is_unreachable
from patcher.source.names import MAX_FILES, check_names
from patcher.source.request_limit import install_if_asked

MAX_TEXT = 10_000_000  # bytes of a file that is read completely: code, configuration, card
MAX_TEXTS = 50_000_000  # and of all of them together
_SKIPPED_FOLDERS = {".git", ".cache", "__pycache__"}


class AlteredFile(SourceError):
    """A file in the local cache is not the one that the Hub lists."""


@dataclass(frozen=True)
class Source:
    """A resolved source: a Hub repository at a 40-digit commit, or a folder."""

    repo_id: str | None
    revision: str | None
    path: str | None

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.revision}" if self.repo_id else str(self.path)


@dataclass(frozen=True)
class File:
    """One file of a snapshot; `size` in bytes.

    The listing of the Hub has `sha256` for large files (LFS and Xet) and `blob_id`, that of git, for the others.
    """

    path: str
    size: int | None
    sha256: str | None = None
    blob_id: str | None = None

    def matches(self, content: Path | bytes) -> bool:
        """Whether a content is the listed one; True where the listing has no hash."""
        if self.sha256 is not None:
            return sha256_of(content) == self.sha256
        return self.blob_id is None or git_blob_id(content) == self.blob_id

    @property
    def is_large(self) -> bool:
        """Whether hashing it takes time: weights."""
        return self.sha256 is not None and (self.size or 0) > MAX_TEXT


@dataclass(frozen=True)
class Snapshot:
    """The files of one revision, and the folder of those that were fetched."""

    source: Source
    files: tuple[File, ...]
    root: Path | None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the files."""
        return tuple(file.path for file in self.files)

    def local(self, path: str) -> Path:
        """Path of a fetched file. Raises SourceError where it is missing."""
        found = self.root / path if self.root else None
        if found is None or not found.is_file():
            raise SourceError(
                f"{path} of {self.source} is not on this machine.",
                "Connect to the Hub and run the command again; the local Hub cache has only part of it.",
            )
        return found

    def read(self, path: str) -> bytes:
        """Content of a fetched file. Raises SourceError where it is too large to be code, configuration or a card."""
        with self.local(path).open("rb") as file:
            content = file.read(MAX_TEXT + 1)
        _check_size(self.source, path, len(content))
        return content


def resolve(spec: str, revision: str | None = None) -> Snapshot:
    """Resolve a folder, a Hub id, `id@revision`, an `hf://` URI or a Hub URL to one revision and list its files.

    An existing folder has precedence over a Hub id of the same name, as in transformers. Without a network the local
    Hub cache is used. Raises UsageError for an invalid name, SourceError where there is no such source, AccessDenied
    or HubUnreachable where the Hub refuses or does not answer.
    """
    if spec and Path(spec).is_dir():
        if revision is not None:
            raise UsageError(f"{spec} is a folder and has no revisions.", "Leave out --revision, or give a Hub id.")
        return _from_folder(Path(spec))
    repo_id, named = _parse(spec)
    if revision and named and revision != named:
        raise UsageError(f"Two revisions were given: {named!r} and {revision!r}.", "Give only one of them.")
    return _from_hub(repo_id, revision or named)


def fetch(snapshot: Snapshot, paths: Iterable[str]) -> Snapshot:
    """Download the named files and return the snapshot that can read them.

    Files that were fetched before are not fetched again; a folder needs no download. What is not larger than
    `MAX_TEXT` is compared with the listing; larger files are so by `check_content`, or by who hashes them anyway.
    Raises AlteredFile where the local Hub cache has another content.
    """
    repo_id, commit, paths = snapshot.source.repo_id, snapshot.source.revision, set(paths)
    missing = [path for path in paths if snapshot.root is None or not (snapshot.root / path).is_file()]
    if repo_id is not None and missing:
        try:
            root = _download(snapshot.source, allow_patterns=[literal_pattern(path) for path in missing])
        except Exception as error:
            raise from_hub(error, repo_id, commit) from error
        snapshot = replace(snapshot, root=root)
    check_content(snapshot, (file.path for file in snapshot.files if file.path in paths and not file.is_large))
    return snapshot


def check_content(snapshot: Snapshot, paths: Iterable[str]) -> None:
    """Compare fetched files with the listing of the Hub. Raises AlteredFile where one differs."""
    listed = {file.path: file for file in snapshot.files}
    for path in paths:
        local = snapshot.root / path if snapshot.root else None
        if local is not None and local.is_file() and not listed[path].matches(local):
            raise altered(snapshot, path)


def altered(snapshot: Snapshot, path: str) -> AlteredFile:
    """The error for a fetched file whose content is not the one that the Hub lists."""
    source, cached = snapshot.source, os.path.realpath(snapshot.local(path))
    check = (
        f"; `hf cache verify {source.repo_id} --revision {source.revision}` checks the others" if source.repo_id else ""
    )
    return AlteredFile(
        f"{path} of {source} is not the file that the Hub lists: the copy in the local cache was changed or damaged.",
        f"Delete {cached} and run the command again{check}.",
    )


def _download(source: Source, **options: Any) -> Path:
    """The folder of a snapshot in the local Hub cache, which may have only part of it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    install_if_asked()
    try:
        return Path(snapshot_download(str(source.repo_id), revision=source.revision, **options))
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)


def fetch_texts(snapshot: Snapshot, paths: Iterable[str]) -> Snapshot:
    """The same for files that are read completely; huge ones are refused before the download (SourceError)."""
    wanted = set(paths)
    sizes = {file.path: file.size or 0 for file in snapshot.files if file.path in wanted}
    for path, size in sizes.items():
        _check_size(snapshot.source, path, size)
    if sum(sizes.values()) > MAX_TEXTS:
        raise SourceError(
            f"{snapshot.source} has {sum(sizes.values()):,} bytes of code; models have less than {MAX_TEXTS:,}.",
            "Remove from the folder what is not part of the model.",
        )
    return fetch(snapshot, wanted)


def _check_size(source: Source, path: str, size: int) -> None:
    if size > MAX_TEXT:
        raise SourceError(
            f"{path} of {source} has more than {MAX_TEXT:,} bytes; it was not read.",
            "Code, configuration and cards of models are far smaller: inspect that file.",
        )


def literal_pattern(path: str) -> str:
    """The fnmatch pattern that matches exactly this path; brackets are the only escape that fnmatch has."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _parse(spec: str) -> tuple[str, str | None]:
    if "://" not in spec and (spec.startswith((".", "/", "~")) or (spec.count("/") > 1 and "@" not in spec)):
        raise SourceError(f"There is no folder {spec}.", "Check the path, or give a Hub id like namespace/name.")
    from huggingface_hub import parse_hf_uri
    from huggingface_hub.errors import HfUriError, HFValidationError

    try:
        uri = parse_hf_uri(spec if "://" in spec else f"hf://{spec}", endpoint=os.environ.get("HF_ENDPOINT"))
    except (HfUriError, HFValidationError) as error:
        raise UsageError(
            f"{spec!r} is neither a folder nor a Hub id.",
            "Give a folder, namespace/name, namespace/name@revision or hf://namespace/name.",
        ) from error
    if uri.type != "model" or uri.path_in_repo:
        raise UsageError(f"{spec} is not a model repository.", "Give hf://namespace/name[@revision].")
    return uri.id, uri.revision


def _from_folder(folder: Path) -> Snapshot:
    if printable(str(folder)).encode() != os.fsencode(folder):
        raise SourceError(
            f"The name of the folder {str(folder)!r} has characters that are invisible or not UTF-8.",
            "Rename it: the record and the card of the patched model name it.",
        )
    root = folder.resolve()
    inside = (root, *_stores(root))
    listed = _cached_listing(root) if len(inside) > 1 else {}
    linked = _linked_weights(root)
    files = []
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            lost = not path.is_file() and len(inside) == 1  # the Hub's cache may have only part of a model
            known = path.is_file() and name in linked and sha256_of(target) == linked[name]
            if path.is_dir() or lost or not (known or any(target.is_relative_to(allowed) for allowed in inside)):
                raise SourceError(
                    f"{name!r} in {folder} is a link to {str(target)!r}, which is not a file of that folder.",
                    "Put the file itself there; links could bring private files into a published model.",
                )
        if path.is_file():
            link = Path(os.readlink(path)).name if len(inside) > 1 and path.is_symlink() else ""
            files.append(File(name, path.stat().st_size, **(listed.get(name) or _named_hash(link))))
    return _snapshot(Source(None, None, str(folder)), files, root)


def _snapshot(source: Source, files: list[File], root: Path | None) -> Snapshot:
    check_names((file.path for file in files), source)
    return Snapshot(source, tuple(sorted(files, key=lambda file: file.path)), root)


def _walk(root: Path) -> Iterator[Path]:
    """The files of a folder, except caches; links to folders are yielded and not followed."""
    count = 0
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(parent, name)))]:
            count += 1
            if count > MAX_FILES:
                raise SourceError(f"{root} has more than {MAX_FILES:,} files.", "Give the folder of one model.")
            yield Path(parent, name)


def _stores(root: Path) -> list[Path]:
    """The targets of links of a snapshot in the Hub's cache: the blobs of its repository, and the shared ones.

    A folder that only looks like such a snapshot gains nothing: its own `blobs` would have to contain the files.
    """
    repository = root.parent.parent
    if root.parent.name != "snapshots" or not repository.name.startswith("models--"):
        return []
    return [repository / "blobs", repository.parent / "blobs"]


def _linked_weights(folder: Path) -> dict[str, str]:
    """The SHA-256 of the weights of a patched folder that its record calls links.

    The record may be anybody's, but whoever knows the hash of a private file has that file.
    """
    try:
        files = json.loads((folder / RECORD).read_bytes())["files"]
        return {file["path"]: file["sha256_after"] for file in files if file.get("storage") == "symlink"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _cached_listing(snapshot: Path) -> dict[str, dict[str, str | None]]:
    """The hashes of the files that the Hub listed when the client fetched a snapshot; empty where it kept none."""
    try:
        listing = json.loads((snapshot.parent.parent / "trees" / f"{snapshot.name}.json").read_bytes())
        return {
            path: {"sha256": entry.get("lfs_sha256"), "blob_id": entry["blob_id"]}
            for path, entry in listing["files"].items()
            if listing["format_version"] == 1
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _named_hash(blob: str) -> dict[str, str | None]:
    """The hash by which the client names a file in its cache: that of git, or the SHA-256 of a large file."""
    kind = {40: "blob_id", 64: "sha256"}.get(len(blob) if re.fullmatch("[0-9a-f]+", blob) else 0)
    return {kind: blob} if kind else {}


def _from_hub(repo_id: str, revision: str | None) -> Snapshot:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalEntryNotFoundError

    install_if_asked()
    api = HfApi()
    try:
        commit = api.resolve_revision(repo_id, revision=revision).resolved
    except Exception as error:
        raise from_hub(error, repo_id, revision) from error
    source = Source(repo_id, commit, None)
    try:
        # Requests without retries: without a network the cache should answer at once.
        siblings = api.model_info(repo_id, revision=commit, files_metadata=True).siblings or []
    except Exception as error:
        if not is_unreachable(error):
            raise from_hub(error, repo_id, revision) from error
        try:
            return replace(_from_folder(_download(source, local_files_only=True)), source=source)
        except LocalEntryNotFoundError:
            raise from_hub(error, repo_id, commit) from error
    files = [
        File(entry.rfilename, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id) for entry in siblings
    ]
    return _snapshot(source, files, None)
