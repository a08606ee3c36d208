"""Creating, deleting, describing and setting up repositories."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.hub.accounts import Caller
from tests.hub.answers import PLAIN_TEXT, Answer, Call, json_answer
from tests.hub.cards import card_data, tags_of
from tests.hub.errors import forbidden, repo_not_found
from tests.hub.objects import Commit, isoformat
from tests.hub.repo import Repo
from tests.hub.routing import Route
from tests.hub.state import HubState, require_write

__all__ = ["ROUTES"]

At = dict[str, str]


async def create(state: HubState, call: Call, at: At) -> Answer:
    body = call.json()
    repo = _requested(call, body)
    if body.get("visibility") == "private" or body.get("private"):
        repo.private = True
    repo.region = body.get("region") or "us"
    existing = state.store.repos.get(repo.key)
    if existing is not None and (not existing.private or call.caller.belongs_to(existing.namespace)):
        return _exists(call, existing)
    _require_namespace(call, repo)
    state.store.create(repo, _name(call.caller))
    return json_answer(_created(call, repo))


async def delete(state: HubState, call: Call, at: At) -> Answer:
    repo = _requested(call, call.json())
    state.writable(call, {"kind": f"{repo.kind}s", "ns": repo.namespace, "name": repo.id.split("/")[1]})
    del state.store.repos[repo.key]
    return json_answer({})


async def settings(state: HubState, call: Call, at: At) -> Answer:
    repo = state.writable(call, at)
    body = call.json()
    if "visibility" in body or "private" in body:
        repo.private = body.get("visibility") == "private" or bool(body.get("private"))
    if "gated" in body:
        repo.gated = body["gated"]
    return json_answer({"gated": repo.gated, "private": repo.private})


async def duplicate(state: HubState, call: Call, at: At) -> Answer:
    source = state.readable(call, at)
    body = call.json()
    repo = Repo(source.kind, body["repository"], private=body.get("visibility") == "private")
    if repo.key in state.store.repos:
        return _exists(call, repo)
    _require_namespace(call, repo)
    repo.commits = dict(source.commits)
    repo.branches = {"main": source.branches["main"]}
    repo.lfs = set(source.lfs)
    repo.without_xet = set(source.without_xet)
    state.store.repos[repo.key] = repo
    return json_answer({"url": f"{call.origin}/{repo.url_path}", "filesCopyPending": False})


async def info(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)
    commit = repo.resolve(at.get("rev", "main"))
    return json_answer(_describe(state, repo, commit, blobs=call.flag("blobs")), headers={"X-Repo-Commit": commit.oid})


async def listing(state: HubState, call: Call, at: At) -> Answer:
    kind = at["kind"].removesuffix("s")
    found = [
        repo
        for repo in state.store.repos.values()
        if repo.kind == kind
        and (not repo.private or call.caller.belongs_to(repo.namespace))
        and call.query.get("author", repo.namespace) == repo.namespace
        and call.query.get("search", "").lower() in repo.id.lower()
    ]
    limit = int(call.query.get("limit", "1000"))
    described = [_describe(state, repo, repo.resolve("main"), blobs=False) for repo in found[:limit]]
    return json_answer([{key: item[key] for key in item if key != "cardData"} for item in described])


async def page(state: HubState, call: Call, at: At) -> Answer:
    """What a browser sees at a repository's address: the card, as plain text."""
    repo = state.visible(call, at)
    tree = repo.resolve("main").tree
    card = state.store.read(tree["README.md"]) if "README.md" in tree else b""
    names = "\n".join(f"{entry.size:>12}  {path}" for path, entry in sorted(tree.items()))
    text = f"{repo.id}\n\n{names}\n\n".encode() + card
    return Answer(200, text, PLAIN_TEXT)


def _requested(call: Call, body: dict[str, Any]) -> Repo:
    if call.caller.token is None:
        raise repo_not_found(anonymous=True)
    namespace = body.get("organization") or _name(call.caller)
    return Repo(body.get("type") or "model", f"{namespace}/{body['name']}")


def _require_namespace(call: Call, repo: Repo) -> None:
    if call.caller.token is not None and call.caller.token.role == "read":
        require_write(call.caller, repo.namespace, repo.id)
    if not call.caller.may_write_in(repo.namespace):
        where = f'under the namespace "{repo.namespace}"'
        raise forbidden(f"You don't have the rights to create a {repo.kind} {where}")


def _name(caller: Caller) -> str:
    assert caller.user is not None
    return caller.user


def _exists(call: Call, repo: Repo) -> Answer:
    # The client parses a 409 like a 200 when told exist_ok, so it must carry the address.
    message = f"You already created this {repo.kind} repo: {repo.id}"
    body = {"error": message, "url": f"{call.origin}/{repo.url_path}"}
    return json_answer(body, 409, {"X-Error-Message": message})


def _created(call: Call, repo: Repo) -> dict[str, object]:
    return {"url": f"{call.origin}/{repo.url_path}", "name": repo.id, "id": _id(repo)}


def _id(repo: Repo) -> str:
    return hashlib.sha1(repo.key.encode()).hexdigest()[:24]


def _describe(state: HubState, repo: Repo, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    card = _card(state, commit)
    if card is not None and state.unparsed:
        state.unparsed, card = state.unparsed - 1, None
    newest = max((repo.commits[oid].date for oid in repo.branches.values()), default=repo.created_at)
    described: dict[str, Any] = {
        "_id": _id(repo),
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit.oid,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags_of(card),
        "createdAt": isoformat(repo.created_at),
        "lastModified": isoformat(newest),
        "siblings": [_sibling(path, commit, blobs=blobs) for path in sorted(commit.tree)],
        "usedStorage": sum(entry.size for entry in commit.tree.values()),
    }
    if repo.kind == "model":
        described["modelId"] = repo.id
    if card is not None:
        described["cardData"] = card
        for key in ("pipeline_tag", "library_name"):
            if key in card:
                described[key] = card[key]
    return described


def _card(state: HubState, commit: Commit) -> dict[str, Any] | None:
    readme = commit.tree.get("README.md")
    if readme is None or readme.sha256 is not None:
        return None
    data = card_data(state.store.blobs.read(readme.oid).decode("utf-8", "replace"))
    # Dates and the like have no JSON form; the Hub shows them as text.
    return None if data is None else _jsonable(data)


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _sibling(path: str, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    entry = commit.tree[path]
    sibling: dict[str, Any] = {"rfilename": path}
    if blobs:
        sibling |= {"size": entry.size, "blobId": entry.oid}
        if entry.sha256:
            sibling["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return sibling


ROUTES = (
    Route("POST", "api/repos/create", create),
    Route("DELETE", "api/repos/delete", delete),
    Route("GET", "api/{kind}", listing),
    Route("GET", "api/{kind}/{ns}/{name}", info),
    Route("GET", "api/{kind}/{ns}/{name}/revision/{rev}", info),
    Route("PUT", "api/{kind}/{ns}/{name}/settings", settings),
    Route("POST", "api/{kind}/{ns}/{name}/duplicate", duplicate),
    Route("GET", "{kind}/{ns}/{name}", page),
    Route("GET", "{ns}/{name}", page),
)
