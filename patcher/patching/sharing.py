"""Gives a folder the bytes of another file without copying them, where no program can change that file through it.

Programs that save into a folder may write into its files in place, as safetensors did before 0.8: through a hard or a
symbolic link they would change the Hub's cache. A clone of a file (a reflink) has a content of its own. A hard link is
made only if the system denies this user to write into the file; root is denied nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

AUTO, LINK, COPY = "auto", "link", "copy"  # what a user may ask for
REFLINK, HARD_LINK, SYMLINK = "reflink", "hard link", "symlink"  # what became of a file, beside COPY
_FICLONE = 0x40049409  # linux/fs.h


def share(source: Path, target: Path, storage: str = AUTO) -> str | None:
    """Make `target` from `source` without a copy, and return how; None where it has to be copied.

    `link` makes a symbolic link, as the snapshots in the Hub's cache are.
    """
    source = source.resolve()
    if storage == COPY:
        return None
    if storage == LINK:
        _protect(source)
        target.symlink_to(source)
        return SYMLINK
    if _reflink(source, target):
        return REFLINK
    return HARD_LINK if _hard_link(source, target) else None


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        with source.open("rb") as old, target.open("xb") as new:
            fcntl.ioctl(new, _FICLONE, old.fileno())
    except OSError:  # another file system, or one without clones
        target.unlink(missing_ok=True)
        return False
    return True


def _hard_link(source: Path, target: Path) -> bool:
    if sys.platform == "win32" or source.stat().st_dev != target.parent.stat().st_dev:
        return False  # Windows can't delete a file that may not be written to
    mode = source.stat().st_mode
    _protect(source)
    if not os.access(source, os.W_OK):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return True
    if source.stat().st_mode != mode:
        source.chmod(mode)
    return False


def _protect(source: Path) -> None:
    """Take the permission to write from a file of the Hub's cache, as its client does with blobs of several models."""
    from huggingface_hub import constants

    if source.is_relative_to(Path(constants.HF_HUB_CACHE).expanduser().resolve()):
        with contextlib.suppress(OSError):  # somebody else's
            source.chmod(source.stat().st_mode & ~0o222)
