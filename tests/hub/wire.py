"""The transport: reads a request, lets faults and hooks act, sends an answer or breaks the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from aiohttp import web

from .answers import PLAIN_TEXT, Answer, Call, FilePart, error_answer
from .blobs import Spool
from .errors import HubError
from .faults import Fault
from .hooks import Hook, Phase
from .routing import Route, find_route
from .state import HubState
from .traffic import Category, RequestRecord

__all__ = ["Wire"]

BLOCK = 1 << 18
log = logging.getLogger(__name__)


class _Broken(Exception):
    """The connection was closed on purpose."""


class Wire:
    """One origin (a host and port) of the Hub."""

    def __init__(
        self,
        state: HubState,
        origin: Literal["hub", "storage"],
        routes: Sequence[Route],
        hook: Callable[[], Hook | None],
    ) -> None:
        self._state = state
        self._origin = origin
        self._routes = routes
        self._hook = hook

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = unquote(request.raw_path.split("?")[0])
        record = self._state.traffic.start(
            self._origin,
            _category(self._origin, request.method, path),
            request.method,
            path,
            request.raw_path,
            dict(request.query),
            request.headers,
        )
        fault = self._state.faults.match(self._origin, request.method, unquote(request.raw_path))
        record.fault = fault
        try:
            answer = await self._work(request, record, fault)
            await self._call_hook(record, "after")
            if fault is not None and fault.lose_answer:
                raise _Broken
            return await self._send(request, record, answer, fault.cut_answer if fault else None)
        except (_Broken, ConnectionError):
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=500)

    async def _call_hook(self, record: RequestRecord, phase: Phase) -> None:
        hook = self._hook()
        if hook is None:
            return
        if await asyncio.to_thread(hook, record, phase):
            raise _Broken

    async def _work(self, request: web.BaseRequest, record: RequestRecord, fault: Fault | None) -> Answer:
        large = self._origin == "storage" and request.method == "PUT"
        spool = self._state.store.blobs.spool() if large else None
        try:
            body = await self._read(request, record, fault, spool)
            await self._call_hook(record, "before")
            if fault is not None and fault.delay:
                await asyncio.sleep(fault.delay)
            if fault is not None and fault.drop:
                raise _Broken
            faulty = _faulty(fault, fault.status) if fault is not None and fault.status is not None else None
            if faulty is not None and not fault.works:
                return faulty
            upload = (spool.path, spool.finish(), spool.size) if spool else None
            try:
                answer = await self._answer(request, body, upload)
                return faulty or answer
            except HubError as error:
                return error_answer(error)
            except Exception:
                log.exception("%s %s", request.method, request.raw_path)
                return error_answer(HubError(500, "Internal error of the local Hub, see its log"))
        finally:
            if spool is not None:
                spool.close()

    async def _answer(self, request: web.BaseRequest, body: bytes, upload: tuple[Path, str, int] | None) -> Answer:
        if self._origin == "storage" and "Authorization" in request.headers:
            # A signed address and a token together are an error, as on any object storage.
            raise HubError(400, "Only one auth mechanism allowed")
        caller = self._state.accounts.caller(request.headers.get("Authorization"))
        found = find_route(self._routes, request.method, request.raw_path)
        if found is None:
            raise HubError(404, f"This Hub has no {request.method} {request.path}")
        handler, taken = found
        origin = f"{request.scheme}://{request.host}"
        call = Call(
            request.method,
            origin,
            request.raw_path,
            dict(request.query),
            request.headers,
            body,
            caller,
            upload,
        )
        return await handler(self._state, call, taken)

    async def _read(
        self, request: web.BaseRequest, record: RequestRecord, fault: Fault | None, spool: Spool | None
    ) -> bytes:
        # Always to the end: what is left unread would become the next request line of the connection.
        limit = fault.cut_request if fault else None
        if limit == 0:
            raise _Broken
        parts: list[bytes] = []
        async for chunk in request.content.iter_any():
            record.request_bytes += len(chunk)
            if spool is not None:
                spool.write(chunk)
            else:
                parts.append(chunk)
            if limit is not None and record.request_bytes >= limit:
                raise _Broken
        return b"".join(parts)

    async def _send(
        self, request: web.BaseRequest, record: RequestRecord, answer: Answer, cut: int | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = answer.length
        record.status = answer.status
        await response.prepare(request)
        if request.method != "HEAD":
            await _send_body(response, record, answer.body, cut)
        if cut is not None:
            raise _Broken
        await response.write_eof()
        return response


async def _send_body(
    response: web.StreamResponse, record: RequestRecord, body: bytes | FilePart, cut: int | None
) -> None:
    async def send(chunk: bytes) -> None:
        # Counted first: a client that has its answer may ask for the counters at once.
        record.response_bytes += len(chunk)
        await response.write(chunk)

    if isinstance(body, bytes):
        await send(body[:cut])
        return
    left = body.length if cut is None else min(cut, body.length)
    with body.path.open("rb") as file:
        file.seek(body.start)
        while left > 0:
            chunk = file.read(min(BLOCK, left))
            left -= len(chunk)
            await send(chunk)


def _faulty(fault: Fault, status: int) -> Answer:
    if fault.body is not None:
        return Answer(status, fault.body.encode(), {**PLAIN_TEXT, **fault.headers})
    return error_answer(HubError(status, f"Fault on demand: {status}", headers=fault.headers))


def _category(origin: str, method: str, path: str) -> Category:
    if origin == "storage":
        return "download" if method in ("GET", "HEAD") else "upload"
    return "resolve" if "/resolve/" in path or path.startswith("/api/resolve-cache/") else "api"
