"""Files on their way in: how each is to be sent, and the commit that makes them part of a repository."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from tests.hub.answers import Answer, Call, json_answer
from tests.hub.errors import HubError, revision_not_found
from tests.hub.objects import Commit, Entry, append_lfs_paths, lfs_entry, new_commit
from tests.hub.repo import Repo
from tests.hub.routing import Route
from tests.hub.state import HubState

__all__ = ["ROUTES"]

At = dict[str, str]
STALE = "The branch was updated since you opened this page. Please refresh and try again."


async def preupload(state: HubState, call: Call, at: At) -> Answer:
    repo = _repo(state, call, at)
    commit = repo.resolve(at["rev"])
    body = call.json()
    files = []
    for file in body["files"]:
        path, size = file["path"], file["size"]
        large = state.store.is_large(commit.tree, path, size, state.settings.lfs_threshold)
        item: dict[str, Any] = {
            "path": path,
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": _ignored(path, body.get("gitIgnore")),
        }
        if path in commit.tree:
            item["oid"] = commit.tree[path].sha256 or commit.tree[path].oid
        files.append(item)
    return json_answer({"files": files, "commitOid": commit.oid})


async def commit(state: HubState, call: Call, at: At) -> Answer:
    repo = _repo(state, call, at)
    header, operations = _parse(call.body)
    # In a thread: taking over an upload of gigabytes from chunk storage takes its time.
    return await asyncio.to_thread(_commit, state, call, repo, at["rev"], header, operations)


def _commit(
    state: HubState,
    call: Call,
    repo: Repo,
    revision: str,
    header: Mapping[str, Any],
    operations: list[tuple[str, dict[str, Any]]],
) -> Answer:
    assert call.caller.user is not None
    with state.store.lock:
        parent = _parent(repo, revision, header.get("parentCommit"), create_pr=call.flag("create_pr"))
        tree = _apply(state, repo, parent.tree, operations)
        new = new_commit(
            state.store.serial,
            tree,
            (parent.oid,),
            header.get("summary", ""),
            header.get("description", ""),
            call.caller.user,
        )
        answer: dict[str, Any] = {
            "success": True,
            "commitOid": new.oid,
            "commitUrl": f"{call.origin}/{repo.url_path}/commit/{new.oid}",
            "hookOutput": "",
        }
        if call.flag("create_pr"):
            discussion = repo.open_discussion(new.title, call.caller.user, pull_request=True, status="open")
            discussion.base = f"refs/heads/{revision.removeprefix('refs/heads/')}"
            if new.message:
                discussion.record("comment", call.caller.user, _comment(new.message))
            revision = f"refs/pr/{discussion.num}"
            repo.pulls[discussion.num] = new.oid
            answer["pullRequestUrl"] = f"{call.origin}/{repo.url_path}/discussions/{discussion.num}"
        repo.move(revision, new)
        if revision.startswith("refs/pr/"):
            number = int(revision.rsplit("/", 1)[-1])
            repo.discussion(number).record("commit", call.caller.user, {"subject": new.title, "oid": new.oid})
        return json_answer(answer)


def _repo(state: HubState, call: Call, at: At) -> Repo:
    """A pull request may be opened, and continued by who opened it, without the right to write."""
    if call.flag("create_pr"):
        return state.writable(call, at, pull_request=True)
    repo = state.visible(call, at)
    number = at["rev"].removeprefix("refs/pr/")
    own = number.isdigit() and int(number) in repo.discussions
    mine = own and repo.discussions[int(number)].author == call.caller.user
    return state.writable(call, at, pull_request=mine)


def _parse(body: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    header: dict[str, Any] | None = None
    operations: list[tuple[str, dict[str, Any]]] = []
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError:
            raise HubError(400, "A line of the commit is not JSON") from None
        if item["key"] == "header":
            header = item["value"]
        else:
            operations.append((item["key"], item["value"]))
    if header is None or not header.get("summary"):
        raise HubError(400, '"summary" is required')
    return header, operations


def _parent(repo: Repo, revision: str, wanted: str | None, *, create_pr: bool) -> Commit:
    if not repo.is_movable(revision) or (create_pr and revision.startswith("refs/pr/")):
        raise revision_not_found(revision)
    head = repo.resolve(revision)
    if create_pr and wanted:
        return repo.resolve(wanted)
    if wanted and not head.oid.startswith(wanted):
        raise HubError(412, STALE)
    return head


def _apply(
    state: HubState, repo: Repo, before: Mapping[str, Entry], operations: Iterable[tuple[str, dict[str, Any]]]
) -> dict[str, Entry]:
    tree = dict(before)
    large: list[str] = []
    for key, value in operations:
        path = _checked_path(value["path"])
        if key == "file":
            _refuse_clash(tree, path)
            tree[path] = state.store.regular(_content(value))
        elif key == "lfsFile":
            _refuse_clash(tree, path)
            known = state.store.claim(repo, value["oid"])
            if known is None:
                raise HubError(
                    400, f"Your push was rejected: LFS pointer pointed to a file that does not exist: {path}"
                )
            tree[path] = lfs_entry(known.sha256, known.size)
            large.append(path)
        elif key in ("deletedFile", "deletedFolder"):
            _delete(tree, path)
        else:
            raise HubError(400, f"Unknown operation: {key}")
    if large and state.settings.append_gitattributes:
        attributes = tree.get(".gitattributes")
        content = state.store.blobs.read(attributes.oid) if attributes else b""
        tree[".gitattributes"] = state.store.regular(append_lfs_paths(content, large))
    return tree


def _content(value: dict[str, Any]) -> bytes:
    if value.get("encoding") != "base64":
        return str(value["content"]).encode()
    try:
        return base64.b64decode(value["content"], validate=True)
    except binascii.Error:
        raise HubError(400, f"The content of {value['path']} is not base64") from None


def _checked_path(path: str) -> str:
    parts = path.rstrip("/").split("/")
    if not path or any(part in ("", ".", "..", ".git") for part in parts) or any(ord(c) < 32 for c in path):
        raise HubError(422, f"Invalid path: {path!r}")
    return "/".join(parts)


def _refuse_clash(tree: Mapping[str, Entry], path: str) -> None:
    parts = path.split("/")
    if any("/".join(parts[:length]) in tree for length in range(1, len(parts))):
        raise HubError(422, f"Invalid path: {path!r} lies below a file")


def _delete(tree: dict[str, Entry], path: str) -> None:
    gone = [name for name in tree if name == path or name.startswith(path + "/")]
    if not gone:
        raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
    for name in gone:
        del tree[name]


def _ignored(path: str, gitignore: str | None) -> bool:
    patterns = [line.strip() for line in (gitignore or "").splitlines()]
    name = path.rsplit("/", 1)[-1]
    return any(
        fnmatchcase(path, pattern) or fnmatchcase(name, pattern) or path.startswith(pattern.rstrip("/") + "/")
        for pattern in patterns
        if pattern and not pattern.startswith("#")
    )


def _comment(text: str) -> dict[str, object]:
    return {"edited": False, "hidden": False, "latest": {"raw": text}}


ROUTES = (
    Route("POST", "api/{kind}/{ns}/{name}/preupload/{rev}", preupload),
    Route("POST", "api/{kind}/{ns}/{name}/commit/{rev}", commit),
)
