"""What travelled: a numbered log of requests and the bytes of each, by kind."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Bytes", "Category", "RequestRecord", "Traffic"]

Category = Literal["api", "resolve", "upload", "download"]


@dataclass
class RequestRecord:
    """One request. `path` is decoded and without the query; bytes are those of the bodies, as sent."""

    number: int
    origin: str
    category: Category
    method: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    request_bytes: int = 0
    response_bytes: int = 0
    status: int | None = None
    fault: object | None = None

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")

    def __str__(self) -> str:
        size = f"{self.request_bytes} B in, {self.response_bytes} B out"
        return f"{self.number:3d} {self.origin:7s} {self.method:6s} {self.path} -> {self.status} ({size})"


@dataclass(frozen=True)
class Bytes:
    """Sums since the last reset. `xet_stored` is what clients wrote into chunk storage."""

    requests: int
    api_sent: int
    api_received: int
    lfs_uploaded: int
    downloaded: int
    xet_stored: int

    @property
    def uploaded(self) -> int:
        """Everything that left a client: request bodies, LFS uploads and chunks."""
        return self.api_sent + self.lfs_uploaded + self.xet_stored


@dataclass
class Traffic:
    requests: list[RequestRecord] = field(default_factory=list)
    _xet_before: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(
        self,
        origin: str,
        category: Category,
        method: str,
        path: str,
        raw_path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> RequestRecord:
        with self._lock:
            record = RequestRecord(len(self.requests) + 1, origin, category, method, path, raw_path, query, headers)
            self.requests.append(record)
            return record

    def reset(self, xet_stored: int) -> None:
        with self._lock:
            self.requests.clear()
            self._xet_before = xet_stored

    def sums(self, xet_stored: int) -> Bytes:
        with self._lock:
            records = list(self.requests)
        hub = [record for record in records if record.origin == "hub"]
        storage = [record for record in records if record.origin == "storage"]
        return Bytes(
            requests=len(records),
            api_sent=sum(record.request_bytes for record in hub),
            api_received=sum(record.response_bytes for record in hub if record.category == "api"),
            lfs_uploaded=sum(record.request_bytes for record in storage),
            downloaded=sum(record.response_bytes for record in storage)
            + sum(record.response_bytes for record in hub if record.category == "resolve"),
            xet_stored=xet_stored - self._xet_before,
        )
