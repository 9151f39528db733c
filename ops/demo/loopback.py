"""A small web server on a free port of this machine, in our own event loop."""

import asyncio
import socket

import uvicorn
from mode import Service
from starlette.types import ASGIApp

from gateway.server import QuietServer

HOST = "127.0.0.1"
STOP_S = 1


class LoopbackServer(Service):
    """Serves `app` while it runs; its port is bound from the beginning, so that it can be told."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._socket = socket.create_server((HOST, 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{HOST}:{self.port}"
        self._ended = asyncio.Event()
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = QuietServer(config)

    async def on_start(self) -> None:
        """Begin to serve."""
        self.add_future(self._serve())
        await self._server.up.wait()

    async def on_stop(self) -> None:
        """Let the requests under way end."""
        self._server.should_exit = True
        await self._ended.wait()

    async def _serve(self) -> None:
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._socket.close()
            self._ended.set()
            self._server.up.set()  # also when it failed: nobody may wait for it for ever
