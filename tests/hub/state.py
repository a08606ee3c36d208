"""Everything the handlers share, and the question they all ask: may this caller see, or change, this?"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from .accounts import Accounts, Caller
from .answers import Call
from .errors import forbidden, gated, repo_not_found
from .faults import Faults
from .repo import Repo
from .store import Store
from .traffic import Traffic

__all__ = ["HubState", "Settings"]


@dataclass(frozen=True)
class Settings:
    """How this Hub behaves where a real one has limits. Sizes in bytes."""

    lfs_threshold: int = 10_000_000
    multipart_threshold: int = 64_000_000
    part_size: int = 16_000_000
    tree_page_size: int = 1000
    expanded_page_size: int = 50
    commit_page_size: int = 50
    append_gitattributes: bool = True
    xet_for_lfs_uploads: bool = True
    duplicate_needs_write: bool = True


@dataclass(frozen=True)
class Refusal:
    """A file that this Hub won't duplicate, and what it says."""

    source: str
    path: str
    error: str


@dataclass
class HubState:
    root: Path
    settings: Settings = field(default_factory=Settings)
    accounts: Accounts = field(default_factory=Accounts)
    faults: Faults = field(default_factory=Faults)
    traffic: Traffic = field(default_factory=Traffic)
    refusals: list[Refusal] = field(default_factory=list)
    multipart: dict[str, dict[int, str]] = field(default_factory=dict)
    storage_url: str = ""
    unparsed: int = 0
    signing_key: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        self.store = Store(self.root)

    def visible(self, call: Call, at: dict[str, str]) -> Repo:
        """The repository that a path names, where the caller may know of it. Its files may still be gated."""
        kind = at.get("kind", "models")
        repo = self.store.repos.get(f"{kind}/{at['ns']}/{at['name']}")
        if repo is None or (repo.private and not call.caller.belongs_to(repo.namespace)):
            raise repo_not_found(anonymous=call.caller.token is None)
        return repo

    def readable(self, call: Call, at: dict[str, str]) -> Repo:
        repo = self.visible(call, at)
        if not self.has_access(repo, call.caller):
            raise gated(repo.id, anonymous=call.caller.token is None)
        return repo

    def writable(self, call: Call, at: dict[str, str], *, pull_request: bool = False) -> Repo:
        """The repository, where the caller may write to it, or open a pull request on it."""
        repo = self.visible(call, at)
        if call.caller.token is None:
            raise repo_not_found(anonymous=True)
        if pull_request and call.caller.may_open_pull_requests():
            return repo
        require_write(call.caller, repo.namespace, f"{repo.kind} {repo.id}")
        return repo

    def has_access(self, repo: Repo, caller: Caller) -> bool:
        return not repo.gated or caller.belongs_to(repo.namespace) or caller.user in repo.granted

    def signature(self, *parts: object) -> str:
        """A word in a storage address that nobody else can guess, in place of an Authorization header."""
        return hashlib.sha256(":".join(map(str, (self.signing_key, *parts))).encode()).hexdigest()[:32]


def require_write(caller: Caller, namespace: str, what: str) -> None:
    if caller.token is not None and caller.token.role == "read":
        raise forbidden("Forbidden: you must use a write token to upload to a repository.")
    if not caller.may_write_in(namespace):
        raise forbidden(f"Forbidden: you don't have the rights to write to {what}.")
