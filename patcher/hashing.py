"""SHA-256 of files, with a memory of those of large files: unless a file has changed, it is read once for many runs.

The memory is one small file in the cache of the Hub's client. It is keyed by device, inode, size, mtime and ctime; no
program can set the last of these. A file that changed so shortly before it was hashed that another change might have
left the same times is not remembered, as in git's index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

from patcher.constants import TOOL

LARGE = 1 << 20  # bytes from which a file is remembered
MAX_REMEMBERED = 2000  # files, some 300 kB
BLOCK = 1 << 20
_lock = threading.Lock()
T = TypeVar("T")
R = TypeVar("R")


def sha256_of(content: Path | bytes) -> str:
    """SHA-256, in hex, of bytes or of a file, which is read unless it is remembered."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        status = os.fstat(file.fileno())
        return (_load().get(_key(status)) if _is_kept(status) else None) or _read(file)


def sha256_of_all(paths: Collection[Path]) -> list[str]:
    """The SHA-256 of several files, in their order."""
    return two_at_a_time(sha256_of, paths)


def two_at_a_time(function: Callable[[T], R], items: Collection[T]) -> list[R]:
    """The results of a function that reads or hashes, which releases Python's lock, in the order of its arguments."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items) if len(items) > 1 else map(function, items))


def copy_hashed(source: Path, target: Path) -> str:
    """Copy the content of a file to a new one and return its SHA-256: each byte is read once."""
    with source.open("rb") as old, target.open("xb") as new:
        return _read(old, new.write)


def remember(written: Mapping[Path, str]) -> None:
    """Remember files that this process has just written, in a folder that no other one knows of yet."""
    found = {path: status for path in written if _is_kept(status := path.stat())}
    lasting = {path: status for path, status in found.items() if _outlast(status)}
    _save({_key(status): written[path] for path, status in lasting.items() if _key(path.stat()) == _key(status)})


def forget() -> None:
    """Empty the memory: every file is read again."""
    with contextlib.suppress(OSError):
        _memory().unlink()


def git_blob_id(content: Path | bytes) -> str:
    """The id that git gives to a content, in hex: bytes, or a file, which is read in blocks."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read(file: BinaryIO, write: Callable[[bytes], object] = lambda _: None) -> str:
    """The SHA-256 of an open file, which is remembered if that is safe; each block is also given to `write`."""
    before, digest = os.fstat(file.fileno()), hashlib.sha256()
    lasting = _is_kept(before) and _outlast(before)
    while block := file.read(BLOCK):
        digest.update(block)
        write(block)
    if lasting and _key(before) == _key(os.fstat(file.fileno())):
        _save({_key(before): digest.hexdigest()})
    return digest.hexdigest()


def _is_kept(status: os.stat_result) -> bool:
    # On Windows, ctime is the time of creation: a change that sets mtime back would not show.
    return status.st_size >= LARGE and sys.platform != "win32"


def _key(status: os.stat_result) -> str:
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, numbers))


def _outlast(status: os.stat_result) -> bool:
    """Whether a change of a file from now on would show in its times; waits for that if it is a matter of milliseconds.

    Two changes within a tick of the kernel's clock may leave the same times. Only the system sets ctime, so its digits
    show whether the file system's clock is coarser than that; one on another machine may also be fast.
    """
    tick = 50_000_000 if status.st_ctime_ns % 1_000_000 else 2_500_000_000
    wait = max(status.st_mtime_ns, status.st_ctime_ns) + tick - time.time_ns()
    if 0 <= wait <= 50_000_000:
        time.sleep((wait + 1) / 1e9)
    return wait <= 50_000_000


def _memory() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE).expanduser() / TOOL / "hashes.json"


def _load() -> dict[str, str]:
    """What is remembered; nothing where the file is missing, damaged or somebody else's to write."""
    try:
        with _memory().open("rb") as file:
            status = os.fstat(file.fileno())
            found = json.loads(file.read(MAX_REMEMBERED * 400)) if not status.st_mode & 0o022 else {}
        return {str(key): str(value) for key, value in found.items() if re.fullmatch("[0-9a-f]{64}", str(value))}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def _save(hashes: Mapping[str, str]) -> None:
    """Add hashes to the memory, newest last; without one, files are only read more often."""
    path = _memory()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with _lock, contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in _load().items() if key not in hashes} | dict(hashes)
        temporary.write_text(json.dumps(dict(list(kept.items())[-MAX_REMEMBERED:]), indent=0))
        temporary.chmod(0o600)
        os.replace(temporary, path)
