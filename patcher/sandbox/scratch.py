"""The folder that a child writes into: temporary, and removed however deep it has become."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder in `parent` or in the system's, which is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="patcher-", dir=parent))
    try:
        yield folder
    finally:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder and ignore errors.

    What a child wrote may be nested deeper than Python's stack, its open files or the longest path allow; `rm` has none
    of these limits.
    """
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.name == "posix" and folder.exists():
        subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True, check=False)
