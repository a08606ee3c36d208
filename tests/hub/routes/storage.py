"""The other origin: large files come and go here by signed addresses, never with a token."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import closing
from pathlib import Path

from tests.hub.answers import Answer, Call, FilePart, json_answer
from tests.hub.errors import HubError
from tests.hub.routing import Route
from tests.hub.state import HubState

from .download import file_answer

__all__ = ["ROUTES"]

At = dict[str, str]


async def get(state: HubState, call: Call, at: At) -> Answer:
    sha256 = at["sha256"]
    _check(state, call, "get", sha256)
    path = await asyncio.to_thread(state.store.ensure_on_disk, sha256)
    known = state.store.lfs[sha256]
    headers = {"ETag": f'"{known.xet_hash or sha256}"', "Content-Type": "application/octet-stream"}
    return file_answer(call, FilePart(path, 0, known.size), headers)


async def put(state: HubState, call: Call, at: At) -> Answer:
    """The whole file in one request."""
    key, sha256 = call.query.get("repo", ""), at["sha256"]
    _check(state, call, "put", key, sha256)
    assert call.upload is not None
    path, received, size = call.upload
    if received != sha256:
        raise HubError(400, f"The content's sha256 is {received}, expected {sha256}")
    path.replace(state.store.blobs.lfs / sha256)
    await _keep(state, key, sha256, size)
    return Answer(200, b"", {"ETag": f'"{sha256}"'})


async def put_part(state: HubState, call: Call, at: At) -> Answer:
    key, sha256, number = call.query.get("repo", ""), at["sha256"], int(at["part"])
    _check(state, call, "part", key, sha256, number)
    assert call.upload is not None
    path, received, _ = call.upload
    path.replace(_part(state, sha256, number))
    state.multipart.setdefault(sha256, {})[number] = received
    return Answer(200, b"", {"ETag": f'"{received}"'})


async def complete(state: HubState, call: Call, at: At) -> Answer:
    key, sha256 = call.query.get("repo", ""), at["sha256"]
    _check(state, call, "complete", key, sha256)
    received = state.multipart.get(sha256, {})
    listed = {part["partNumber"]: part["etag"].strip('"') for part in call.json()["parts"]}
    if listed != received or sorted(listed) != list(range(1, len(listed) + 1)):
        raise HubError(400, "One or more of the specified parts could not be found")
    size = await asyncio.to_thread(_join, state, sha256, len(listed))
    del state.multipart[sha256]
    await _keep(state, key, sha256, size)
    return json_answer({"success": True})


def _join(state: HubState, sha256: str, parts: int) -> int:
    with closing(state.store.blobs.spool()) as spool:
        for number in range(1, parts + 1):
            path = _part(state, sha256, number)
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    spool.write(chunk)
            path.unlink()
        if spool.finish() != sha256:
            raise HubError(400, f"The parts do not make up {sha256}")
        state.store.blobs.keep(spool, sha256)
        return spool.size


async def _keep(state: HubState, key: str, sha256: str, size: int) -> None:
    repo = state.store.get(key)
    await asyncio.to_thread(state.store.received, repo, sha256, size, xet=state.settings.xet_for_lfs_uploads)


def _part(state: HubState, sha256: str, number: int) -> Path:
    return state.store.blobs.incoming / f"{sha256}.part{number}"


def _check(state: HubState, call: Call, *signed: object) -> None:
    if not hmac.compare_digest(call.query.get("signature", ""), state.signature(*signed)):
        raise HubError(403, "The signature does not match")


ROUTES = (
    Route("GET", "{sha256}", get),
    Route("PUT", "{sha256}", put),
    Route("PUT", "{sha256}/{part}", put_part),
    Route("POST", "{sha256}", complete),
)
