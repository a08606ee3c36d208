"""One tree of errors: each says what is wrong in one line and what to do in another."""

from __future__ import annotations

import errno

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PatcherError(Exception):
    """What a user reads: `message` says what is wrong, `hint` what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"


class UsageError(PatcherError):
    """The command was given something it can't mean."""

    exit_code = 2


class SourceError(PatcherError):
    """The source is not there, or is not a model of the kind this tool rewrites."""


class HubUnreachable(PatcherError):
    """The Hub gave no answer and the local cache can't stand in for it."""


class AccessDenied(PatcherError):
    """The Hub knows the repository and refuses this user."""


class CodeError(PatcherError):
    """The model's code can't be read, or the place to change is missing or ambiguous."""


class OutputError(PatcherError):
    """The output folder can't be written, or belongs to somebody else."""


class TrustRequired(PatcherError):
    """Verification executes model code and nobody has agreed to that."""


class VerificationError(PatcherError):
    """The verification could not run to its end (a failed check is a Report, not an error)."""


class PublishError(PatcherError):
    """Publishing was refused or did not finish."""


class Interrupted(PatcherError):
    """Somebody pressed Ctrl-C; says what was and what was not done."""

    exit_code = 130


def from_os(error: OSError, where: str) -> OutputError:
    """What a failed write means to the user."""
    if error.errno in NO_SPACE:
        return OutputError(
            f"No room left while writing {where}; nothing was changed there.",
            "Free disk space or choose another folder, then run the same command again.",
        )
    if isinstance(error, PermissionError):
        return OutputError(f"{where} may not be written.", "Choose another folder, or change its permissions.")
    return OutputError(f"{where} could not be written: {error.strerror or error}.", "Choose another folder.")
