"""Chunk storage without a storage service: hf_xet itself reads and writes plain folders.

The client may be told to use `local://FOLDER` as its storage. It then keeps an index there that only one
process can open at a time. So every token gets a folder of its own (a lane): hard links to what the Hub
holds, plus a copy of the index. What a client adds in its lane is taken over when a commit names it.
"""

from __future__ import annotations

import os
import shutil
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hf_xet

__all__ = ["Lane", "XetFile", "XetStore", "read_shard"]

INDEX = "global_dedup_lookup.redb"
HEADER_SIZE = RECORD_SIZE = 48
END_OF_FILES = b"\xff" * 32
WITH_VERIFICATION = 1 << 31
WITH_METADATA = 1 << 30


@dataclass(frozen=True)
class XetFile:
    xet_hash: str
    size: int
    sha256: str | None


@dataclass
class Lane:
    """One client's view of the storage: `original` is what it held when made, `base` what the Hub has."""

    path: Path
    repo: str
    writable: bool
    generation: int
    original: frozenset[str] = frozenset()
    base: frozenset[str] = frozenset()
    seen_shards: dict[str, tuple[XetFile, ...]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"local://{self.path}"


class XetStore:
    """The main folder and its lanes. Safe to call from several threads."""

    def __init__(self, root: Path) -> None:
        self._main = root / "main"
        self._lanes_root = root / "lanes"
        self._lanes_root.mkdir(parents=True, exist_ok=True)
        self._lanes: list[Lane] = []
        self._generation = 0
        self._lock = threading.RLock()

    def open_lane(self, repo: str, *, writable: bool) -> Lane:
        with self._lock:
            path = self._lanes_root / str(len(self._lanes))
            _clone(self._main, path)
            held = frozenset(_stored(path))
            lane = Lane(path, repo, writable, self._generation, held, held)
            self._lanes.append(lane)
            return lane

    def find(self, repo: str, sha256: str) -> tuple[Lane, XetFile] | None:
        """The upload that a token for this repository brought, by the sha256 in its shard."""
        with self._lock:
            for lane in reversed(self._lanes):
                if lane.writable and lane.repo == repo:
                    for file in _new_files(lane):
                        if file.sha256 == sha256:
                            return lane, file
        return None

    def adopt(self, lane: Lane) -> None:
        """Take over what a client added in its lane."""
        with self._lock:
            added = set(_stored(lane.path)) - lane.base
            if not added:
                return
            if lane.generation == self._generation:
                _link(lane.path, self._main, added)
                _copy_index(lane.path, self._main)
                self._generation += 1
                lane.generation = self._generation
            else:
                self._merge(lane)
            lane.base = lane.base | added

    def put(self, path: Path, sha256: str) -> str:
        """Store a file and return its xet hash."""
        with self._lock:
            self._generation += 1
            return _push(self._main, path, sha256)

    def fetch(self, file: XetFile, target: Path) -> None:
        with self._lock:
            _pull(self._main, file, target)

    def bytes_added(self) -> int:
        """Bytes that clients wrote: chunks and shards in their lanes, not the index, which never travels."""
        with self._lock:
            return sum(
                (lane.path / name).stat().st_size
                for lane in self._lanes
                for name in _stored(lane.path)
                if name not in lane.original
            )

    def _merge(self, lane: Lane) -> None:
        # Another upload was taken over since this lane was made, so its index can't replace the main one.
        scratch = self._lanes_root / "merging"
        _clone(lane.path, scratch)
        try:
            for file in _new_files(lane):
                copy = scratch / "content"
                _pull(scratch, file, copy)
                _push(self._main, copy, file.sha256)
            self._generation += 1
        finally:
            shutil.rmtree(scratch)


def hash_file(path: Path) -> str:
    """The xet hash of a file, without storing it."""
    return str(hf_xet.hash_files([str(path)])[0].hash)


def read_shard(content: bytes) -> Iterator[XetFile]:
    """The files that a shard describes (layout: xet-core, `mdb_shard`)."""
    at = HEADER_SIZE
    while content[at : at + 32] != END_OF_FILES:
        name = content[at : at + 32]
        flags, count = struct.unpack_from("<II", content, at + 32)
        at += RECORD_SIZE
        size = sum(struct.unpack_from("<I", content, at + i * RECORD_SIZE + 36)[0] for i in range(count))
        at += count * RECORD_SIZE
        if flags & WITH_VERIFICATION:
            at += count * RECORD_SIZE
        sha256 = None
        if flags & WITH_METADATA:
            sha256 = _hex(content[at : at + 32])
            at += RECORD_SIZE
        yield XetFile(_hex(name), size, sha256)


def _hex(name: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", name))


def _stored(folder: Path) -> Iterator[str]:
    for kind in ("xorbs", "shards"):
        home = folder / "xet" / "xorbs" / kind
        if home.is_dir():
            for entry in os.scandir(home):
                if not entry.name.endswith(".tagset"):
                    yield f"xet/xorbs/{kind}/{entry.name}"


def _new_files(lane: Lane) -> Iterator[XetFile]:
    for name in _stored(lane.path):
        if "/shards/" in name and name.endswith(".mdb"):
            if name not in lane.seen_shards:
                lane.seen_shards[name] = tuple(read_shard((lane.path / name).read_bytes()))
            yield from lane.seen_shards[name]


def _link(source: Path, target: Path, names: set[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if not (target / name).exists():
            os.link(source / name, target / name)
        # Small and rewritten in place, so copied and not linked.
        tags = f"{name}.tagset"
        if (source / tags).exists():
            shutil.copyfile(source / tags, target / tags)


def _copy_index(source: Path, target: Path) -> None:
    index = source / "xet" / "xorbs" / INDEX
    if index.exists():
        folder = target / "xet" / "xorbs"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(index, folder / f"{INDEX}.new")
        os.replace(folder / f"{INDEX}.new", folder / INDEX)


def _clone(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    _link(source, target, set(_stored(source)))
    _copy_index(source, target)


def _push(folder: Path, path: Path, sha256: str | None) -> str:
    commit = hf_xet.XetSession().new_upload_commit(endpoint=f"local://{folder}")
    handle = commit.start_upload_file(str(path), sha256=sha256 or hf_xet.COMPUTE_SHA256)
    commit.wait_to_finish()
    return str(handle.result().xet_info.hash)


def _pull(folder: Path, file: XetFile, target: Path) -> None:
    with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{folder}") as group:
        group.start_download_file(hf_xet.XetFileInfo(file.xet_hash, file.size), str(target))
