"""The client of the Hub for publishing: requests have a time limit, and harmless calls are retried."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, set_client_factory, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._http import default_client_factory  # the only way to keep the client's own request hook
from huggingface_hub.utils.tqdm import tqdm

from patcher.constants import HUB_TIMEOUT
from patcher.source.hub_errors import is_unreachable, status_of
from patcher.source.request_limit import REQUEST_LIMIT
from patcher.source.snapshot import literal_pattern

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait, in seconds, and how often to try.

    `timeout` ends a request without an answer. `first_delay` precedes the second try and doubles for each further one.
    A Retry-After of at most `max_retry_after` is obeyed; a longer one ends the command.
    """

    timeout: float = HUB_TIMEOUT
    tries: int = 4
    first_delay: float = 1.0
    max_retry_after: float = 60.0


@dataclass(frozen=True)
class Entry:
    """One file as the Hub lists it; `size` in bytes, `sha256` for LFS and Xet files, git's `blob_id` for the others."""

    path: str
    size: int
    sha256: str | None
    blob_id: str
    xet_hash: str | None


class _NoBar(tqdm):
    """No progress bar for kilobytes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Hub:
    """A client of the Hub that retries where that is harmless. Use it inside `time_limit`."""

    retry: RetryPolicy = RetryPolicy()
    api: HfApi = field(default_factory=HfApi)

    def call_with_retry(self, call: Callable[[], T]) -> T:
        """Make a call that may be repeated, as often as the policy allows. Raises what the client raises."""
        attempt = 1
        while True:
            try:
                return call()
            except Exception as error:
                if not self.wait_for_retry(error, attempt):
                    raise
                attempt += 1

    def wait_for_retry(self, error: Exception, attempt: int) -> bool:
        """Say why and how long, and wait; False at once where there is no further try."""
        asked = retry_after(error)
        delay = self.retry.first_delay * 2 ** (attempt - 1) if asked is None else asked
        too_long = asked is not None and asked > self.retry.max_retry_after
        if attempt >= self.retry.tries or too_long or not is_transient(error):
            return False
        what = f"answered {status_of(error)}" if status_of(error) else "did not answer"
        logger.info("The Hub %s; trying again in %g s (%d of %d).", what, delay, attempt + 1, self.retry.tries)
        time.sleep(delay)
        return True

    def head(self, repo_id: str, revision: str | None) -> str:
        """The commit that a revision currently points to."""
        return str(self.call_with_retry(lambda: self.api.model_info(repo_id, revision=revision)).sha)

    def files(self, repo_id: str, revision: str) -> dict[str, Entry]:
        """Every file of a revision, by path."""
        # Without `call_with_retry`: the client itself retries listings.
        tree = self.api.list_repo_tree(repo_id, revision=revision, recursive=True)
        files = (one for one in tree if isinstance(one, RepoFile))
        return {
            one.path: Entry(one.path, one.size, one.lfs.sha256 if one.lfs else None, one.blob_id, one.xet_hash)
            for one in files
        }

    def read(self, repo_id: str, revision: str, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The content of small files, downloaded now (never from the cache) and not stored."""
        patterns = {path: literal_pattern(path) for path in paths}
        options: Any = {"revision": revision, "allow_patterns": [*patterns.values()], "tqdm_class": _NoBar}

        def fetched() -> dict[str, bytes]:
            with tempfile.TemporaryDirectory(prefix="patcher-") as cache:
                root = snapshot_download(repo_id, cache_dir=cache, **options)
                return {path: Path(root, path).read_bytes() for path in patterns}

        return self.call_with_retry(fetched) if patterns else {}


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit every request of huggingface_hub to these seconds where `install_time_limit` was called."""
    before = REQUEST_LIMIT.seconds
    REQUEST_LIMIT.seconds = seconds
    try:
        yield
    finally:
        REQUEST_LIMIT.seconds = before


def install_time_limit() -> None:
    """Make huggingface_hub's shared client obey `time_limit`, for the whole process; the client itself has no limit."""

    def limited():  # type: ignore[no-untyped-def]
        client = default_client_factory()
        client.event_hooks["request"].append(_limit)
        client.event_hooks["response"].append(_stop_if_busy)
        return client

    set_client_factory(limited)


def _limit(request: Any) -> None:
    # Per request, because the client asks for listings with an explicit "no limit".
    seconds, limits = REQUEST_LIMIT.seconds, request.extensions.get("timeout", {})
    request.extensions["timeout"] = {name: seconds if set_ is None else set_ for name, set_ in limits.items()}


def _stop_if_busy(response: Any) -> None:
    """Raise where the client would retry at once and forever: two repositories created at the same time."""
    if response.status_code == 409 and response.url.path == "/api/repos/create":
        response.read()
        if "another conflicting operation" in response.text:
            raise HfHubHTTPError("busy", response=response)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    status = status_of(error)
    if status is not None:
        return status in {408, 409, 429} or status >= 500
    if isinstance(error, json.JSONDecodeError):
        return True  # not an answer of the Hub: a proxy's error page, or a truncated one
    reasons = (error, error.__cause__)
    return any(is_unreachable(reason) and not isinstance(reason, OfflineModeIsEnabled) for reason in reasons)


def retry_after(error: BaseException) -> float | None:
    """The seconds to wait that the Hub asks for in `Retry-After` or `RateLimit`."""
    if not isinstance(error, HfHubHTTPError) or error.response is None:
        return None
    limit, after = (error.response.headers.get(name, "") for name in ("RateLimit", "Retry-After"))
    found = re.search(r"\bt=(\d+)", limit) or re.fullmatch(r"\s*(\d+)\s*", after)
    return float(found[1]) if found else None


if REQUEST_LIMIT.install:
    install_time_limit()
