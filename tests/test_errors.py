"""What each error tells the user, and with which exit code the command ends."""

from __future__ import annotations

import errno
import os

import pytest

from patcher.errors import Interrupted, PatcherError, UsageError, from_os


def test_an_error_is_two_lines_and_has_an_exit_code() -> None:
    assert str(PatcherError("Wrong.", "Do this.")) == "Wrong.\nDo this."
    assert [kind.exit_code for kind in (PatcherError, UsageError, Interrupted)] == [3, 2, 130]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "No space left while writing /out; nothing was changed there."),
        (errno.EDQUOT, "No space left while writing /out; nothing was changed there."),
        (errno.EFBIG, "No space left while writing /out; nothing was changed there."),
        (errno.EACCES, "No permission to write /out."),
        (errno.EROFS, "/out could not be written: Read-only file system."),
    ],
)
def test_a_failed_write_is_explained(code: int, message: str) -> None:
    assert from_os(OSError(code, os.strerror(code)), "/out").message == message
