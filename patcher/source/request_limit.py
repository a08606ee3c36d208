"""How long the Hub may take: for each response, and for each wait that it asks for before another try.

The limit is part of the client's factory, and the factory belongs to the process. So only `patcher.__main__` asks for
it, with `install = True`; the modules that talk to the Hub install it then, when they first do, because `--help` and
most commands never import the client. A library that publishes calls `install_request_limit` itself, or keeps the
client's own limits and retries.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from patcher.constants import HUB_TIMEOUT


@dataclass
class RequestLimit:
    """`seconds` end a request without an answer, and are the longest wait that the Hub may ask for.

    `retries`: whether the client repeats a failed request itself. `pages` are the most that one listing may have, and
    `asked` counts them by address in each try. `install` asks for the limit in this process.
    """

    seconds: float = HUB_TIMEOUT
    retries: bool = True
    install: bool = False
    pages: int = 1000
    asked: Counter[str] = field(default_factory=Counter)


class EndlessListing(Exception):
    """A listing that always names a further page."""


REQUEST_LIMIT = RequestLimit()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit every request of huggingface_hub to these seconds where the limit is installed."""
    before = REQUEST_LIMIT.seconds
    REQUEST_LIMIT.seconds = seconds
    if REQUEST_LIMIT.install:  # hf_xet makes requests of its own; it reads these when it makes the first one
        limits = {"CONNECT_TIMEOUT": seconds, "READ_TIMEOUT": seconds, "RETRY_MAX_DURATION": seconds}
        for name, value in limits.items():
            os.environ.setdefault(f"HF_XET_CLIENT_{name}", f"{value * 1000:.0f}ms")
        os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
    install_if_asked()
    try:
        yield
    finally:
        REQUEST_LIMIT.seconds = before


@contextmanager
def one_try() -> Iterator[None]:
    """Keep the client from repeating a failed request, which the caller does; else both policies multiply."""
    before = REQUEST_LIMIT.retries
    REQUEST_LIMIT.retries = False
    REQUEST_LIMIT.asked.clear()
    try:
        yield
    finally:
        REQUEST_LIMIT.retries = before


def install_if_asked() -> None:
    """Install the limit where this process asks for it; once."""
    if REQUEST_LIMIT.install and not getattr(install_if_asked, "done", False):
        install_request_limit()
        install_if_asked.done = True  # type: ignore[attr-defined]


def install_request_limit() -> None:
    """Make huggingface_hub's shared client obey `REQUEST_LIMIT`, for the whole process.

    By itself it has no time limit, sleeps for as long as the Hub says, and repeats some requests five times.
    """
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory, hf_raise_for_status

    class Limited(httpx2.Client):
        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            address = f"{request.url.host}{request.url.path}"
            REQUEST_LIMIT.asked[address] += request.method == "GET" and not REQUEST_LIMIT.retries
            if REQUEST_LIMIT.asked[address] > REQUEST_LIMIT.pages:
                raise EndlessListing(f"{address} has more than {REQUEST_LIMIT.pages} pages")
            # Per request, because the client asks for listings with an explicit "no limit".
            limits = request.extensions.get("timeout", {})
            request.extensions["timeout"] = {name: _least(seconds) for name, seconds in limits.items()}
            try:
                response = super().send(request, **options)
            except httpx2.TransportError as error:
                if REQUEST_LIMIT.retries:
                    raise
                raise ConnectionError(str(error)) from error  # the client's retries don't catch it
            if _ends(response):
                hf_raise_for_status(response)
            return response

    # The client's own hooks, in which it refuses to go online where that was forbidden, are kept.
    set_client_factory(
        lambda: Limited(event_hooks=default_client_factory().event_hooks, follow_redirects=True, timeout=None)
    )


def wait_asked(response: Any) -> float | None:
    """The seconds to wait that the Hub asks for: in `RateLimit`, if that is the reason, or in `Retry-After`."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    rate = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and rate is not None and rate.remaining == 0:
        return float(rate.reset_in_seconds)
    found = re.fullmatch(r"\s*(\d+)\s*", response.headers.get("Retry-After", ""))
    return float(found[1]) if found else None


def _least(seconds: float | None) -> float:
    return REQUEST_LIMIT.seconds if seconds is None else min(seconds, REQUEST_LIMIT.seconds)


def _ends(response: Any) -> bool:
    """Whether the client would repeat the request although it must not, or would wait too long before that."""
    status = response.status_code
    if status == 409 and response.url.path == "/api/repos/create":
        # The client would repeat it at once and forever: two repositories are created at the same time.
        response.read()
        return "another conflicting operation" in response.text
    if status in {408, 429} or status >= 500:
        return not REQUEST_LIMIT.retries or (wait_asked(response) or 0) > REQUEST_LIMIT.seconds
    return False
