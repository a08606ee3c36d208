"""What a failed request to the Hub means: each error of the client finds the row that was written for it."""

from __future__ import annotations

import errno
import json

import httpx2
import pytest
from huggingface_hub import errors
from huggingface_hub.errors import HfHubHTTPError

from patcher.errors import AccessDenied, HubUnreachable, OutputError, PatcherError, PublishError, SourceError
from patcher.source.hub_errors import _PUBLISHING, _READING, from_hub, from_publishing


def answered(status: int, kind: type[HfHubHTTPError] = HfHubHTTPError) -> HfHubHTTPError:
    return kind("a secret", response=httpx2.Response(status, request=httpx2.Request("GET", "https://hub")))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (answered(403, errors.GatedRepoError), AccessDenied, "a/b is gated and this account has no access."),
        (answered(404, errors.RepositoryNotFoundError), SourceError, "No model repository a/b on the Hub, or it is"),
        (answered(404, errors.RevisionNotFoundError), SourceError, "a/b has no revision 'v1'."),
        (answered(404, errors.RemoteEntryNotFoundError), SourceError, "a/b@v1 is not on the Hub."),
        (answered(502), HubUnreachable, "The Hub answered 502 for a/b@v1."),
        (errors.OfflineModeIsEnabled(), HubUnreachable, "The Hub can't be reached, and a/b@v1 is not in the local"),
        (errors.RevisionResolutionError("a secret"), HubUnreachable, "The Hub can't be reached"),
        (httpx2.ReadTimeout("a secret"), HubUnreachable, "The Hub can't be reached"),
        (KeyError("a secret"), PatcherError, "The Hub client failed on a/b@v1: KeyError."),
    ],
)
def test_a_failed_read_has_a_meaning(error: Exception, kind: type[PatcherError], message: str) -> None:
    found = from_hub(error, "a/b", "v1")
    assert type(found) is kind and found.message.startswith(message) and "secret" not in str(found)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (answered(403, errors.GatedRepoError), AccessDenied, "This account has no write access to a/b."),
        (answered(412), PublishError, "a/b was changed by somebody else meanwhile; nothing was written."),
        (answered(422), PublishError, "The Hub refused a request for a/b (422)."),
        (answered(502), HubUnreachable, "The Hub repeatedly answered 502 for a/b."),
        (errors.OfflineModeIsEnabled(), HubUnreachable, "Publishing needs the Hub, and HF_HUB_OFFLINE is set."),
        (httpx2.ReadTimeout("a secret"), HubUnreachable, "The Hub gave no answer for a/b."),
        (KeyError("a secret"), PublishError, "The Hub client failed on a/b: KeyError."),
    ],
)
def test_a_failed_publication_has_a_meaning(error: Exception, kind: type[PatcherError], message: str) -> None:
    found = from_publishing(error, "a/b")
    assert type(found) is kind and found.message == message and "secret" not in str(found)


def test_an_error_that_the_client_wrapped_means_what_its_cause_means() -> None:
    wrapped = ValueError("a secret")
    wrapped.__cause__ = answered(401)
    assert from_hub(wrapped, "a/b").message == "The Hub did not accept the token for a/b."
    assert from_publishing(wrapped, "a/b").message == "The Hub did not accept the token for a/b."


def test_each_class_in_the_table_is_one_of_the_client() -> None:
    names = {key for key in (*_READING, *_PUBLISHING) if isinstance(key, str) and key.endswith(("Error", "Enabled"))}
    found = {name: getattr(errors, name, None) or getattr(json, name) for name in names}  # the client decodes by json
    assert names and all(issubclass(kind, Exception) for kind in found.values())


def test_a_cache_that_can_not_be_written_is_named_with_its_variable() -> None:
    found = from_hub(PermissionError(errno.EACCES, "Permission denied", "/home/hub/blobs"), "a/b", "v1", "config.json")
    assert type(found) is OutputError and found.message == "/home/hub/blobs can't be written: Permission denied."
    assert "HF_HOME" in found.hint
