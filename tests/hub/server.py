"""A Hugging Face Hub on this machine, for tests and demonstrations: real HTTP, faults on demand."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from .accounts import Token
from .faults import Faults
from .hooks import Hook
from .objects import (
    DEFAULT_GITATTRIBUTES,
    Commit,
    FileEntry,
    append_lfs_paths,
    lfs_patterns,
    matches_lfs,
    new_commit,
)
from .repo import Discussion, Repo
from .routes import HUB_ROUTES, STORAGE_ROUTES
from .state import HubState, Refusal, Settings
from .thread import ServerThread
from .traffic import Bytes, RequestRecord
from .wire import Wire

__all__ = ["LocalHub"]

MARKER = ".local-hub"


class LocalHub:
    """Two origins, the Hub and its storage, each in a thread with its own event loop.

    Use it as a context manager. `root` is where content lies; without one a temporary folder is used and
    removed. `on_request` is called for each request, before and after its work (see `hooks`).
    """

    def __init__(self, root: Path | None = None, *, port: int = 0, settings: Settings | None = None) -> None:
        self._temporary = root is None
        self.root = Path(tempfile.mkdtemp(prefix="local-hub-")) if root is None else Path(root).absolute()
        _claim(self.root)
        self._state = HubState(self.root, settings or Settings())
        self._threads = [
            ServerThread(Wire(self._state, "hub", HUB_ROUTES, lambda: self.on_request), port),
            ServerThread(Wire(self._state, "storage", STORAGE_ROUTES, lambda: self.on_request), 0),
        ]
        self.on_request: Hook | None = None
        self.endpoint = ""
        self.cdn_endpoint = ""

    def __enter__(self) -> LocalHub:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start answering. Raises OSError where the port is taken."""
        self.endpoint, self.cdn_endpoint = (thread.start() for thread in self._threads)
        self._state.storage_url = self.cdn_endpoint

    def stop(self) -> None:
        for thread in self._threads:
            thread.stop()
        if self._temporary:
            shutil.rmtree(self.root, ignore_errors=True)

    # People and their tokens

    def add_user(
        self,
        name: str,
        token: str,
        role: Literal["read", "write", "fineGrained"] = "write",
        namespaces: Sequence[str] = (),
    ) -> None:
        """A user and a token; call again for another token. A fine-grained one writes in `namespaces`."""
        self._state.accounts.add_token(Token(token, name, role, frozenset(namespaces)))

    def add_org(self, name: str, members: Mapping[str, str]) -> None:
        """An organisation; `members` maps a user to read, contributor, write or admin."""
        self._state.accounts.add_org(name, dict(members))

    def revoke_token(self, token: str) -> None:
        self._state.accounts.revoke(token)

    # Repositories

    def create_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path] | None = None,
        *,
        repo_type: str = "model",
        private: bool = False,
        gated: str | bool = False,
        granted: Sequence[str] = (),
        region: str = "us",
        lfs_suffixes: Sequence[str] = (),
        xet: bool = True,
    ) -> str:
        """A repository with one commit, whose id is returned.

        Files covered by the usual .gitattributes (such as *.safetensors) or by `lfs_suffixes` are large
        files, with a xet hash unless `xet` is false.
        """
        store = self._state.store
        repo = Repo(repo_type, repo_id, private, gated, region, set(granted))
        given = dict(files or {})
        attributes = given.get(".gitattributes", DEFAULT_GITATTRIBUTES)
        attributes = attributes if isinstance(attributes, bytes) else attributes.read_bytes()
        attributes += b"".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n".encode() for suffix in lfs_suffixes)
        # A folder's own .gitattributes may leave the weights out; the Hub adds what it stores as large files.
        usual = lfs_patterns(DEFAULT_GITATTRIBUTES)
        attributes = append_lfs_paths(attributes, [path for path in given if matches_lfs(usual, path)])
        given[".gitattributes"] = attributes
        patterns = lfs_patterns(attributes)
        tree = {}
        for path, content in given.items():
            if matches_lfs(patterns, path):
                tree[path] = store.large(repo, content, xet=xet)
            else:
                tree[path] = store.regular(content if isinstance(content, bytes) else content.read_bytes())
        with store.lock:
            store.create(repo, repo.namespace, tree)
        return repo.branches["main"]

    def seed(self, repo_id: str, folder: Path, **options: bool | str) -> str:
        """`create_repo` from the files of a folder. Hidden folders are left out."""
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        names = {path.relative_to(folder).as_posix(): path for path in paths}
        files = {name: path for name, path in names.items() if not any(p.startswith(".") for p in name.split("/")[:-1])}
        return self.create_repo(repo_id, files, **options)  # type: ignore[arg-type]

    def repo(self, repo_id: str, repo_type: str = "model") -> Repo:
        return self._state.store.get(f"{repo_type}s/{repo_id}")

    def exists(self, repo_id: str, repo_type: str = "model") -> bool:
        return f"{repo_type}s/{repo_id}" in self._state.store.repos

    def head(self, repo_id: str, revision: str = "main") -> str:
        return self.repo(repo_id).resolve(revision).oid

    def commits(self, repo_id: str, revision: str = "main") -> list[Commit]:
        """Newest first."""
        return list(self.repo(repo_id).history(revision))

    def files(self, repo_id: str, revision: str = "main") -> dict[str, FileEntry]:
        return self._state.store.files(self.repo(repo_id), revision)

    def read(self, repo_id: str, path: str, revision: str = "main") -> bytes:
        return self._state.store.read(self._state.store.file(self.repo(repo_id), revision, path))

    def tags(self, repo_id: str) -> dict[str, str]:
        return dict(self.repo(repo_id).tags)

    def pull_requests(self, repo_id: str) -> list[Discussion]:
        return [one for one in self.repo(repo_id).discussions.values() if one.is_pull_request]

    def commit(self, repo_id: str, files: Mapping[str, bytes | None], message: str = "edit", user: str = "kari") -> str:
        """Somebody else's commit on main, behind the client's back. None deletes a file."""
        store = self._state.store
        with store.lock:
            repo = self.repo(repo_id)
            parent = repo.resolve("main")
            tree = dict(parent.tree)
            for path, content in files.items():
                if content is None:
                    del tree[path]
                else:
                    tree[path] = store.regular(content)
            new = new_commit(store.serial, tree, (parent.oid,), message, "", user)
            repo.move("main", new)
            return new.oid

    # How it behaves

    def configure(self, **changes: int | bool) -> None:
        """Change `Settings`, such as `lfs_threshold` or `tree_page_size`, while running."""
        self._state.settings = replace(self._state.settings, **changes)  # type: ignore[arg-type]

    def refuse_duplicate(self, source: str = ".*", path: str = ".*", error: str = "not allowed") -> None:
        """Refuse to copy matching files (regular expressions, matched in full) between repositories."""
        self._state.refusals.append(Refusal(source, path, error))

    def leave_cards_unparsed(self, answers: int) -> None:
        """Answer so many times without the metadata of a card, as the Hub does for a while after a commit."""
        self._state.unparsed = answers

    @property
    def faults(self) -> Faults:
        return self._state.faults

    @property
    def requests(self) -> list[RequestRecord]:
        """A copy of the log, oldest first, since the last reset."""
        return list(self._state.traffic.requests)

    @property
    def counters(self) -> Bytes:
        return self._state.traffic.sums(self._state.store.xet.bytes_added())

    def reset_counters(self) -> None:
        """Forget the requests so far; numbers start again at 1."""
        self._state.traffic.reset(self._state.store.xet.bytes_added())


def _claim(root: Path) -> None:
    """Empty the folder of an earlier run, and refuse to touch a folder that isn't one."""
    root.mkdir(parents=True, exist_ok=True)
    marker = root / MARKER
    if any(root.iterdir()) and not marker.exists():
        raise FileExistsError(f"{root} is not empty and was not made by a local Hub")
    for path in root.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    marker.touch()
