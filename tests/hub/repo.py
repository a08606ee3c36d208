"""One repository: its references, commits and discussions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .errors import HubError, revision_not_found
from .objects import Commit, Entry

__all__ = ["Discussion", "Event", "Repo"]

COMMIT_ID = re.compile(r"^[0-9a-f]{7,40}$")


@dataclass(frozen=True)
class Event:
    """One line in a discussion: comment, commit, status-change or title-change."""

    id: str
    type: str
    author: str
    created_at: datetime
    data: Mapping[str, object]


@dataclass
class Discussion:
    num: int
    title: str
    author: str
    is_pull_request: bool
    status: str
    created_at: datetime
    base: str = "refs/heads/main"
    merge_commit: str | None = None
    events: list[Event] = field(default_factory=list)

    def record(self, kind: str, author: str, data: Mapping[str, object]) -> Event:
        event = Event(f"{self.num:08x}{len(self.events):016x}", kind, author, datetime.now(timezone.utc), data)
        self.events.append(event)
        return event


@dataclass
class Repo:
    """`kind` is model, dataset or space. `lfs` is the set of objects that this repository may refer to."""

    kind: str
    id: str
    private: bool = False
    gated: str | bool = False
    region: str = "us"
    granted: set[str] = field(default_factory=set)
    lfs: set[str] = field(default_factory=set)
    without_xet: set[str] = field(default_factory=set)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    discussions: dict[int, Discussion] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    @property
    def key(self) -> str:
        return f"{self.kind}s/{self.id}"

    @property
    def url_path(self) -> str:
        return self.id if self.kind == "model" else self.key

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, tag, pull request reference or (short) commit id stands for."""
        name = revision.removeprefix("refs/heads/")
        if name in self.branches:
            return self.commits[self.branches[name]]
        name = revision.removeprefix("refs/tags/")
        if name in self.tags:
            return self.commits[self.tags[name]]
        number = pull_number(revision)
        if number in self.pulls:
            return self.commits[self.pulls[number]]
        if COMMIT_ID.match(revision):
            found = [oid for oid in self.commits if oid.startswith(revision)]
            if len(found) == 1:
                return self.commits[found[0]]
        raise revision_not_found(revision)

    def is_movable(self, revision: str) -> bool:
        """Whether a commit can be put on this revision: a branch or a pull request, never a tag or an id."""
        return revision.removeprefix("refs/heads/") in self.branches or pull_number(revision) in self.pulls

    def move(self, revision: str, commit: Commit) -> None:
        self.commits[commit.oid] = commit
        number = pull_number(revision)
        if number is not None:
            self.pulls[number] = commit.oid
        else:
            self.branches[revision.removeprefix("refs/heads/")] = commit.oid

    def history(self, revision: str) -> Iterator[Commit]:
        """First parents, newest first."""
        commit: Commit | None = self.resolve(revision)
        while commit is not None:
            yield commit
            commit = self.commits.get(commit.parents[0]) if commit.parents else None

    def last_change(self, commit: Commit, path: str) -> Commit:
        """The commit that gave `path` (a file or a folder) the content it has in `commit`."""
        here = _part(commit.tree, path)
        for older in self.history(commit.oid):
            if _part(older.tree, path) != here:
                break
            commit = older
        return commit

    def discussion(self, number: int) -> Discussion:
        if number not in self.discussions:
            raise HubError(404, f"Discussion {number} not found")
        return self.discussions[number]

    def open_discussion(self, title: str, author: str, *, pull_request: bool, status: str) -> Discussion:
        number = len(self.discussions) + 1
        now = datetime.now(timezone.utc)
        discussion = Discussion(number, title, author, pull_request, status, now)
        self.discussions[number] = discussion
        return discussion


def pull_number(revision: str) -> int | None:
    match = re.fullmatch(r"refs/pr/(\d+)", revision)
    return int(match.group(1)) if match else None


def _part(tree: Mapping[str, Entry], path: str) -> Mapping[str, Entry]:
    if path in tree:
        return {path: tree[path]}
    return {name: entry for name, entry in tree.items() if name.startswith(path + "/")}
