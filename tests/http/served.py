"""A gateway behind a real socket, on a free port."""

import httpx
from redis.asyncio import Redis

from gateway.app import build_app
from gateway.parts import GatewayParts
from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from tests.http.edge import card, make_keys, stores

ANY_PORT = GatewaySettings(port=0, body_max_bytes=10_000, stop_s=5.0)


class Served:
    """Start it as a context manager; `keys` are by role, `key` is an app's."""

    def __init__(
        self, redis: Redis, reading: Redis, settings: GatewaySettings = ANY_PORT, **given: object
    ) -> None:
        self.stores = stores(redis, reading)
        checks = {"redis": redis.ping}
        self.parts = GatewayParts(settings, self.stores, checks=checks, **given)  # type: ignore[arg-type]
        self.server = GatewayServer(build_app(self.parts), self.parts)
        self.keys: dict[str, str] = {}
        self.key = ""

    async def __aenter__(self) -> "Served":
        self.keys = await make_keys(self.stores.directory)
        self.key = self.keys["app"]
        await self.stores.directory.publish_processor(card())
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    def client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.server.url, headers=headers, timeout=10.0)
