"""Where a model comes from: one immutable revision on the Hub, in the local Hub cache, or a folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, parse_hf_uri, snapshot_download
from huggingface_hub.errors import (
    HfUriError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from patcher.errors import SourceError, UsageError, from_hub, is_unreachable

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SKIPPED_FOLDERS = {".git", ".cache", "__pycache__"}


@dataclass(frozen=True)
class Source:
    """What the user named, resolved: a Hub repository at a 40-digit commit, or a folder."""

    repo_id: str | None
    revision: str | None
    path: str | None

    def as_json(self) -> dict[str, Any]:
        return {"repo_id": self.repo_id, "revision": self.revision, "path": self.path}

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.revision}" if self.repo_id else str(self.path)


@dataclass(frozen=True)
class File:
    """One file of a snapshot; `size` in bytes, `sha256` where the listing tells it (LFS and Xet files)."""

    path: str
    size: int | None
    sha256: str | None = None
    xet_hash: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """The files of one revision, and the folder in which those that were fetched lie."""

    source: Source
    files: tuple[File, ...]
    root: Path | None

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files)

    def local(self, path: str) -> Path:
        """Path of a fetched file. Raises SourceError when the file is not there."""
        found = self.root / path if self.root else None
        if found is None or not found.is_file():
            raise SourceError(
                f"{path} of {self.source} is not on this machine.",
                "Connect to the Hub and run the command again; the local Hub cache holds only a part.",
            )
        return found

    def read(self, path: str) -> bytes:
        """Content of a fetched file."""
        return self.local(path).read_bytes()


def resolve(spec: str, revision: str | None = None) -> Snapshot:
    """Resolve a folder, a Hub id, `id@revision`, an `hf://` URI or a Hub URL to one revision and list its files.

    A folder that exists wins over a Hub id of the same name, as in transformers. Without network the local Hub
    cache serves. Raises UsageError for a name that can't be one, SourceError when there is no such source,
    AccessDenied and HubUnreachable for what the Hub says.
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
    """Bring the named files to this machine and return the snapshot that can read them.

    Files that are fetched already are not fetched again. A folder needs nothing.
    """
    repo_id, commit = snapshot.source.repo_id, snapshot.source.revision
    missing = [path for path in paths if snapshot.root is None or not (snapshot.root / path).is_file()]
    if repo_id is None or not missing:
        return snapshot
    try:
        root = snapshot_download(repo_id, revision=commit, allow_patterns=[_literal(path) for path in missing])
    except IncompleteSnapshotError as error:
        return replace(snapshot, root=Path(error.snapshot_path))
    except Exception as error:
        raise from_hub(error, repo_id, commit) from error
    return replace(snapshot, root=Path(root))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _literal(path: str) -> str:
    """A pattern that matches exactly this path (fnmatch has no escape but the bracket)."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _parse(spec: str) -> tuple[str, str | None]:
    if "://" not in spec and (spec.startswith((".", "/", "~")) or (spec.count("/") > 1 and "@" not in spec)):
        raise SourceError(f"There is no folder {spec}.", "Check the path, or give a Hub id like namespace/name.")
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
    root = folder.resolve()
    found = sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not _SKIPPED_FOLDERS.intersection(path.relative_to(root).parts)
    )
    files = tuple(File(path.relative_to(root).as_posix(), path.stat().st_size) for path in found)
    return Snapshot(Source(None, None, str(folder)), files, root)


def _from_hub(repo_id: str, revision: str | None) -> Snapshot:
    api = HfApi()
    try:
        commit = api.resolve_revision(repo_id, revision=revision).resolved
    except Exception as error:
        raise from_hub(error, repo_id, revision) from error
    source = Source(repo_id, commit, None)
    try:
        # Requests without retries: where the network is gone the cache should answer at once.
        siblings = api.model_info(repo_id, revision=commit, files_metadata=True).siblings or []
        large = [entry.rfilename for entry in siblings if entry.lfs]
        infos = api.get_paths_info(repo_id, large, revision=commit) if large else []
    except Exception as error:
        if not is_unreachable(error):
            raise from_hub(error, repo_id, revision) from error
        return _from_cache(source, error)
    xet = {info.path: info.xet_hash for info in infos if isinstance(info, RepoFile)}
    files = [
        File(entry.rfilename, entry.size, entry.lfs.sha256 if entry.lfs else None, xet.get(entry.rfilename))
        for entry in siblings
    ]
    return Snapshot(source, tuple(sorted(files, key=lambda file: file.path)), None)


def _from_cache(source: Source, reason: Exception) -> Snapshot:
    """The same revision out of the local Hub cache, whose folder may hold only a part of it."""
    try:
        root = Path(snapshot_download(str(source.repo_id), revision=source.revision, local_files_only=True))
    except IncompleteSnapshotError as error:
        root = Path(error.snapshot_path)
    except LocalEntryNotFoundError:
        raise from_hub(reason, str(source.repo_id), source.revision) from reason
    return replace(_from_folder(root), source=source)


def weights(snapshot: Snapshot) -> tuple[str, ...]:
    """The safetensors files of the snapshot and their index. Raises SourceError when there are none."""
    found = tuple(path for path in snapshot.paths if path.endswith((".safetensors", ".safetensors.index.json")))
    if not any(path.endswith(".safetensors") for path in found):
        raise SourceError(
            f"{snapshot.source} has no safetensors weights.",
            "A repository with pytorch_model.bin is converted: `patcher patch SOURCE --out DIR`, then give DIR.",
        )
    return found


__all__ = ["File", "Snapshot", "Source", "fetch", "resolve", "sha256_of", "weights"]
