"""One HTTP server in a thread with its own event loop, so that a test in the main thread can talk to it."""

from __future__ import annotations

import asyncio
import threading

from aiohttp import web

from .wire import Wire

__all__ = ["ServerThread"]

# Long enough for no client to meet a connection that was closed for idleness.
KEEP_ALIVE = 600.0
# A request that waits on purpose (a delay) must not hold up the end.
PATIENCE = 0.2


class ServerThread:
    """Serves one origin on a port of 127.0.0.1; port 0 takes a free one."""

    def __init__(self, wire: Wire, port: int) -> None:
        self._wire = wire
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="local-hub", daemon=True)
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._url = ""
        self._failure: OSError | None = None

    def start(self) -> str:
        """The address, as soon as it answers. Raises OSError where the port is taken."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self._url

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()
            self._started.set()

    async def _serve(self) -> None:
        server = web.Server(self._wire, keepalive_timeout=KEEP_ALIVE)
        runner = web.ServerRunner(server, shutdown_timeout=PATIENCE)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
        except OSError as error:
            self._failure = error
        else:
            self._url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._started.set()
            await self._stop.wait()
        await runner.cleanup()
