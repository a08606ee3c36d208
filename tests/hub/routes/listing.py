"""What is in a repository: trees, paths, commits, references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from tests.hub.answers import Answer, Call, json_answer
from tests.hub.errors import HubError, entry_not_found
from tests.hub.objects import Commit, Entry, folder_oid, isoformat
from tests.hub.repo import Repo
from tests.hub.routing import Route
from tests.hub.state import HubState

__all__ = ["ROUTES"]

At = dict[str, str]


async def tree(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)
    commit = repo.resolve(at["rev"])
    folder = at.get("path", "").strip("/")
    items = _inside(commit, folder, recursive=call.flag("recursive"))
    if folder and not items:
        raise entry_not_found(f"{folder} does not exist on {at['rev']}")
    expand = call.flag("expand")
    size = state.settings.expanded_page_size if expand else state.settings.tree_page_size
    start = int(call.query.get("cursor", "0"))
    described = [_describe(state, repo, commit, path, expand=expand) for path in items[start : start + size]]
    headers = {"X-Repo-Commit": commit.oid}
    if start + size < len(items):
        headers["Link"] = _next_page(call, {**call.query, "cursor": str(start + size)})
    return json_answer(described, headers=headers)


async def paths_info(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)
    commit = repo.resolve(at["rev"])
    if "json" in call.headers.get("Content-Type", ""):
        body = call.json()
        paths, expand = body.get("paths", []), bool(body.get("expand"))
    else:
        form = call.form()
        paths, expand = form.get("paths", []), form.get("expand", [""])[-1].lower() in ("true", "1")
    wanted = [path.strip("/") for path in ([paths] if isinstance(paths, str) else paths)]
    known = [path for path in wanted if path in commit.tree or _is_folder(commit.tree, path)]
    return json_answer([_describe(state, repo, commit, path, expand=expand) for path in known])


async def commits(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)
    history = list(repo.history(at["rev"]))
    size = state.settings.commit_page_size
    page = int(call.query.get("p", "0"))
    shown = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "date": isoformat(commit.date),
            "authors": [{"user": commit.author, "_id": commit.author}],
        }
        for commit in history[page * size : (page + 1) * size]
    ]
    headers = {"X-Total-Count": str(len(history))}
    if (page + 1) * size < len(history):
        headers["Link"] = _next_page(call, {**call.query, "p": str(page + 1)})
    return json_answer(shown, headers=headers)


async def refs(state: HubState, call: Call, at: At) -> Answer:
    repo = state.visible(call, at)

    def reference(name: str, ref: str, oid: str) -> dict[str, str]:
        return {"name": name, "ref": ref, "targetCommit": oid}

    shown: dict[str, Any] = {
        "branches": [reference(name, f"refs/heads/{name}", oid) for name, oid in sorted(repo.branches.items())],
        "converts": [],
        "tags": [reference(name, f"refs/tags/{name}", oid) for name, oid in sorted(repo.tags.items())],
    }
    if call.flag("include_prs"):
        shown["pullRequests"] = [
            reference(f"refs/pr/{number}", f"refs/pr/{number}", oid) for number, oid in sorted(repo.pulls.items())
        ]
    return json_answer(shown)


async def create_branch(state: HubState, call: Call, at: At) -> Answer:
    repo = state.writable(call, at)
    name = at["branch"]
    if name in repo.branches:
        raise HubError(409, f"Reference refs/heads/{name} already exists")
    body = call.json() or {}
    repo.branches[name] = repo.resolve(body.get("startingPoint") or "main").oid
    return json_answer({})


async def delete_branch(state: HubState, call: Call, at: At) -> Answer:
    repo = state.writable(call, at)
    name = at["branch"]
    if name == "main":
        raise HubError(403, "Cannot delete refs/heads/main")
    if repo.branches.pop(name, None) is None:
        raise HubError(404, f"Reference refs/heads/{name} does not exist", "RevisionNotFound")
    return json_answer({})


async def create_tag(state: HubState, call: Call, at: At) -> Answer:
    repo = state.writable(call, at)
    name = call.json()["tag"]
    if name in repo.tags:
        raise HubError(409, f"Tag reference exists already: refs/tags/{name}")
    repo.tags[name] = repo.resolve(at["rev"]).oid
    return json_answer({})


async def delete_tag(state: HubState, call: Call, at: At) -> Answer:
    repo = state.writable(call, at)
    if repo.tags.pop(at["rev"], None) is None:
        raise HubError(404, f"Reference refs/tags/{at['rev']} does not exist", "RevisionNotFound")
    return json_answer({})


def _inside(commit: Commit, folder: str, *, recursive: bool) -> list[str]:
    """Paths of files and folders below `folder`, folders included as the Hub lists them."""
    prefix = f"{folder}/" if folder else ""
    found: set[str] = set()
    for path in commit.tree:
        if path.startswith(prefix):
            parts = path[len(prefix) :].split("/")
            depth = len(parts) if recursive else 1
            found.update(prefix + "/".join(parts[: length + 1]) for length in range(depth))
    return sorted(found)


def _is_folder(files: Mapping[str, Entry], path: str) -> bool:
    return any(name.startswith(path + "/") for name in files)


def _describe(state: HubState, repo: Repo, commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    entry = commit.tree.get(path)
    item: dict[str, Any]
    if entry is None:
        item = {"type": "directory", "oid": folder_oid(commit.tree, path), "size": 0, "path": path}
    else:
        item = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
        if entry.sha256:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
            xet_hash = state.store.xet_hash(repo, entry)
            if xet_hash:
                item["xetHash"] = xet_hash
    if expand:
        last = repo.last_change(commit, path)
        item["lastCommit"] = {"id": last.oid, "title": last.title, "date": isoformat(last.date)}
        if entry is not None:
            item["securityFileStatus"] = {"status": "unscanned", "avScan": None, "pickleImportScan": None}
    return item


def _next_page(call: Call, query: Mapping[str, str]) -> str:
    return f'<{call.origin}{call.raw_path.split("?")[0]}?{urlencode(query)}>; rel="next"'


ROUTES = (
    Route("GET", "api/{kind}/{ns}/{name}/tree/{rev}", tree),
    Route("GET", "api/{kind}/{ns}/{name}/tree/{rev}/*path", tree),
    Route("POST", "api/{kind}/{ns}/{name}/paths-info/{rev}", paths_info),
    Route("GET", "api/{kind}/{ns}/{name}/commits/{rev}", commits),
    Route("GET", "api/{kind}/{ns}/{name}/refs", refs),
    Route("POST", "api/{kind}/{ns}/{name}/branch/{branch}", create_branch),
    Route("DELETE", "api/{kind}/{ns}/{name}/branch/{branch}", delete_branch),
    Route("POST", "api/{kind}/{ns}/{name}/tag/{rev}", create_tag),
    Route("DELETE", "api/{kind}/{ns}/{name}/tag/{rev}", delete_tag),
)
