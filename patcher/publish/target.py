"""The state of the repository to publish to, and who published there. Only reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from patcher.constants import CARD, DRAWN, TOOL, TRAINING_RECORD
from patcher.errors import PublishError
from patcher.hashing import git_blob_id
from patcher.publish.hub import Entry, Hub
from patcher.publish.publishable import KINDS, Publishable, find_record

MAIN = "main"
# The Hub keeps its own, which decides what paths are LFS paths there.
NOT_PUBLISHED = frozenset({".gitattributes"})


@dataclass(frozen=True)
class Target:
    """A repository at one revision.

    `revision` gets the commit: a branch, or `refs/pr/N` of our own open pull request. `head` is its commit, None where
    there is no repository. `branch_missing`: the branch has to be created from main. `texts` are the contents of the
    record, the card and the code, `tags` the commits by tag.
    """

    repo_id: str
    revision: str = MAIN
    head: str | None = None
    private: bool | None = None
    branch_missing: bool = False
    pull_request: int | None = None
    files: Mapping[str, Entry] = field(default_factory=dict)
    texts: Mapping[str, bytes] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether there is a repository."""
        return self.head is not None

    @property
    def empty(self) -> bool:
        """Whether it has no files but those that the Hub itself creates."""
        return not set(self.files) - NOT_PUBLISHED

    @property
    def record(self) -> Mapping[str, Any] | None:
        """The record of an earlier publication with this tool."""
        try:
            name = find_record(self.texts)
            record = json.loads(self.texts.get(str(name), b"null"))
            if name == TRAINING_RECORD:  # of a training, which has another writer
                return {**record, "source": {"repo_id": record["base"]["repo_id"]}}
            found = {**record, "source": record["report"]["source"]} if "source" not in record else record
            return found if record["tool"]["name"] == TOOL and "repo_id" in found["source"] else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def published(self) -> frozenset[str]:
        """The paths that an earlier publication wrote."""
        try:
            files = (self.record or {})["files"]
            paths = files if isinstance(files, Mapping) else (str(file["path"]) for file in files)
            return (frozenset(map(str, paths)) | DRAWN) - NOT_PUBLISHED
        except (KeyError, TypeError):
            return frozenset()

    def is_ours(self, item: Publishable) -> bool:
        """Whether it has an earlier publication of the same kind, from the same source."""
        same = find_record(self.texts) == item.record
        return same and self.record is not None and self.record["source"]["repo_id"] == item.source.repo_id


def has_record(hub: Hub, repo_id: str, revision: str) -> bool:
    """Whether a revision is an earlier publication with this tool."""
    paths = [name for name in KINDS if name in hub.files(repo_id, revision)][:1]
    return Target(repo_id, texts=hub.read(repo_id, hub.head(repo_id, revision), paths)).record is not None


def inspect_target(
    hub: Hub,
    repo_id: str,
    branch: str | None,
    pull_request_of: str | None = None,
    is_ours: Callable[[Hub, str, str], bool] = has_record,
    contents: Iterable[bytes] = (),
) -> Target:
    """Read the target. What it has of `contents`, by the hash of git, needs no download.

    `pull_request_of`: the account whose open pull request on the branch gets the commit, if there is one that `is_ours`
    knows by its revision.
    """
    asked = branch or MAIN
    try:
        info = hub.info(repo_id)
        refs = hub.call_with_retry(lambda: hub.api.list_repo_refs(repo_id))
    except RepositoryNotFoundError:
        return Target(repo_id, asked)
    tags = {tag.name: tag.target_commit for tag in refs.tags}
    heads = {branch.name: branch.target_commit for branch in refs.branches}
    if pull_request_of is not None and asked not in heads:
        raise PublishError(f"{repo_id} has no branch {asked!r}.", "A pull request needs an existing branch.")
    account = pull_request_of
    number = open_pull_request(hub, repo_id, account, asked, is_ours) if account is not None else None
    revision = asked if number is None else f"refs/pr/{number}"
    head = heads.get(asked, str(info.sha)) if number is None else hub.head(repo_id, revision)
    files = hub.files(repo_id, head, info)  # a target that seems empty would be written over
    # The plan shows a diff of these, and the record decides whose the target is.
    shown = [path for path in files if path in {CARD, *KINDS} or path.endswith(".py")]
    by_id = {git_blob_id(content): content for content in contents}
    known = {path: by_id[files[path].blob_id] for path in shown if files[path].blob_id in by_id}
    texts = {**known, **hub.read(repo_id, head, [p for p in shown if p not in known and files[p].sha256 is None])}
    return Target(repo_id, revision, head, bool(info.private), asked not in heads, number, files, texts, tags)


def open_pull_request(
    hub: Hub, repo_id: str, account: str, branch: str, is_ours: Callable[[Hub, str, str], bool]
) -> int | None:
    """The number of the newest open pull request on the branch that this account opened and `is_ours` knows."""
    found = hub.call_with_retry(
        lambda: list(hub.api.get_repo_discussions(repo_id, author=account, discussion_type="pull_request"))
    )
    for discussion in sorted(found, key=lambda one: -one.num):
        if discussion.status not in {"open", "draft"}:
            continue
        details = hub.call_with_retry(lambda number=discussion.num: hub.api.get_discussion_details(repo_id, number))  # type: ignore
        if (details.target_branch or f"refs/heads/{MAIN}") != f"refs/heads/{branch}":
            continue
        try:
            if is_ours(hub, repo_id, f"refs/pr/{discussion.num}"):
                return int(discussion.num)
        except RevisionNotFoundError:
            continue
    return None
