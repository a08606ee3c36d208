"""The state of the repository to publish to, and who published there. Only reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from patcher.constants import CARD, DRAWN, RECORD, TOOL
from patcher.errors import PublishError
from patcher.patching.record import PatchedModel
from patcher.publish.hub import Entry, Hub

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
            record = json.loads(self.texts.get(RECORD, b"null"))
            known = record["tool"]["name"] == TOOL and {"repo_id"} <= record["source"].keys()
            return record if known else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def published(self) -> frozenset[str]:
        """The paths that an earlier publication wrote."""
        try:
            return (frozenset(str(file["path"]) for file in (self.record or {})["files"]) | DRAWN) - NOT_PUBLISHED
        except (KeyError, TypeError):
            return frozenset()

    def is_ours(self, model: PatchedModel) -> bool:
        """Whether it has an earlier publication of a model from the same source."""
        return self.record is not None and self.record["source"]["repo_id"] == model.source.repo_id


def has_record(hub: Hub, repo_id: str, revision: str) -> bool:
    """Whether a revision is an earlier publication with this tool."""
    paths = [RECORD] if RECORD in hub.files(repo_id, revision) else []
    return Target(repo_id, texts=hub.read(repo_id, hub.head(repo_id, revision), paths)).record is not None


def inspect_target(
    hub: Hub,
    repo_id: str,
    branch: str | None,
    pull_request_of: str | None = None,
    is_ours: Callable[[Hub, str, str], bool] = has_record,
) -> Target:
    """Read the target.

    `pull_request_of`: the account whose open pull request on the branch gets the commit, if there is one that `is_ours`
    knows by its revision.
    """
    wanted = branch or MAIN
    try:
        info = hub.call_with_retry(lambda: hub.api.model_info(repo_id))
        refs = hub.call_with_retry(lambda: hub.api.list_repo_refs(repo_id))
    except RepositoryNotFoundError:
        return Target(repo_id, wanted)
    tags = {tag.name: tag.target_commit for tag in refs.tags}
    heads = {branch.name: branch.target_commit for branch in refs.branches}
    if pull_request_of is not None and wanted not in heads:
        raise PublishError(f"{repo_id} has no branch {wanted!r}.", "A pull request needs an existing branch.")
    account = pull_request_of
    number = open_pull_request(hub, repo_id, account, wanted, is_ours) if account is not None else None
    revision = wanted if number is None else f"refs/pr/{number}"
    head = heads.get(wanted, str(info.sha)) if number is None else hub.head(repo_id, revision)
    files = hub.files(repo_id, head)
    absent = {one.rfilename for one in info.siblings or ()} - set(files) if head == info.sha else ()
    if absent:  # a target that seems empty would be written over
        why = f"The Hub lists the files of {repo_id} incompletely, without {min(absent)}; nothing was written."
        raise PublishError(why, "Run the same command again in some minutes.")
    # The plan shows a diff of these, and the record decides whose the target is.
    shown = [path for path in files if path in {CARD, RECORD} or path.endswith(".py")]
    texts = hub.read(repo_id, head, [path for path in shown if files[path].sha256 is None])
    return Target(repo_id, revision, head, bool(info.private), wanted not in heads, number, files, texts, tags)


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
