"""The LFS batch call, its verification, and copying large files between repositories on the server."""

from __future__ import annotations

import math
import re
from typing import Any

from tests.hub.answers import Answer, Call, json_answer
from tests.hub.errors import HubError
from tests.hub.repo import Repo
from tests.hub.routing import Route
from tests.hub.state import HubState

__all__ = ["ROUTES"]

At = dict[str, str]
LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}
SHA256 = re.compile(r"^[0-9a-f]{64}$")
MAX_DUPLICATES = 1000


async def batch(state: HubState, call: Call, at: At) -> Answer:
    body = call.json()
    # Without a `ref` the client is about to open a pull request.
    repo = state.writable(call, at, pull_request=_for_pull_request(body))
    transfer = "basic"
    objects: list[dict[str, Any]] = []
    for wanted in body["objects"]:
        sha256, size = wanted["oid"], wanted["size"]
        item: dict[str, Any] = {"oid": sha256, "size": size}
        if not SHA256.match(sha256):
            item["error"] = {"code": 422, "message": "Invalid oid"}
        elif sha256 not in repo.lfs:
            multipart = size > state.settings.multipart_threshold and "multipart" in body.get("transfers", [])
            transfer = "multipart" if multipart else transfer
            item["actions"] = _actions(state, call, repo, sha256, size, multipart=multipart)
        objects.append(item)
    return json_answer({"transfer": transfer, "objects": objects}, headers=LFS_JSON)


async def verify(state: HubState, call: Call, at: At) -> Answer:
    body = call.json()
    repo = state.writable(call, at, pull_request=True)
    known = state.store.lfs.get(body["oid"])
    if known is None or body["oid"] not in repo.lfs:
        raise HubError(404, "Object does not exist")
    if known.size != body["size"]:
        raise HubError(400, f"Object has size {known.size}, expected {body['size']}")
    return json_answer({}, headers=LFS_JSON)


async def duplicate(state: HubState, call: Call, at: At) -> Answer:
    """Make objects of this repository known to another one. No content moves."""
    source = state.readable(call, at)
    body = call.json()
    target = _target(state, call, body["target"])
    files = body["files"]
    if len(files) > MAX_DUPLICATES:
        raise HubError(400, f'"files" must contain at most {MAX_DUPLICATES} items')
    failed = []
    for file in files:
        error = _refusal(state, source, target, file)
        if error is None:
            target.lfs.add(file["sha256"])
        else:
            failed.append({"xetHash": file["xetHash"], "sha256": file["sha256"], "error": error})
    answer = {
        "success": not failed,
        "processed": len(files),
        "succeeded": len(files) - len(failed),
        "failed": failed,
    }
    return json_answer(answer, 207 if failed else 200)


def _for_pull_request(body: dict[str, Any]) -> bool:
    return str(body.get("ref", {}).get("name", "refs/pr/")).startswith("refs/pr/")


def _actions(
    state: HubState, call: Call, repo: Repo, sha256: str, size: int, *, multipart: bool
) -> dict[str, dict[str, Any]]:
    def address(purpose: str, *parts: object) -> str:
        signature = state.signature(purpose, repo.key, sha256, *parts)
        tail = "".join(f"/{part}" for part in parts)
        return f"{state.storage_url}/{sha256}{tail}?repo={repo.key}&signature={signature}"

    prefix = "" if repo.kind == "model" else f"{repo.kind}s/"
    actions: dict[str, dict[str, Any]] = {
        "verify": {"href": f"{call.origin}/{prefix}{repo.id}.git/info/lfs/objects/verify", "header": {}},
    }
    if not multipart:
        actions["upload"] = {"href": address("put"), "header": {}}
        return actions
    step = state.settings.part_size
    header = {"chunk_size": str(step)}
    for number in range(1, math.ceil(size / step) + 1):
        header[str(number)] = address("part", number)
    actions["upload"] = {"href": address("complete"), "header": header}
    return actions


def _target(state: HubState, call: Call, target: dict[str, str]) -> Repo:
    namespace, _, name = target["name"].partition("/")
    at = {"kind": f"{target['type']}s", "ns": namespace, "name": name}
    return state.writable(call, at, pull_request=not state.settings.duplicate_needs_write)


def _refusal(state: HubState, source: Repo, target: Repo, file: dict[str, str]) -> str | None:
    for refusal in state.refusals:
        if re.fullmatch(refusal.source, source.id) and re.fullmatch(refusal.path, file["filename"]):
            return refusal.error
    if source.region != target.region:
        return "Cannot duplicate files between repositories in different storage regions"
    known = state.store.lfs.get(file["sha256"])
    if known is None or file["sha256"] not in source.lfs or known.xet_hash != file["xetHash"]:
        return "File not found in source repository"
    return None


ROUTES = (
    Route("POST", "{kind}/{ns}/{name}.git/info/lfs/objects/batch", batch),
    Route("POST", "{ns}/{name}.git/info/lfs/objects/batch", batch),
    Route("POST", "{kind}/{ns}/{name}.git/info/lfs/objects/verify", verify),
    Route("POST", "{ns}/{name}.git/info/lfs/objects/verify", verify),
    Route("POST", "api/{kind}/{ns}/{name}/lfs-files/duplicate", duplicate),
)
