"""From a raw path to a handler: split first, decode after, because a revision is one encoded segment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .answers import Answer, Call

if TYPE_CHECKING:
    from .state import HubState

__all__ = ["Handler", "Route", "find_route"]

Handler = Callable[["HubState", Call, dict[str, str]], Awaitable[Answer]]
KINDS = frozenset({"models", "datasets", "spaces"})


@dataclass(frozen=True)
class Route:
    """`{x}` takes one segment, `{kind}` one of models, datasets, spaces, and `*x` at the end takes the rest.

    A HEAD is answered by the GET route.
    """

    method: str
    pattern: str
    handler: Handler

    def match(self, segments: list[str]) -> dict[str, str] | None:
        wanted = self.pattern.split("/")
        taken: dict[str, str] = {}
        if wanted[-1].startswith("*"):
            if len(segments) < len(wanted):
                return None
            taken[wanted[-1][1:]] = "/".join(segments[len(wanted) - 1 :])
            wanted = wanted[:-1]
        elif len(segments) != len(wanted):
            return None
        for pattern, segment in zip(wanted, segments, strict=False):
            if pattern == "{kind}":
                if segment not in KINDS:
                    return None
                taken["kind"] = segment
            elif pattern.startswith("{"):
                name, _, suffix = pattern[1:].partition("}")
                if not segment.endswith(suffix) or segment == suffix:
                    return None
                taken[name] = segment.removesuffix(suffix)
            elif pattern != segment:
                return None
        return taken


def find_route(routes: Iterable[Route], method: str, raw_path: str) -> tuple[Handler, dict[str, str]] | None:
    segments = [unquote(segment) for segment in raw_path.split("?")[0].strip("/").split("/")]
    wanted = "GET" if method == "HEAD" else method
    for route in routes:
        if route.method == wanted:
            taken = route.match(segments)
            if taken is not None:
                return route.handler, taken
    return None
