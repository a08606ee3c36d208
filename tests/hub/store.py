"""All repositories and their content: what the routes read and change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .blobs import Blobs
from .errors import HubError, entry_not_found
from .objects import (
    DEFAULT_GITATTRIBUTES,
    Commit,
    Entry,
    FileEntry,
    lfs_entry,
    lfs_patterns,
    matches_lfs,
    new_commit,
    serial_numbers,
)
from .repo import Repo
from .xet import XetFile, XetStore, hash_file

__all__ = ["LfsObject", "Store"]


@dataclass
class LfsObject:
    """Large content. It lies in the LFS folder, in chunk storage, or in both."""

    sha256: str
    size: int
    xet_hash: str | None = None
    on_disk: bool = False
    in_xet: bool = False


class Store:
    """Repositories by key (`models/owner/name`). Take `lock` around a read-then-write."""

    def __init__(self, root: Path) -> None:
        self.blobs = Blobs(root)
        self.xet = XetStore(root / "xet")
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, LfsObject] = {}
        self.serial = serial_numbers()
        self.lock = threading.RLock()

    def create(self, repo: Repo, author: str, files: Mapping[str, Entry] | None = None) -> Repo:
        tree = dict(files or {})
        tree.setdefault(".gitattributes", self.regular(DEFAULT_GITATTRIBUTES))
        commit = new_commit(self.serial, tree, (), "initial commit", "", author)
        repo.commits[commit.oid] = commit
        repo.branches["main"] = commit.oid
        self.repos[repo.key] = repo
        return repo

    def regular(self, content: bytes) -> Entry:
        return Entry(self.blobs.add(content), len(content))

    def large(self, repo: Repo, source: bytes | Path, *, xet: bool) -> Entry:
        """Put a large file into a repository as if it had been uploaded long ago."""
        sha256, size = self.blobs.add_lfs(source)
        known = self.lfs.setdefault(sha256, LfsObject(sha256, size))
        known.on_disk = True
        repo.lfs.add(sha256)
        if xet:
            self.ensure_xet_hash(known)
        else:
            repo.without_xet.add(sha256)
        return lfs_entry(sha256, size)

    def received(self, repo: Repo, sha256: str, size: int, *, xet: bool) -> None:
        """An LFS upload has arrived."""
        known = self.lfs.setdefault(sha256, LfsObject(sha256, size))
        known.on_disk = True
        with self.lock:
            repo.lfs.add(sha256)
        if xet:
            self.ensure_xet_hash(known)
        else:
            repo.without_xet.add(sha256)

    def claim(self, repo: Repo, sha256: str) -> LfsObject | None:
        """The object that a commit names, if this repository has it: known, or just uploaded through Xet."""
        if sha256 in repo.lfs:
            return self.lfs[sha256]
        found = self.xet.find(repo.key, sha256)
        if found is None:
            return None
        lane, file = found
        self.xet.adopt(lane)
        known = self.lfs.setdefault(sha256, LfsObject(sha256, file.size))
        known.xet_hash = file.xet_hash
        known.in_xet = True
        repo.lfs.add(sha256)
        return known

    def ensure_xet_hash(self, known: LfsObject) -> None:
        if known.xet_hash is not None or known.size == 0:
            return
        path = self.blobs.lfs / known.sha256
        if path.stat().st_blocks * 512 < known.size // 2:
            # A file of holes: hashing alone is slow there, and storing it takes no space.
            known.xet_hash = self.xet.put(path, known.sha256)
            known.in_xet = True
        else:
            known.xet_hash = hash_file(path)

    def ensure_in_xet(self, commit: Commit) -> None:
        """Bring every large file of a commit into chunk storage, before a client is sent there."""
        for entry in commit.tree.values():
            known = self.lfs.get(entry.sha256 or "")
            if known is not None and known.xet_hash and not known.in_xet:
                self.xet.put(self.blobs.lfs / known.sha256, known.sha256)
                known.in_xet = True

    def ensure_on_disk(self, sha256: str) -> Path:
        """The path of a large file, rebuilt from its chunks where it only exists there."""
        known = self.lfs[sha256]
        path = self.blobs.lfs / sha256
        if not known.on_disk:
            assert known.xet_hash is not None
            target = self.blobs.incoming / f"{sha256}.{threading.get_ident()}"
            self.xet.fetch(XetFile(known.xet_hash, known.size, sha256), target)
            target.replace(path)
            known.on_disk = True
        return path

    def xet_hash(self, repo: Repo, entry: Entry) -> str | None:
        if entry.sha256 is None or entry.sha256 in repo.without_xet:
            return None
        return self.lfs[entry.sha256].xet_hash

    def is_large(self, tree: Mapping[str, Entry], path: str, size: int, threshold: int) -> bool:
        """Whether an upload goes to large storage: by .gitattributes, or by size."""
        attributes = tree.get(".gitattributes")
        patterns = lfs_patterns(self.blobs.read(attributes.oid)) if attributes else ()
        return matches_lfs(patterns, path) or size > threshold

    def file(self, repo: Repo, revision: str, path: str) -> Entry:
        tree = repo.resolve(revision).tree
        if path not in tree:
            raise entry_not_found()
        return tree[path]

    def read(self, entry: Entry) -> bytes:
        if entry.sha256 is None:
            return self.blobs.read(entry.oid)
        return self.ensure_on_disk(entry.sha256).read_bytes()

    def files(self, repo: Repo, revision: str) -> dict[str, FileEntry]:
        return {
            path: FileEntry(entry.size, entry.oid, entry.sha256, self.xet_hash(repo, entry))
            for path, entry in sorted(repo.resolve(revision).tree.items())
        }

    def get(self, key: str) -> Repo:
        if key not in self.repos:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return self.repos[key]
