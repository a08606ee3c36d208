"""How long each request to the Hub may take: the client's request hook reads it, commands set its seconds.

The hook is part of the client's factory, and the factory belongs to the process. So only `patcher.__main__` asks for
it, with `install = True`; the module that talks to the Hub installs it then when it is imported, because `--help` and
most commands never import the client. A library that publishes calls `patcher.publish.hub.install_time_limit` itself,
or keeps the client's own time limits.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RequestLimit:
    """`seconds` without an answer end a request (None: the client's own limit); `install` asks for the hook."""

    seconds: float | None = None
    install: bool = False


REQUEST_LIMIT = RequestLimit()
