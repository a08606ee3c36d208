"""What a repository is made of: entries, commits and their git-like names."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase

__all__ = [
    "DEFAULT_GITATTRIBUTES",
    "Commit",
    "Entry",
    "FileEntry",
    "append_lfs_paths",
    "blob_oid",
    "folder_oid",
    "isoformat",
    "lfs_patterns",
    "matches_lfs",
    "new_commit",
    "pointer_bytes",
]

LFS_SUFFIXES = tuple(
    (  # noqa: SIM905
        "7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb "
        "pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst"
    ).split()
)
LFS_ATTRIBUTES = "filter=lfs diff=lfs merge=lfs -text"
DEFAULT_GITATTRIBUTES = "".join(f"*.{suffix} {LFS_ATTRIBUTES}\n" for suffix in LFS_SUFFIXES).encode()


@dataclass(frozen=True)
class Entry:
    """One file in a tree. `oid` is the git name of the stored blob: the content, or the LFS pointer."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def pointer_size(self) -> int:
        return len(pointer_bytes(self.sha256, self.size)) if self.sha256 else 0


@dataclass(frozen=True)
class FileEntry:
    """What a test sees of one file. `sha256` and `xet_hash` are None for a regular file."""

    size: int
    oid: str
    sha256: str | None
    xet_hash: str | None

    @property
    def lfs(self) -> bool:
        return self.sha256 is not None


@dataclass(frozen=True)
class Commit:
    """One commit. `tree` is the complete flat listing, path to entry."""

    oid: str
    title: str
    message: str
    author: str
    date: datetime
    parents: tuple[str, ...]
    tree: Mapping[str, Entry]


def blob_oid(content: bytes) -> str:
    """Git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer_bytes(sha256: str, size: int) -> bytes:
    """The LFS pointer file that git stores in place of the content."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def lfs_entry(sha256: str, size: int) -> Entry:
    return Entry(blob_oid(pointer_bytes(sha256, size)), size, sha256)


def folder_oid(tree: Mapping[str, Entry], folder: str) -> str:
    inside = sorted(f"{path} {entry.oid}" for path, entry in tree.items() if path.startswith(folder + "/"))
    return hashlib.sha1("\n".join(inside).encode()).hexdigest()


def new_commit(
    serial: Iterable[int],
    tree: Mapping[str, Entry],
    parents: tuple[str, ...],
    title: str,
    description: str,
    author: str,
) -> Commit:
    """Name and freeze a commit. The serial number keeps two equal commits in one second apart."""
    date = datetime.now(timezone.utc)
    listing = "\n".join(f"{path} {entry.oid}" for path, entry in sorted(tree.items()))
    number = next(iter(serial))
    seed = f"{parents}\n{listing}\n{title}\n{description}\n{author}\n{date.isoformat()}\n{number}"
    return Commit(hashlib.sha1(seed.encode()).hexdigest(), title, description, author, date, parents, dict(tree))


def isoformat(date: datetime) -> str:
    """The Hub's form of a date: milliseconds and a Z."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.") + f"{date.microsecond // 1000:03d}Z"


def lfs_patterns(gitattributes: bytes) -> tuple[str, ...]:
    lines = (line.split() for line in gitattributes.decode("utf-8", "replace").splitlines())
    return tuple(words[0] for words in lines if len(words) > 1 and "filter=lfs" in words[1:])


def matches_lfs(patterns: Iterable[str], path: str) -> bool:
    """A pattern without a slash is matched against the file name alone, as git does."""
    name = path.rsplit("/", 1)[-1]
    return any(
        fnmatchcase(path, pattern.lstrip("/")) if "/" in pattern else fnmatchcase(name, pattern) for pattern in patterns
    )


def append_lfs_paths(gitattributes: bytes, paths: Iterable[str]) -> bytes:
    """Add a line per LFS path that no pattern covers, as the Hub does by itself on a commit."""
    patterns = lfs_patterns(gitattributes)
    missing = [path for path in paths if not matches_lfs(patterns, path)]
    if not missing:
        return gitattributes
    start = gitattributes if not gitattributes or gitattributes.endswith(b"\n") else gitattributes + b"\n"
    return start + "".join(f"{path.replace(' ', '[[:space:]]')} {LFS_ATTRIBUTES}\n" for path in missing).encode()


def serial_numbers() -> itertools.count[int]:
    return itertools.count(1)
