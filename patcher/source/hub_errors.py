"""What a failed request to the Hub means: one table from the client's errors and HTTP statuses to ours.

The table names the client's error classes instead of importing them: an import brings the whole client with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from patcher.errors import (
    NO_SPACE,
    AccessDenied,
    HubUnreachable,
    OutputError,
    PatcherError,
    PublishError,
    SourceError,
    see,
)

_UNREACHABLE, _SERVER_ERROR, _STATUS, _OTHER = "unreachable", "5xx", "any status", "any error"
THE_HUB = "the Hub"  # as a repo_id: the request was about none
_LIMITED = "The Hub's rate limit was reached."
_TOKEN = "The Hub did not accept the token{to}."
_TOKEN_VARIABLE = "HF_TOKEN is set and overrides `hf auth login`: correct it, or unset it." + see("token")
_LOGIN = "Run `hf auth login` with a valid token."
_UNREADABLE = (HubUnreachable, "The Hub's response for {at} can't be read.", "Try again in a few minutes.")
_ENDLESS = (HubUnreachable, "The Hub's listing for {at} has no end.", "Try again in a few minutes.")
_FAILED, _DEBUG = "The Hub client failed on {at}: {kind}.", "Set HF_DEBUG=1 for the traceback."

# The first row whose key fits, in the order of `_keys`, is the error that the user reads: its class, message and hint.
_Table = Mapping[str | int, tuple[type[PatcherError], str, str]]
_READING: _Table = {
    "GatedRepoError": (
        AccessDenied,
        "{repo_id} is gated and this account has no access.",
        "Request access on its page (https://huggingface.co/{repo_id}), then run `hf auth login`." + see("gated"),
    ),
    "DisabledRepoError": (AccessDenied, "Access to {repo_id} has been disabled.", "Choose another source repository."),
    "RepositoryNotFoundError": (
        SourceError,
        "No model repository {repo_id} on the Hub, or it is private.",
        "Check the spelling; no folder has that name either. A private repository needs `hf auth login`."
        + see("not-found"),
    ),
    "RevisionNotFoundError": (
        SourceError,
        "{repo_id} has no revision {revision!r}.",
        "Use an existing branch, tag or commit: see `hf models info {repo_id}`.",
    ),
    401: (AccessDenied, _TOKEN, _LOGIN),
    403: (AccessDenied, "This account is not allowed to do that on {at}.", "Use a token with access to it."),
    404: (SourceError, "{at} is not on the Hub.", "Check the spelling of the repository and the file."),
    429: (HubUnreachable, _LIMITED, "Wait a few minutes, then run the command again."),
    _STATUS: (HubUnreachable, "The Hub answered {status} for {at}.", "Try again; see https://status.huggingface.co."),
    _UNREACHABLE: (
        HubUnreachable,
        "The Hub can't be reached, and {at} is not in the local Hub cache.",
        "{fetch}",
    ),
    "JSONDecodeError": _UNREADABLE,
    "EndlessListing": _ENDLESS,
    _OTHER: (PatcherError, _FAILED, _DEBUG),
}
_PUBLISHING: _Table = {
    401: (AccessDenied, _TOKEN, _LOGIN),
    403: (AccessDenied, "This account has no write access to {at}.", "Use another token, or add --create-pr."),
    404: (
        PublishError,
        "{at} is not on the Hub, or this token has no access to it.",
        "Check the spelling and the token, then try again.",
    ),
    409: (
        PublishError,
        "The Hub is busy with another change to {at}.",
        "Wait a moment and run the same command again.",
    ),
    412: (
        PublishError,
        "{at} was changed by somebody else meanwhile; nothing was written.",
        "Run the command again to see what is new.",
    ),
    413: (
        PublishError,
        "The Hub refused the commit to {at} as too large.",
        "Leave out --upload-weights, so that the Hub copies the weights.",
    ),
    429: (HubUnreachable, _LIMITED, "Wait a few minutes, then run the same command again."),
    _SERVER_ERROR: (
        HubUnreachable,
        "The Hub repeatedly answered {status} for {at}.",
        "Try later; see https://status.huggingface.co.",
    ),
    _STATUS: (PublishError, "The Hub refused a request for {at} ({status}).", "Set HF_DEBUG=1 to see which one."),
    "OfflineModeIsEnabled": (
        HubUnreachable,
        "Publishing needs the Hub, and HF_HUB_OFFLINE is set.",
        "Unset it and try again.",
    ),
    _UNREACHABLE: (HubUnreachable, "The Hub gave no answer{to}.", "Check the connection and try again."),
    "JSONDecodeError": _UNREADABLE,
    "EndlessListing": _ENDLESS,
    _OTHER: (PublishError, _FAILED, _DEBUG),
}


def from_hub(error: Exception, repo_id: str, revision: str | None = None, path: str | None = None) -> PatcherError:
    """What a failed request to read from the Hub means to the user; `path` is the file that was asked for, if any.

    The text of the original error stays out of the message: it could repeat request headers.
    """
    return _translated(_READING, _reason(error), repo_id, revision, path)


def from_publishing(error: Exception, repo_id: str) -> PatcherError:
    """What a failed request to the target of a publication means to the user, after all tries.

    Of the Hub's own text, only what it says about the content of a commit or a card is repeated.
    """
    if isinstance(error, PatcherError):
        return error
    if isinstance(error, ValueError) and "README.md" in str(error):
        text = " ".join(str(error).split())
        return PublishError(text, "Fix the metadata at the top of the card, then publish again.")
    return _translated(_PUBLISHING, error, repo_id)


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """Raise what `from_publishing` says of an error, in place of it."""
    try:
        yield
    except PatcherError:
        raise
    except Exception as error:
        raise from_publishing(error, repo_id) from error


def _translated(
    table: _Table, error: Exception, repo_id: str, revision: str | None = None, path: str | None = None
) -> PatcherError:
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        where = f" ({error.filename})" if error.filename else ""
        what = f"No space left while files of {repo_id} were downloaded{where}."
        return OutputError(
            what,
            "Free disk space where TMPDIR and HF_HOME point to, then run the same command again." + see("no-space"),
        )
    if isinstance(error, OSError) and error.filename:
        what = f"{error.filename} can't be written: {error.strerror}."
        hint = "HF_HOME names the folder of the Hub's cache: set it to one that can be written."
        return OutputError(what, hint + see("cache-folder"))
    kind, *texts = next(table[key] for key in _keys(error) if key in table)
    values = {
        "repo_id": repo_id,
        "at": (f"{path} of " if path else "") + (f"{repo_id}@{revision}" if revision else repo_id),
        "to": f" for {repo_id}" if repo_id != THE_HUB else "",
        "revision": revision or "main",
        "status": status_of(error),
        "kind": type(error).__name__,
        "fetch": fetch_once(),
    }
    message, hint = (text.format(**values) for text in texts)
    if kind is SourceError and "hf auth login" in hint and _has_variable():
        return kind(message, hint.replace("`hf auth login`", "a token with access in HF_TOKEN"))
    return kind(message, _TOKEN_VARIABLE if "hf auth login" in hint and _has_variable() else hint)


def fetch_once() -> str:
    """What to do about a file that is not cached: what cuts this machine off from the Hub is known here."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "Unset HF_HUB_OFFLINE and connect to the Hub once to fetch it."
    also = " and the address in HF_ENDPOINT" if os.environ.get("HF_ENDPOINT") else ""
    return f"Connect to the Hub once to fetch it: check the network{also}."


