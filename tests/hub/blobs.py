"""Content on disk, by its hash: regular blobs and LFS objects, so that a gigabyte never sits in memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from .objects import blob_oid

__all__ = ["Blobs", "Spool"]

BLOCK = 1 << 20
ZEROS = bytes(BLOCK)


class Spool:
    """A file being received. Blocks of zeros become holes, so a sparse file stays sparse."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(dir=folder)
        self.path = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._sha = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self._sha.update(chunk)
        self.size += len(chunk)
        for start in range(0, len(chunk), BLOCK):
            piece = chunk[start : start + BLOCK]
            if piece == ZEROS[: len(piece)]:
                self._file.seek(len(piece), os.SEEK_CUR)
            else:
                self._file.write(piece)

    def finish(self) -> str:
        """Close the file and return its sha256."""
        self._file.truncate(self.size)
        self._file.close()
        return self._sha.hexdigest()

    def close(self) -> None:
        """Drop what has not been kept."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Blobs:
    """Two folders of files named by hash, and a folder for files on their way in."""

    def __init__(self, root: Path) -> None:
        self.regular = root / "blobs"
        self.lfs = root / "lfs"
        self.incoming = root / "incoming"
        for folder in (self.regular, self.lfs, self.incoming):
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, content: bytes) -> str:
        """Store a regular file and return its git name."""
        oid = blob_oid(content)
        path = self.regular / oid
        if not path.exists():
            path.write_bytes(content)
        return oid

    def read(self, oid: str) -> bytes:
        return (self.regular / oid).read_bytes()

    def spool(self) -> Spool:
        return Spool(self.incoming)

    def keep(self, spool: Spool, sha256: str) -> Path:
        """Move a finished file to its name."""
        target = self.lfs / sha256
        os.replace(spool.path, target)
        return target

    def add_lfs(self, source: bytes | Path) -> tuple[str, int]:
        """Store an LFS object and return (sha256, size)."""
        with closing(self.spool()) as spool:
            for chunk in _chunks(source):
                spool.write(chunk)
            sha256 = spool.finish()
            if not (self.lfs / sha256).exists():
                self.keep(spool, sha256)
            return sha256, spool.size


def _chunks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(BLOCK):
            yield chunk
