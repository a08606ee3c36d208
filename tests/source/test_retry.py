"""Which requests are repeated, after how long, and which are not."""

from __future__ import annotations

import json
import time

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RevisionResolutionError

from patcher.source.retry import RetryPolicy, is_transient, read_with_retry, retry_after


def answered(status: int, **headers: str) -> HfHubHTTPError:
    request = httpx2.Request("GET", "https://hub")
    return HfHubHTTPError("a secret", response=httpx2.Response(status, request=request, headers=headers))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_an_answer_that_may_change_is_transient(status: int) -> None:
    assert is_transient(answered(status))


@pytest.mark.parametrize("error", [answered(401), answered(404), answered(412), OfflineModeIsEnabled(), KeyError()])
def test_an_answer_that_stays_and_an_error_of_ours_are_not_transient(error: Exception) -> None:
    assert not is_transient(error)


def test_no_answer_and_one_that_is_no_json_are_transient() -> None:
    assert is_transient(httpx2.ReadTimeout("")) and is_transient(json.JSONDecodeError("", "<html>", 0))


def test_only_an_answer_can_ask_for_a_wait() -> None:
    assert retry_after(answered(429, **{"Retry-After": "7"})) == 7 and retry_after(KeyError()) is None


def test_each_further_try_waits_twice_as_long_until_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def call() -> None:
        raise answered(503)

    with pytest.raises(HfHubHTTPError):
        RetryPolicy(tries=4, first_delay=0.5).call(call)
    assert waits == [0.5, 1.0, 2.0]


def test_where_there_is_no_network_reading_leaves_it_to_the_cache_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def call(error: Exception) -> None:
        raise error

    for error in (httpx2.ConnectError(""), caused(ConnectionError(), httpx2.ConnectError("")), OfflineModeIsEnabled()):
        with pytest.raises(type(error)):
            read_with_retry(lambda error=error: call(error))  # type: ignore[misc]
    assert waits == []
    dropped = caused(RevisionResolutionError(), httpx2.ReadError(""))
    with pytest.raises(RevisionResolutionError):
        read_with_retry(lambda: call(dropped))
    assert waits == [1.0, 2.0, 4.0]
