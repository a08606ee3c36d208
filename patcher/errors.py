"""The errors of this package: each says in one line what is wrong, and in another what to do.

A failed check is a result and no error: commands end with 1 for it. An error accuses nobody, and leaves the last report
and card as they were.
"""

from __future__ import annotations

import errno
import os

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DOCUMENTATION = "https://splade-patcher.readthedocs.io/"
_FULL = 1 << 24  # bytes that are left


def see(entry: str, page: str = "troubleshooting") -> str:
    """The end of a hint that has more to say than one line: the address of an entry in docs/."""
    return f" See {DOCUMENTATION}{page}/#{entry}"


FREE_TEMPORARY = "Free disk space there or set TMPDIR to another folder, then run the same command again." + see(
    "no-space"
)


class PatcherError(Exception):
    """An error for the user: `message` says what is wrong, `hint` what to do next."""

    exit_code = 3  # could not be done or measured

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"


class UsageError(PatcherError):
    """The command line or an argument is invalid."""

    exit_code = 2


class SourceError(PatcherError):
    """The source does not exist, or is not a model that this tool can rewrite."""


class HubUnreachable(PatcherError):
    """The Hub did not answer, and the local cache does not have what is needed."""


class AccessDenied(PatcherError):
    """The Hub denies this user access to the repository."""


class CodeError(PatcherError):
    """The model's code can't be parsed, or the code to change is missing or ambiguous."""


class OutputError(PatcherError):
    """The output folder can't be written, or this tool did not write what is in it."""


class MissingRequirement(PatcherError):
    """This machine lacks a package or a device that was asked for."""


class Cancelled(PatcherError):
    """Somebody said no at a prompt; there is nothing to hint at."""


class TrustRequired(PatcherError):
    """Verifying executes model code, and that was not confirmed."""


class VerificationError(PatcherError):
    """The verification could not be completed (a failed check is a Report, not an error)."""


class PublishError(PatcherError):
    """Publishing was refused or not completed."""


class Interrupted(PatcherError):
    """The command was interrupted; the message says what was and was not done."""

    exit_code = 130


def from_os(error: OSError, where: str) -> OutputError:
    """Explain to the user why writing to `where` failed."""
    if error.errno == errno.ENOSPC and (full := full_temporary_folder(where)):
        return OutputError(f"No space left in {full}, the folder for temporary files.", FREE_TEMPORARY)
    if error.errno in NO_SPACE:
        return OutputError(
            f"No space left while writing {where}; nothing was changed there.",
            "Free disk space or choose another folder, then run the same command again.",
        )
    if isinstance(error, PermissionError):
        return OutputError(f"No permission to write {where}.", "Choose another folder, or change its permissions.")
    return OutputError(f"{where} could not be written: {error.strerror or error}.", "Choose another folder.")


def full_temporary_folder(where: str) -> str | None:
    """The folder for temporary files if it is full and the disk of `where` is not; a failed write names neither."""
    temporary = os.environ.get("TMPDIR") or "/tmp"
    try:
        disks = [os.statvfs(folder) for folder in (temporary, os.path.dirname(os.path.abspath(where)))]
    except (AttributeError, OSError):  # Windows has no statvfs
        return None
    left, other = (disk.f_bavail * disk.f_frsize for disk in disks)
    return temporary if left < min(_FULL, other) else None
