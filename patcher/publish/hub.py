"""The client of the Hub for publishing: requests have a time limit, and harmless calls are retried."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import tqdm

from patcher.source.retry import RetryPolicy
from patcher.source.snapshot import literal_pattern

T = TypeVar("T")


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
        return self.retry.call(call)

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
