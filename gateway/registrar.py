"""What may be done to an endpoint, for the API and the command line alike.

Secrets are made here, sealed before they leave, and told once.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gateway.sealing import Seals, SealSettings, live_secrets
from gateway.signing import new_secret
from streams.callbacks import CallbackFilter, CallbackState, CallbackStore
from streams.clock import Clock, SystemClock
from streams.directory import Endpoint
from streams.endpoints import EndpointHealth
from streams.ids import base32
from streams.model import State

OVERLAP_S = 86_400.0
ENABLE_MAX = 10_000  # dead letters that an enable delivers again


class Standing(msgspec.Struct, frozen=True):
    """An endpoint as it is registered, and how it fares."""

    endpoint: Endpoint
    health: EndpointHealth


class Registrar:
    """Registers and changes endpoints. Methods may raise errors.Unavailable, also for lack of the
    key that seals; those for one endpoint answer None when there is none of that id."""

    def __init__(
        self,
        callbacks: CallbackStore,
        seals: Seals | None = None,
        *,
        overlap_s: float = OVERLAP_S,
        clock: Clock | None = None,
    ) -> None:
        self.store = callbacks.endpoints
        self._callbacks = callbacks
        self.seals = seals or Seals(Path(SealSettings().key_file))
        self._overlap_ms = round(overlap_s * 1_000)
        self._clock = clock or SystemClock()

    async def create(
        self, app: str, url: str, events: Iterable[State], *, ordered: bool = False
    ) -> tuple[Standing, str]:
        """Register an endpoint; with its secret, which is told this once."""
        endpoint_id, secret = f"ep_{base32(secrets.randbits(80), 16)}", new_secret()
        endpoint = Endpoint(
            id=endpoint_id,
            app=app,
            url=url,
            secrets=(self.seals.seal(secret, endpoint_id),),
            events=tuple(events),
            created_ms=self._clock.now_ms(),
            ordered=ordered,
        )
        await self.store.put(endpoint)
        return Standing(endpoint, EndpointHealth()), secret

    async def find(self, endpoint_id: str) -> Standing | None:
        """One endpoint and how it fares."""
        return await self._standing(await self.store.get(endpoint_id))

    async def all(self) -> list[Standing]:
        """Every endpoint, oldest first."""
        found = (await self.store.all()).values()
        endpoints = sorted(found, key=lambda one: (one.created_ms, one.id))
        health = await self.store.health(one.id for one in endpoints)
        return [Standing(one, health[one.id]) for one in endpoints]

    async def change(self, endpoint_id: str, **fields: object) -> Standing | None:
        """Change URL, events or order; what is None stays."""
        given = {name: value for name, value in fields.items() if value is not None}

        def changed(endpoint: Endpoint) -> Endpoint:
            return self.seals.resealed(msgspec.structs.replace(endpoint, **given))

        return await self._standing(await self.store.change(endpoint_id, changed))

    async def rotate(
        self, endpoint_id: str, *, drop_previous: bool = False
    ) -> tuple[Standing, str] | None:
        """A new secret. The one before signs on for the overlap, unless it is dropped at once."""
        secret = new_secret()
        now_ms = self._clock.now_ms()
        until_ms = 0 if drop_previous else now_ms + self._overlap_ms

        def rotated(endpoint: Endpoint) -> Endpoint:
            kept = () if drop_previous else live_secrets(endpoint, now_ms)[:1]
            made = (self.seals.seal(secret, endpoint.id), *kept)
            changed = msgspec.structs.replace(
                endpoint, secrets=made, previous_until_ms=until_ms if kept else 0
            )
            return self.seals.resealed(changed)

        standing = await self._standing(await self.store.change(endpoint_id, rotated))
        return None if standing is None else (standing, secret)

    async def enable(self, endpoint_id: str) -> tuple[Standing, int] | None:
        """Send to it again, and what has become dead letters since it was disabled; how many."""
        endpoint = await self.store.get(endpoint_id)
        if endpoint is None:
            return None
        since_ms = (await self.store.health([endpoint_id]))[endpoint_id].disabled_ms
        dead = await self._dead_since(endpoint_id, since_ms) if since_ms else []
        await self.store.enable(endpoint_id)
        replayed = 0
        for start in range(0, len(dead), 500):
            replayed += await self._callbacks.replay(dead[start : start + 500])
        return Standing(endpoint, EndpointHealth()), replayed

    async def test(self, endpoint_id: str) -> str | None:
        """Send the endpoint a callback of no job; the callback's id."""
        endpoint = await self.store.get(endpoint_id)
        if endpoint is None:
            return None
        callback_id = f"msg_test{base32(secrets.randbits(80), 16)}"
        await self._callbacks.test(callback_id, endpoint.id, endpoint.app, endpoint.url)
        return callback_id

    async def reseal(self) -> int:
        """Seal every endpoint's secrets with the newest key; how many endpoints were changed."""
        changed = 0
        for endpoint in (await self.store.all()).values():
            if self.seals.resealed(endpoint) is not endpoint:
                changed += await self.store.change(endpoint.id, self.seals.resealed) is not None
        return changed

    async def _standing(self, endpoint: Endpoint | None) -> Standing | None:
        if endpoint is None:
            return None
        health = await self.store.health([endpoint.id])
        return Standing(endpoint, health[endpoint.id])

    async def _dead_since(self, endpoint_id: str, since_ms: int) -> list[str]:
        """What became a dead letter since then, oldest first."""
        found: list[str] = []
        wanted = CallbackFilter(endpoint=endpoint_id, states=(CallbackState.DEAD,))
        async for ids in self._callbacks.matching(wanted, settled_ms=since_ms):
            found += ids
        return found[:ENABLE_MAX][::-1]
