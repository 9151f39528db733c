"""uvicorn as a service in our own event loop: no signal handlers, no exit of the process."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from mode import Service
from starlette.types import ASGIApp

from gateway.connection import Observe, guarded
from gateway.parts import GatewayParts
from gateway.settings import GatewaySettings
from streams.errors import ConfigError

BACKLOG = 2_048
UNKNOWN = "unknown"


class QuietServer(uvicorn.Server):
    """uvicorn that leaves signals to the process it runs in, and tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield


class GatewayServer(Service):
    """Serves `app` until it is stopped; requests under way may end within `settings.stop_s`."""

    def __init__(self, app: ASGIApp, parts: GatewayParts) -> None:
        super().__init__()
        self._parts = parts
        self._settings = parts.settings
        self._app = app
        self._port = self._settings.port
        self._server: QuietServer | None = None
        self._ended = asyncio.Event()

    @property
    def port(self) -> int:
        """The bound port, also where the settings said 0."""
        return self._port

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = self._settings.host
        local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
        named = f"[{local}]" if ":" in local and not local.startswith("[") else local
        return f"http://{named}:{self.port}"

    async def on_start(self) -> None:
        """Start the parts, bind the port, serve. Raises ConfigError when the port is taken."""
        bound = bound_socket(self._settings)
        self._port = bound.getsockname()[1]
        await self._parts.maybe_start()
        self._server = QuietServer(server_config(self._app, self._settings, self._observe))
        self.add_future(self._serve(self._server, bound))
        await self._server.up.wait()

    async def on_stop(self) -> None:
        """Let waiting requests answer, end the others within the limit, then stop the parts."""
        await self._parts.watch.stop()
        await self._parts.feed.stop()
        if self._server is not None:
            self._server.should_exit = True
            await self._ended.wait()
        await self._parts.stop()

    def _observe(self, status: int) -> None:
        """Count what never reached the application."""
        self._parts.metrics.observe(UNKNOWN, UNKNOWN, status, 0.0)

    async def _serve(self, server: QuietServer, bound: socket.socket) -> None:
        try:
            await server.serve(sockets=[bound])
        finally:
            bound.close()
            server.up.set()  # also when it failed: nobody may wait for it for ever
            self._ended.set()


def bound_socket(settings: GatewaySettings) -> socket.socket:
    """A listening socket at the settings' host and port. Raises ConfigError naming both."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise ConfigError(f"the gateway cannot listen on {place}: {error.strerror}") from error


def server_config(app: ASGIApp, settings: GatewaySettings, observe: Observe) -> uvicorn.Config:
    """uvicorn as we want it: HTTP within limits, our own logging, no name of the software."""
    return uvicorn.Config(
        app,
        http=guarded(settings, observe),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.stop_s),
    )
