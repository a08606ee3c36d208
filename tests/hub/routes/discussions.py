"""Discussions and pull requests: open, list, read, comment, rename, close, merge."""

from __future__ import annotations

import difflib
from typing import Any

from tests.hub.answers import Answer, Call, json_answer
from tests.hub.errors import HubError, repo_not_found
from tests.hub.objects import Commit, isoformat, new_commit
from tests.hub.repo import Discussion, Event, Repo
from tests.hub.routing import Route
from tests.hub.state import HubState

__all__ = ["ROUTES"]

At = dict[str, str]
PAGE = 50


async def create(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)
    author = _author(call)
    body = call.json()
    pull_request = bool(body.get("pullRequest"))
    status = "draft" if pull_request else "open"
    discussion = repo.open_discussion(body["title"], author, pull_request=pull_request, status=status)
    discussion.record("comment", author, _comment(body.get("description") or ""))
    if pull_request:
        repo.pulls[discussion.num] = repo.resolve("main").oid
    shown = {
        "num": discussion.num,
        "url": f"{call.origin}/{repo.url_path}/discussions/{discussion.num}",
        "pullRequest": pull_request,
    }
    if pull_request:
        shown["references"] = {"base": discussion.base, "head": f"refs/pr/{discussion.num}"}
    return json_answer(shown)


async def listing(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)
    kind = call.query.get("type", "all")
    status = call.query.get("status", "all")
    found = [
        discussion
        for discussion in sorted(repo.discussions.values(), key=lambda one: -one.num)
        if kind in ("all", "pull_request" if discussion.is_pull_request else "discussion")
        and (status == "all" or (discussion.status in ("open", "draft")) == (status == "open"))
        and call.query.get("author", discussion.author) == discussion.author
    ]
    start = int(call.query.get("p", "0")) * PAGE
    shown = [_summary(repo, discussion) for discussion in found[start : start + PAGE]]
    return json_answer({"discussions": shown, "count": len(found), "start": start})


async def details(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)
    discussion = repo.discussion(int(at["num"]))
    shown = _summary(repo, discussion) | {"events": [_event(event) for event in discussion.events]}
    if discussion.is_pull_request:
        shown |= {"changes": {"base": discussion.base}, "filesWithConflicts": []}
        if discussion.merge_commit:
            shown["changes"]["mergeCommitId"] = discussion.merge_commit
        if call.flag("diff"):
            shown["diff"] = _diff(state, repo, discussion)
    return json_answer(shown)


async def comment(state: HubState, call: Call, at: At) -> Answer:
    discussion = state.visible(call, at).discussion(int(at["num"]))
    event = discussion.record("comment", _author(call), _comment(call.json()["comment"]))
    return json_answer({"newMessage": _event(event)})


async def rename(state: HubState, call: Call, at: At) -> Answer:
    discussion = _own(state, call, at)
    title = call.json()["title"]
    event = discussion.record("title-change", _author(call), {"from": discussion.title, "to": title})
    discussion.title = title
    return json_answer({"newTitle": _event(event)})


async def change_status(state: HubState, call: Call, at: At) -> Answer:
    discussion = _own(state, call, at)
    body = call.json()
    discussion.status = body["status"]
    event = discussion.record("status-change", _author(call), {"status": body["status"]})
    if body.get("comment"):
        discussion.record("comment", _author(call), _comment(body["comment"]))
    return json_answer({"newStatus": _event(event)})


async def merge(state: HubState, call: Call, at: At) -> Answer:
    """A squash of what the pull request changed since it left its base."""
    repo = state.writable(call, at)
    discussion = repo.discussion(int(at["num"]))
    if not discussion.is_pull_request or discussion.status in ("merged", "closed"):
        raise HubError(400, "This pull request cannot be merged")
    with state.store.lock:
        head = repo.resolve(f"refs/pr/{discussion.num}")
        base = repo.resolve(discussion.base)
        fork = _fork(repo, discussion)
        tree = {path: entry for path, entry in base.tree.items() if path in head.tree or path not in fork.tree}
        tree |= {path: entry for path, entry in head.tree.items() if fork.tree.get(path) != entry}
        title = f"{discussion.title} (#{discussion.num})"
        merged = new_commit(state.store.serial, tree, (base.oid, head.oid), title, "", _author(call))
        repo.move(discussion.base, merged)
        discussion.merge_commit = merged.oid
        discussion.status = "merged"
        discussion.record("status-change", _author(call), {"status": "merged"})
    return json_answer({"pullRequest": True, "merged": True})


def _own(state: HubState, call: Call, at: At) -> Discussion:
    repo = state.visible(call, at)
    discussion = repo.discussion(int(at["num"]))
    state.writable(call, at, pull_request=discussion.author == call.caller.user)
    return discussion


def _author(call: Call) -> str:
    if call.caller.user is None:
        raise repo_not_found(anonymous=True)
    if not call.caller.may_open_pull_requests():
        raise HubError(403, "Forbidden: you must use a write token to take part in a discussion.")
    return call.caller.user


def _fork(repo: Repo, discussion: Discussion) -> Commit:
    base = {commit.oid for commit in repo.history(discussion.base)}
    return next(commit for commit in repo.history(f"refs/pr/{discussion.num}") if commit.oid in base)


def _summary(repo: Repo, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author, "type": "user"},
        "createdAt": isoformat(discussion.created_at),
        "status": discussion.status,
        "repo": {"name": repo.id, "type": repo.kind},
        "isPullRequest": discussion.is_pull_request,
        "pinned": False,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "author": {"name": event.author},
        "createdAt": isoformat(event.created_at),
        "data": event.data,
    }


def _comment(text: str) -> dict[str, object]:
    return {"edited": False, "hidden": False, "latest": {"raw": text}}


def _diff(state: HubState, repo: Repo, discussion: Discussion) -> str:
    head = repo.resolve(f"refs/pr/{discussion.num}").tree
    fork = _fork(repo, discussion).tree
    parts = []
    for path in sorted(set(head) | set(fork)):
        old, new = fork.get(path), head.get(path)
        if old != new and not any(entry is not None and entry.sha256 for entry in (old, new)):
            lines = [
                state.store.blobs.read(entry.oid).decode("utf-8", "replace").splitlines(keepends=True) if entry else []
                for entry in (old, new)
            ]
            parts.append("".join(difflib.unified_diff(lines[0], lines[1], f"a/{path}", f"b/{path}")))
    return "".join(parts)


ROUTES = (
    Route("POST", "api/{kind}/{ns}/{name}/discussions", create),
    Route("GET", "api/{kind}/{ns}/{name}/discussions", listing),
    Route("GET", "api/{kind}/{ns}/{name}/discussions/{num}", details),
    Route("POST", "api/{kind}/{ns}/{name}/discussions/{num}/comment", comment),
    Route("POST", "api/{kind}/{ns}/{name}/discussions/{num}/title", rename),
    Route("POST", "api/{kind}/{ns}/{name}/discussions/{num}/status", change_status),
    Route("POST", "api/{kind}/{ns}/{name}/discussions/{num}/merge", merge),
)
