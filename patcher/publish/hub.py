"""The client of the Hub for publishing: it has a time limit and retries, and no cache answers for the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.hf_api import ModelInfo, RepoFile
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status

from patcher.errors import HubUnreachable, PatcherError
from patcher.source.hub_errors import from_hub
from patcher.source.names import check_names
from patcher.source.retry import RetryPolicy
from patcher.source.snapshot import File, Snapshot, Source, check_size

T = TypeVar("T")
_THREADS = 8  # files that are read at a time


@dataclass(frozen=True)
class Entry:
    """One file as the Hub lists it; `size` in bytes, `sha256` for LFS and Xet files, git's `blob_id` for the others."""

    path: str
    size: int
    sha256: str | None
    blob_id: str
    xet_hash: str | None


@dataclass(frozen=True)
class Hub:
    """A client of the Hub that retries where that is harmless. Use it inside `request_limit.time_limit`."""

    retry: RetryPolicy = RetryPolicy()
    api: HfApi = field(default_factory=HfApi)

    def call_with_retry(self, call: Callable[[], T]) -> T:
        """Make a call that may be repeated, as often as the policy allows. Raises what the client raises."""
        return self.retry.call(call)

    def info(self, repo_id: str, revision: str | None = None) -> ModelInfo:
        """What the Hub says of a revision: its commit, the names of its files, its card as the Hub parsed it."""
        return self.call_with_retry(lambda: self.api.model_info(repo_id, revision=revision))

    def head(self, repo_id: str, revision: str | None) -> str:
        """The commit that a revision currently points to."""
        return str(self.info(repo_id, revision).sha)

    def files(self, repo_id: str, revision: str, info: ModelInfo | None = None) -> dict[str, Entry]:
        """Every file of a revision, by path.

        Raises HubUnreachable where the list lacks a file that `info` of the same commit names.
        """
        tree = self.call_with_retry(lambda: list(self.api.list_repo_tree(repo_id, revision=revision, recursive=True)))
        files = {
            one.path: Entry(one.path, one.size, one.lfs.sha256 if one.lfs else None, one.blob_id, one.xet_hash)
            for one in tree
            if isinstance(one, RepoFile)
        }
        named = {one.rfilename for one in info.siblings or ()} if info is not None and info.sha == revision else set()
        if named - set(files):
            why = f"The Hub lists the files of {repo_id} incompletely, without {min(named - set(files))}."
            raise HubUnreachable(why, "Run the same command again in a few minutes.")
        return files

    def read(self, repo_id: str, revision: str, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The content of small files, downloaded now (never from the cache) and not stored."""

        def asked(path: str) -> bytes:
            address = hf_hub_url(repo_id, path, revision=revision)
            response = get_session().get(address, headers=build_hf_headers(), follow_redirects=True)
            hf_raise_for_status(response)
            return bytes(response.content)

        def fetched(path: str) -> bytes:
            return self.call_with_retry(lambda: asked(path))

        paths = list(paths)
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(paths, pool.map(fetched, paths), strict=True))

    def snapshot(self, repo_id: str, revision: str | None, folder: Path) -> Snapshot:
        """A revision as the Hub lists it now; `fetch` puts its files into `folder`.

        Raises SourceError where there is no such revision, AccessDenied or HubUnreachable where the Hub refuses or does
        not answer.
        """
        try:
            info = self.info(repo_id, revision)
            commit = str(info.sha)
            entries = self.files(repo_id, commit, info)
        except PatcherError:
            raise
        except Exception as error:
            raise from_hub(error, repo_id, revision) from error
        source = Source(repo_id, commit, None)
        check_names(entries, source)
        files = (File(one.path, one.size, one.sha256, one.blob_id) for _, one in sorted(entries.items()))
        return Snapshot(source, tuple(files), folder)

    def fetch(self, snapshot: Snapshot, paths: Iterable[str]) -> None:
        """Put small files of a snapshot into its folder, as the Hub lists them. Raises as `snapshot` does."""
        assert snapshot.root is not None
        wanted = {file.path: file for file in snapshot.files if file.path in set(paths)}
        missing = [path for path in wanted if not (snapshot.root / path).is_file()]
        for path in missing:
            check_size(snapshot.source, path, wanted[path].size or 0)
        repo_id, commit = str(snapshot.source.repo_id), str(snapshot.source.revision)
        try:
            content = self.read(repo_id, commit, missing)
        except Exception as error:
            raise from_hub(error, repo_id, commit) from error
        for path, read in content.items():
            if not wanted[path].matches(read):
                why = f"The Hub sent a {path} of {snapshot.source} that differs from its listing."
                raise HubUnreachable(why, "Run the same command again.")
            target = snapshot.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read)
