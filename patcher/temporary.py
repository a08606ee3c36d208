"""Temporary folders that a running process claims with a lock, so that those of killed processes can be removed.

The system releases a lock when its process ends, however it ends. Unlike a process id, it means the same in every
container that shares the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def claimed(make: Callable[[], Path]) -> Iterator[Path]:
    """A folder that `make` creates; it is claimed, and removed at the end unless it was renamed.

    `make` is called again if another process took the new folder for an abandoned one and removed it.
    """
    folder, lock = _claim(make)
    try:
        yield folder
    finally:
        remove_tree(folder)
        if lock is not None:
            os.close(lock)


def remove_abandoned(folders: Iterable[Path], *, older_than: float = 0) -> None:
    """Remove those folders of this user, older than some seconds, that no running process claims."""
    if sys.platform == "win32":
        return
    for folder in folders:
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime >= older_than:
                lock = _lock(folder, wait=False)
                if lock is not None:
                    remove_tree(folder)
                    os.close(lock)


def remove_tree(folder: Path) -> None:
    """Remove a folder and ignore errors.

    What a child wrote may be nested deeper than Python's stack, its open files or the longest path allow; `rm` has none
    of these limits.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.name == "posix" and folder.exists():
        subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True, check=False)


def _claim(make: Callable[[], Path]) -> tuple[Path, int | None]:
    while True:
        folder = make()
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(folder, wait=True)
            if lock is None or (folder.exists() and os.path.samestat(os.fstat(lock), folder.stat())):
                return folder, lock
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock of a folder; None if that is taken, or if the system can't lock it."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
