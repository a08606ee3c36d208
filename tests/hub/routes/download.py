"""Files on their way out: /resolve, the cache behind it, and tokens for chunk storage."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

from tests.hub.answers import PLAIN_TEXT, Answer, Call, FilePart, json_answer
from tests.hub.errors import entry_not_found
from tests.hub.objects import Commit, Entry
from tests.hub.repo import Repo
from tests.hub.routing import Route
from tests.hub.state import HubState

__all__ = ["ROUTES", "file_answer"]

At = dict[str, str]
TOKEN_LIFETIME = 6 * 3600


async def resolve(state: HubState, call: Call, at: At) -> Answer:
    repo = state.readable(call, at)
    commit = repo.resolve(at["rev"])
    entry = _entry(commit, at["path"])
    if entry.sha256 is not None:
        return _to_storage(state, call, repo, commit, entry)
    path = quote(at["path"])
    headers = {
        "Location": f"/api/resolve-cache/{repo.key}/{commit.oid}/{path}?etag=%22{entry.oid}%22",
        "X-Repo-Commit": commit.oid,
        "X-Linked-Etag": f'"{entry.oid}"',
        "X-Linked-Size": str(entry.size),
        "Accept-Ranges": "bytes",
    }
    return Answer(307, b"", headers)


async def resolve_cache(state: HubState, call: Call, at: At) -> Answer:
    repo = state.readable(call, at)
    commit = repo.resolve(at["rev"])
    entry = _entry(commit, at["path"])
    path = state.store.blobs.regular / entry.oid
    headers = {
        "ETag": f'"{entry.oid}"',
        "X-Repo-Commit": commit.oid,
        **PLAIN_TEXT,
    }
    return file_answer(call, FilePart(path, 0, entry.size), headers)


async def xet_read_token(state: HubState, call: Call, at: At) -> Answer:
    repo = state.readable(call, at)
    commit = repo.resolve(at["rev"])
    await asyncio.to_thread(state.store.ensure_in_xet, commit)
    return await _xet_token(state, repo, writable=False)


async def xet_write_token(state: HubState, call: Call, at: At) -> Answer:
    repo = state.writable(call, at, pull_request=call.flag("create_pr") or at["rev"].startswith("refs/pr/"))
    return await _xet_token(state, repo, writable=True)


async def _xet_token(state: HubState, repo: Repo, *, writable: bool) -> Answer:
    lane = await asyncio.to_thread(state.store.xet.open_lane, repo.key, writable=writable)
    token = f"xet_{state.signature(lane.url)}"
    expires = int(time.time()) + TOKEN_LIFETIME
    headers = {
        "X-Xet-Cas-Url": lane.url,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
    }
    return json_answer({"casUrl": lane.url, "accessToken": token, "exp": expires}, headers=headers)


def file_answer(call: Call, whole: FilePart, headers: dict[str, str]) -> Answer:
    """A file, or the part of it that a Range header asks for."""
    headers = {"Accept-Ranges": "bytes", **headers}
    asked = call.headers.get("Range", "")
    if not asked.startswith("bytes="):
        return Answer(200, whole, headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if first:
        start, end = int(first), min(int(last) if last else whole.length - 1, whole.length - 1)
    else:
        start, end = max(whole.length - int(last), 0), whole.length - 1
    if start > end:
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{whole.length}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{whole.length}"
    return Answer(206, FilePart(whole.path, start, end - start + 1), headers)


def _entry(commit: Commit, path: str) -> Entry:
    if path not in commit.tree:
        raise entry_not_found(plain=True)
    return commit.tree[path]


def _to_storage(state: HubState, call: Call, repo: Repo, commit: Commit, entry: Entry) -> Answer:
    assert entry.sha256 is not None
    signature = state.signature("get", entry.sha256)
    headers = {
        "Location": f"{state.storage_url}/{entry.sha256}?signature={signature}",
        "X-Repo-Commit": commit.oid,
        "X-Linked-Etag": f'"{entry.sha256}"',
        "X-Linked-Size": str(entry.size),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
    }
    xet_hash = state.store.xet_hash(repo, entry)
    if xet_hash:
        base = f"{call.origin}/api/{repo.key}"
        headers["X-Xet-Hash"] = xet_hash
        headers["Link"] = (
            f'<{base}/xet-read-token/{commit.oid}>; rel="xet-auth", '
            f'<{state.storage_url}/reconstructions/{xet_hash}>; rel="xet-reconstruction-info"'
        )
    return Answer(302, b"", headers)


ROUTES = (
    Route("GET", "{kind}/{ns}/{name}/resolve/{rev}/*path", resolve),
    Route("GET", "{ns}/{name}/resolve/{rev}/*path", resolve),
    Route("GET", "api/resolve-cache/{kind}/{ns}/{name}/{rev}/*path", resolve_cache),
    Route("GET", "api/{kind}/{ns}/{name}/xet-read-token/{rev}", xet_read_token),
    Route("GET", "api/{kind}/{ns}/{name}/xet-write-token/{rev}", xet_write_token),
)
