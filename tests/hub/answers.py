"""What a handler is given and what it returns: the request as a value, the answer as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .accounts import Caller
from .errors import HubError

__all__ = ["PLAIN_TEXT", "Answer", "Call", "FilePart", "error_answer", "json_answer"]


PLAIN_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


@dataclass(frozen=True)
class FilePart:
    """A body that is sent from disk."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes | FilePart = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)


@dataclass(frozen=True)
class Call:
    """One request, read completely. `origin` is where it was sent, such as http://127.0.0.1:1234."""

    method: str
    origin: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    caller: Caller
    upload: tuple[Path, str, int] | None = None

    def json(self) -> Any:
        try:
            return json.loads(self.body or b"null")
        except ValueError:
            raise HubError(400, "The body is not JSON") from None

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true")


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    content = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Answer(status, json.dumps(value).encode(), content)


def error_answer(error: HubError) -> Answer:
    headers = {"X-Error-Message": error.message.splitlines()[0], **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    if error.plain:
        return Answer(error.status, error.message.encode(), {**PLAIN_TEXT, **headers})
    return json_answer({"error": error.message, **error.extra}, error.status, headers)
