"""Refusals of the Hub as values: status, message and the headers that the client reads."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "HubError",
    "bad_token",
    "entry_not_found",
    "forbidden",
    "gated",
    "repo_not_found",
    "revision_not_found",
]


class HubError(Exception):
    """An answer other than success. `code` becomes X-Error-Code, `extra` joins the JSON body."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        self.plain = plain


def repo_not_found(*, anonymous: bool) -> HubError:
    """The Hub never tells an anonymous caller whether a repository is private or absent."""
    if anonymous:
        headers = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}
        return HubError(401, "Invalid username or password.", headers=headers)
    return HubError(404, "Repository not found", "RepoNotFound")


def bad_token() -> HubError:
    return HubError(401, "Invalid credentials in Authorization header")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(message: str = "Entry not found", *, plain: bool = False) -> HubError:
    return HubError(404, message, "EntryNotFound", plain=plain)


def forbidden(message: str) -> HubError:
    return HubError(403, message)


def gated(repo_id: str, *, anonymous: bool) -> HubError:
    if anonymous:
        message = f"Access to model {repo_id} is restricted. You must have access to it and be authenticated."
        return HubError(401, message, "GatedRepo")
    message = f"Access to model {repo_id} is restricted and you are not in the authorized list."
    return HubError(403, message, "GatedRepo")
