"""What a failed request to the Hub means: one table from the client's errors and statuses to ours.

The client's errors are imported where one is at hand: they bring the whole client with them.
"""

from __future__ import annotations

from collections.abc import Mapping

from patcher.errors import AccessDenied, HubUnreachable, PatcherError, PublishError, SourceError


def from_hub(error: Exception, repo_id: str, revision: str | None = None) -> PatcherError:
    """What a failed Hub request means to the user.

    The text of the original error stays out of the message where it could repeat request headers.
    """
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        RevisionResolutionError,
    )

    at = f"{repo_id}@{revision}" if revision else repo_id
    error = _reason(error)
    if isinstance(error, GatedRepoError):
        return AccessDenied(
            f"{repo_id} is gated and this account has no access.",
            f"Ask for access on its page (https://huggingface.co/{repo_id}), then run `hf auth login`.",
        )
    if isinstance(error, DisabledRepoError):
        return AccessDenied(f"Access to {repo_id} has been disabled.", "Choose another source repository.")
    if isinstance(error, RepositoryNotFoundError):
        return SourceError(
            f"No model repository {repo_id} on the Hub, or it is private.",
            "Check the spelling; for a private repository run `hf auth login` first.",
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceError(
            f"{repo_id} has no revision {revision or 'main'!r}.",
            f"Give a branch, a tag or a commit that `hf models info {repo_id}` knows.",
        )
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return _from_status(error.response.status_code, at)
    if isinstance(error, (OfflineModeIsEnabled, RevisionResolutionError)) or is_unreachable(error):
        return HubUnreachable(
            f"The Hub can't be reached, and {at} is not in the local Hub cache.",
            "Connect once to fetch it (or unset HF_HUB_OFFLINE), or run `make demo`, which needs no network.",
        )
    return PatcherError(
        f"The Hub client failed on {at}: {type(error).__name__}.", "Run again with HF_DEBUG=1 to see where."
    )


def _reason(error: Exception) -> Exception:
    """What the Hub said, where the client wrapped it in an error of its own ("can't be reached, nothing cached")."""
    from huggingface_hub.errors import HfHubHTTPError

    at: BaseException | None = error
    while at is not None:
        if isinstance(at, HfHubHTTPError):
            return at
        at = at.__cause__ or at.__context__
    return error


def _from_status(status: int, at: str) -> PatcherError:
    if status == 401:
        return AccessDenied(f"The Hub did not accept the token for {at}.", "Run `hf auth login` with a valid token.")
    if status == 403:
        return AccessDenied(f"This account may not do that on {at}.", "Use a token with access to it.")
    if status == 404:
        return SourceError(f"{at} is not on the Hub.", "Check the spelling of the repository and the file.")
    if status == 429:
        return HubUnreachable("The Hub limits the rate of requests.", "Wait some minutes and run the command again.")
    return HubUnreachable(f"The Hub answered {status} for {at}.", "Try again; see https://status.huggingface.co.")


def from_publishing(error: Exception, repo_id: str) -> PatcherError:
    """What a failed request to the place of publication means to the user, after all tries.

    Of the Hub's own words only those are repeated that speak of the content of a commit or a card.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, PatcherError):
        return error
    status = status_of(error)
    if isinstance(error, ValueError) and "README.md" in str(error):
        return PublishError(
            " ".join(str(error).split()), "Mend the metadata at the top of the card, then publish again."
        )
    if status is not None and status in _PUBLISHING:
        message, hint = _PUBLISHING[status]
        return (AccessDenied if status in {401, 403} else PublishError)(message.format(repo_id), hint.format(repo_id))
    if status is not None and status >= 500:
        return HubUnreachable(
            f"The Hub answered {status} for {repo_id}, again and again.",
            "Try later; see https://status.huggingface.co.",
        )
    if status is not None:
        return PublishError(f"The Hub refused a request for {repo_id} ({status}).", "HF_DEBUG=1 shows which one.")
    if isinstance(error, OfflineModeIsEnabled):
        return HubUnreachable("Publishing needs the Hub, and HF_HUB_OFFLINE is set.", "Unset it and try again.")
    if is_unreachable(error) or (isinstance(error.__cause__, Exception) and is_unreachable(error.__cause__)):
        return HubUnreachable(f"The Hub gave no answer for {repo_id}.", "Check the connection and try again.")
    return PublishError(f"The Hub client failed on {repo_id}: {type(error).__name__}.", "HF_DEBUG=1 shows where.")


_PUBLISHING: Mapping[int, tuple[str, str]] = {
    401: ("The Hub did not accept the token for {}.", "Run `hf auth login` with a valid token."),
    403: ("This account may not write to {}.", "Use another token, or add --create-pr."),
    404: ("{} is not on the Hub, or this token may not see it.", "Check the spelling and the token, then try again."),
    409: ("The Hub is busy with another change to {}.", "Wait a moment and run the same command again."),
    412: (
        "{} was changed by somebody else meanwhile; nothing was written.",
        "Run the command again to see what is new.",
    ),
    413: ("The Hub refused the commit to {} as too large.", "Leave out --upload-weights, so that the Hub copies them."),
    429: ("The Hub limits the rate of requests.", "Wait some minutes and run the same command again."),
}


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, also where the client wrapped it in one of its own."""
    from huggingface_hub.errors import HfHubHTTPError

    while error is not None:
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            return int(error.response.status_code)
        error = error.__cause__
    return None


def is_unreachable(error: BaseException) -> bool:
    """Whether no usable answer came: no network, a dropped connection, a time-out or a server error."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    name = type(error).__module__.split(".")[0]
    return isinstance(error, (OfflineModeIsEnabled, ConnectionError, TimeoutError)) or name in {
        "httpx",
        "httpx2",
        "httpcore",
        "httpcore2",
    }
