"""Runs the simulator on a port, and takes it off the air when a fault says so."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ops.sim_ollama.app import build
from ops.sim_ollama.models import SimConfig

DEFAULT_PORT = 11_434


def serve(
    host: str = "127.0.0.1", port: int = DEFAULT_PORT, config: SimConfig | None = None
) -> None:
    """Run the simulator until SIGINT or SIGTERM. Raises OSError when the port is taken."""
    asyncio.run(SimServer(host, port, config).run())


class SimServer:
    """One simulator on one port; `port` 0 picks a free one at once."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, config: SimConfig | None = None
    ) -> None:
        """Bind the port, so that `url` can be told before `run`."""
        self._host = host
        self._socket: socket.socket | None = _listener(host, port)
        self._port = self._socket.getsockname()[1]
        self._app = build(config, self._cut_power)
        self._server: uvicorn.Server | None = None
        self._down_s: float | None = None
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{self._host}:{self._port}"

    async def run(self) -> None:
        """Serve until stopped, with a pause at every fault that closes the listener."""
        while not self._stopped.is_set():
            listener = self._socket or _listener(self._host, self._port)
            self._socket = None
            self._down_s = None
            self._server = uvicorn.Server(self._uvicorn_config())
            self._server.should_exit = self._stopped.is_set()
            await self._server.serve(sockets=[listener])
            if self._down_s is None:
                return
            await asyncio.sleep(self._down_s)

    def stop(self) -> None:
        """Make `run` return; safe to call from another thread."""
        self._stopped.set()
        if self._server is not None:
            self._server.force_exit = True
            self._server.should_exit = True

    @contextmanager
    def in_thread(self) -> Iterator[str]:
        """Serve in a thread of this process, for tests; gives the URL."""
        thread = threading.Thread(target=lambda: asyncio.run(self.run()), name="sim-ollama")
        thread.start()
        try:
            yield self.url
        finally:
            self.stop()
            thread.join()

    def _cut_power(self, seconds: float, drop_connections: bool) -> None:
        assert self._server is not None
        self._down_s = seconds
        for listening in self._server.servers:
            listening.close()
        if drop_connections:
            for connection in list(self._server.server_state.connections):
                connection.transport.close()
        self._server.force_exit = True
        self._server.should_exit = True

    def _uvicorn_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app, log_config=None, access_log=False, lifespan="off", server_header=False
        )


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128)
    # asyncio sets it for sockets that name their protocol only; without it each answer takes 40 ms
    # more. What is accepted inherits it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