def _has_variable() -> bool:
    """Whether the token comes from the environment, which has precedence over that of `hf auth login`."""
    return any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))


def _keys(error: BaseException) -> Iterator[str | int]:
    """The keys of the table that fit an error, the most specific first."""
    yield from (kind.__name__ for kind in type(error).__mro__)
    status = status_of(error)
    if status is not None:
        yield status
        yield _SERVER_ERROR if status >= 500 else _STATUS
        yield _STATUS
    elif type(error).__name__ == "RevisionResolutionError" or any(map(is_unreachable, (error, error.__cause__))):
        yield _UNREACHABLE
    yield _OTHER


def _reason(error: Exception) -> Exception:
    """What the Hub said, where the client wrapped it in an error of its own ("can't be reached, nothing cached")."""
    from huggingface_hub.errors import HfHubHTTPError

    at: BaseException | None = error
    while at is not None:
        if isinstance(at, HfHubHTTPError):
            return at
        at = at.__cause__ or at.__context__
    return error


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, also where the client wrapped it in one of its own."""
    from huggingface_hub.errors import HfHubHTTPError

    while error is not None:
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            return int(error.response.status_code)
        error = error.__cause__
    return None


def no_network(error: BaseException | None) -> bool:
    """Whether no connection could be made: the name or the address of the Hub leads nowhere."""
    while error is not None and type(error).__name__ != "ConnectError":
        error = error.__cause__
    return error is not None


def is_unreachable(error: BaseException | None) -> bool:
    """Whether no usable answer came: no network, a dropped connection, a time-out or a server error."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    library = type(error).__module__.split(".")[0]
    clients = {"httpx", "httpx2", "httpcore", "httpcore2"}
    return isinstance(error, (OfflineModeIsEnabled, ConnectionError, TimeoutError)) or library in clients
