"""The client of huggingface_hub waits no longer than it is allowed to, and repeats nothing that the caller repeats."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx2
import pytest
from huggingface_hub import get_session, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import http_backoff
from huggingface_hub.utils._http import default_client_factory

from patcher.source import request_limit
from patcher.source.request_limit import REQUEST_LIMIT, one_try, time_limit, wait_asked
from tests.hub import LocalHub


@pytest.fixture
def limited() -> Iterator[None]:
    request_limit.install_request_limit()
    yield
    set_client_factory(default_client_factory)


def answered(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub"), headers=headers)


def test_the_wait_is_read_from_either_header_and_only_in_seconds() -> None:
    assert wait_asked(answered(429, **{"Retry-After": " 7 "})) == 7
    assert wait_asked(answered(429, RateLimit='"api";r=0;t=9', **{"Retry-After": "7"})) == 9
    assert wait_asked(answered(429, **{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})) is None
    assert wait_asked(answered(200)) is None


def test_a_rate_limit_that_is_not_used_up_is_no_reason_to_wait() -> None:
    assert wait_asked(answered(429, RateLimit='"api";r=499;t=290')) is None
    assert wait_asked(answered(503, RateLimit='"api";r=0;t=290')) is None


def test_a_limit_of_a_request_ends_with_its_block() -> None:
    before = REQUEST_LIMIT.seconds
    with time_limit(3), time_limit(1):
        assert REQUEST_LIMIT.seconds == 1
    assert REQUEST_LIMIT.seconds == before


def test_xet_gets_the_limit_and_keeps_what_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HF_XET_CLIENT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", {"HF_XET_CLIENT_READ_TIMEOUT": "9s"})
    monkeypatch.setattr(REQUEST_LIMIT, "install", True)
    monkeypatch.setattr(request_limit, "install_if_asked", lambda: None)
    with time_limit(0.5):
        assert os.environ["HF_XET_CLIENT_READ_TIMEOUT"] == "9s"
        assert os.environ["HF_XET_CLIENT_CONNECT_TIMEOUT"] == "500ms"


@pytest.mark.usefixtures("limited")
def test_the_client_repeats_a_request_unless_the_caller_does(hub: LocalHub) -> None:
    hub.faults.status("GET", "whoami", 503, times=0)
    hub.faults.drop("GET", "/discussions", times=0)
    with pytest.raises(HfHubHTTPError, match="503"):
        http_backoff("GET", f"{hub.endpoint}/api/whoami-v2", max_retries=2, base_wait_time=0.01)
    assert len(hub.requests) == 3
    hub.reset_counters()
    with one_try():
        with pytest.raises(HfHubHTTPError, match="503"):
            http_backoff("GET", f"{hub.endpoint}/api/whoami-v2", base_wait_time=0.01)
        assert len(hub.requests) == 1
        with pytest.raises(ConnectionError):
            http_backoff("GET", f"{hub.endpoint}/api/models/a/b/discussions", base_wait_time=0.01)
    assert len(hub.requests) == 2 and REQUEST_LIMIT.retries


@pytest.mark.usefixtures("limited")
def test_a_limit_is_the_most_that_a_request_gets(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REQUEST_LIMIT, "seconds", 0.2)
    hub.faults.delay("GET", "whoami", 2.0, times=0)
    for own in (None, 30.0):
        with pytest.raises(httpx2.ReadTimeout):
            get_session().get(f"{hub.endpoint}/api/whoami-v2", timeout=own)
