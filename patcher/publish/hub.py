"""The client of the Hub for publishing: requests have a time limit, and harmless calls are retried."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import tqdm

from patcher.constants import HUB_TIMEOUT
from patcher.source.hub_errors import is_unreachable, status_of
from patcher.source.request_limit import one_try, wait_asked
from patcher.source.snapshot import literal_pattern

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait, in seconds, and how often to try.

    `timeout` ends a request without an answer. `first_delay` precedes the second try and doubles for each further one.
    A Retry-After of at most `timeout` is obeyed; a longer one ends the command.
    """

    timeout: float = HUB_TIMEOUT
    tries: int = 4
    first_delay: float = 1.0


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
    """A client of the Hub that retries where that is harmless. Use it inside `request_limit.time_limit`."""

    retry: RetryPolicy = RetryPolicy()
    api: HfApi = field(default_factory=HfApi)

    def call_with_retry(self, call: Callable[[], T]) -> T:
        """Make a call that may be repeated, as often as the policy allows. Raises what the client raises."""
        attempt = 1
        while True:
            try:
                with one_try():
                    return call()
            except Exception as error:
                if not self.wait_for_retry(error, attempt):
                    raise
                attempt += 1

    def wait_for_retry(self, error: Exception, attempt: int) -> bool:
        """Say why and how long, and wait; False at once where there is no further try."""
        asked = retry_after(error)
        delay = self.retry.first_delay * 2 ** (attempt - 1) if asked is None else asked
        too_long = asked is not None and asked > self.retry.timeout
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
        tree = self.call_with_retry(lambda: list(self.api.list_repo_tree(repo_id, revision=revision, recursive=True)))
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
    """The seconds to wait that the Hub asks for, None where it does not."""
    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else wait_asked(response)
