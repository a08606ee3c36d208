"""Reports how much of a download is done, as log records, in place of the progress bars of the client."""

from __future__ import annotations

import io
import logging
from functools import cache
from typing import Any

LEVEL = logging.INFO - 5  # of the records whose `progress` is: name, bytes done, bytes in all, unit
logger = logging.getLogger(__name__)


@cache
def progress_class() -> Any:
    """The class that `snapshot_download` makes its progress bars of; it draws nothing."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bytes(tqdm):  # type: ignore[misc]
        """A bar of tqdm that logs the bytes on disk and leaves out what else the client counts."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._reports = options.get("unit") == "B" and "Downloading" not in str(options.get("desc"))
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False, "leave": False})

        def display(self, *_: Any, **__: Any) -> None:
            if self._reports and self.total:
                progress = ("download", int(self.n), int(self.total), "B")
                logger.log(LEVEL, "%d of %d bytes are there.", self.n, self.total, extra={"progress": progress})

    return Bytes
