"""What apps, workers and operators register, kept in Redis: processors, flows, endpoints, keys.

Plain records, each written whole by one command; nothing here takes part in a job's life. Endpoints
are read and written by `streams.endpoints`.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from streams.flow import Stage
from streams.keyspace import Keyspace
from streams.model import ResourceClass, State
from streams.scripts import Client, text, translated

WORKER_TTL_S = 60
SILENT_S = 12  # two announcements missed, and a little

T = TypeVar("T")


class ProcessorCard(msgspec.Struct, frozen=True):
    """A processor as its workers published it; both schemas are JSON Schema."""

    name: str
    version: str
    summary: str
    resource_class: ResourceClass
    model: str  # the model key of its lanes, empty outside class ollama
    attempts_max: int
    timeout_ms: int
    backoff_ms: int
    backoff_max_ms: int
    input_schema: msgspec.Raw
    output_schema: msgspec.Raw
    dependencies: tuple[str, ...] = ()
    published_ms: int = 0
    prompt_version: str = ""


class FlowCard(msgspec.Struct, frozen=True):
    """A named flow as workers published it; `input_schema` is JSON Schema."""

    name: str
    version: str
    summary: str
    input_schema: msgspec.Raw
    stages: tuple[Stage, ...]
    result: str = ""
    deadline_s: float = 7 * 86_400.0
    published_ms: int = 0


class AgentTelling(msgspec.Struct, frozen=True):
    """A line that an agent told; `at_ms` is that of the event at which it did."""

    at_ms: int
    level: str
    message: str
    fields: dict[str, str]


class AgentCard(msgspec.Struct, frozen=True):
    """An agent of a worker: how many events it has read, and the newest lines it told."""

    name: str
    summary: str
    events: int = 0
    failures: int = 0  # times it raised and was begun again
    at_ms: int = 0  # of the newest event it read
    told: tuple[AgentTelling, ...] = ()


class ModelCard(msgspec.Struct, frozen=True):
    """A model that an Ollama host has, under the alias that jobs know."""

    alias: str
    tag: str
    digest: str
    size_bytes: int
    num_ctx: int


class HostCard(msgspec.Struct, frozen=True):
    """An Ollama host as its worker last saw it."""

    name: str
    version: str = ""
    trouble: str = ""  # why nothing is asked of it now; empty: it works
    models: tuple[ModelCard, ...] = ()
    resting: tuple[str, ...] = ()  # aliases that failed to load and are left alone for a while


class WorkerCard(msgspec.Struct, frozen=True):
    """A worker as it announces itself every 5 s; gone a minute after it fell silent.

    `silent_s` is what a reader finds, by Redis' clock; who is silent for 12 s is not `healthy`,
    whatever it said of itself before.
    """

    id: str
    host: str
    pid: int
    version: str
    pools: dict[str, str]  # resource class → pool
    slots: dict[str, int]  # resource class → slots
    running: dict[str, int]  # resource class → attempts under way
    processors: tuple[str, ...]
    models: tuple[str, ...] = ()
    resident: str = ""
    healthy: bool = True
    draining: bool = False
    started_ms: int = 0
    seen_ms: int = 0
    metrics_url: str = ""
    silent_s: float = 0.0
    agents: tuple[AgentCard, ...] = ()
    ollama: HostCard | None = None  # the host that it is bound to


class Endpoint(msgspec.Struct, frozen=True):
    """Where an app may be called back: every callback URL must lie under `url`."""

    id: str
    app: str
    url: str  # origin and path prefix
    secrets: tuple[str, ...]  # sealed, newest first, at most two
    events: tuple[State, ...]
    created_ms: int
    previous_until_ms: int = 0  # when the second secret ends; 0: with the next rotation
    ordered: bool = False  # one delivery at a time, each after the end of the one before


class ApiKey(msgspec.Struct, frozen=True):
    """An app's key; the secret itself is stored nowhere."""

    id: str
    app: str
    secret_sha256: str  # hex
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int = 0  # 0: never
    note: str = ""
    networks: tuple[str, ...] = ()  # it is good from these only; empty: from anywhere
    replaced_by: str = ""  # the key that was made to take its place


class BlobPlace(msgspec.Struct, frozen=True):
    """Where workers reach a store of blobs, and the secret by which they sign."""

    url: str  # of a gateway
    secret: str
    seen_ms: int


class AppLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an app may ask of the gateways; None is no limit."""

    requests_per_s: float | None = None
    burst: int | None = None  # requests at once; None: those of one second
    bytes_per_minute: int | None = None  # of request bodies
    jobs_in_flight: int | None = None  # waiting or running


class Directory:
    """Reads and writes the records above. Every call may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace

    async def publish_processor(self, card: ProcessorCard) -> None:
        """Make `card` the newest manifest of its name."""
        await self._put("processors", card.name, card)

    async def processors(self) -> dict[str, ProcessorCard]:
        """Every published processor by name."""
        return await self._all("processors", ProcessorCard)

    async def forget_processor(self, name: str) -> bool:
        """Remove a manifest; submits of it are refused from then on. False if there was none."""
        return await self._delete("processors", name)

    async def publish_flow(self, card: FlowCard) -> None:
        """Make `card` the newest flow of its name."""
        await self._put("named_flows", card.name, card)

    async def flows(self) -> dict[str, FlowCard]:
        """Every named flow by name."""
        return await self._all("named_flows", FlowCard)

    async def forget_flow(self, name: str) -> bool:
        """Remove a named flow; submits of it are refused from then on. False if there was none."""
        return await self._delete("named_flows", name)

    async def put_key(self, key: ApiKey) -> None:
        """Create or replace an API key."""
        await self._put("keys", key.id, key)

    async def keys(self) -> dict[str, ApiKey]:
        """Every API key by id."""
        return await self._all("keys", ApiKey)

    async def delete_key(self, key_id: str) -> bool:
        """Revoke an API key. False if there was none."""
        with translated():
            await self._redis.hdel(self._keys.key("key_uses"), key_id)
        return await self._delete("keys", key_id)

    async def note_key_uses(self, uses: Mapping[str, int]) -> None:
        """Write when keys were last used, in wall milliseconds by id."""
        with translated():
            await self._redis.hset(self._keys.key("key_uses"), mapping=dict(uses))

    async def key_uses(self) -> dict[str, int]:
        """When each key was last used, within a minute; those never used are left out."""
        with translated():
            rows = await self._redis.hgetall(self._keys.key("key_uses"))
        return {text(key_id): int(at_ms) for key_id, at_ms in rows.items()}

    async def put_app_limits(self, app: str, limits: AppLimits) -> None:
        """Set the limits of an app, or with `*` of every app that has none of its own."""
        if limits == AppLimits():
            await self._delete("app_limits", app)
        else:
            await self._put("app_limits", app, limits)

    async def app_limits(self) -> dict[str, AppLimits]:
        """The limits by app."""
        return await self._all("app_limits", AppLimits)

    async def announce_blobs(self, store: str, place: BlobPlace) -> None:
        """Say where a store of blobs is reached."""
        await self._put("blob_stores", store, place)

    async def blob_places(self) -> dict[str, BlobPlace]:
        """Where the stores of blobs are reached, by name."""
        return await self._all("blob_stores", BlobPlace)

    async def apps(self) -> set[str]:
        """The apps that ever submitted a job."""
        with translated():
            return {text(raw) for raw in await self._redis.smembers(self._keys.key("apps"))}

    async def announce_worker(self, card: WorkerCard) -> None:
        """Say that a worker lives; it counts as gone a minute after its last announcement."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(
                    self._keys.key("worker_", card.id), msgspec.json.encode(card), ex=WORKER_TTL_S
                )
                pipe.zadd(self._keys.key("workers"), {card.id: card.seen_ms})
                await pipe.execute()

    async def withdraw_worker(self, worker_id: str) -> None:
        """Say that a worker has stopped."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.delete(self._keys.key("worker_", worker_id))
                pipe.zrem(self._keys.key("workers"), worker_id)
                await pipe.execute()

    async def workers(self) -> list[WorkerCard]:
        """The workers that announced themselves within the last minute, by id."""
        with translated():
            ids = await self._redis.zrange(self._keys.key("workers"), 0, -1)
            if not ids:
                return []
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in (self._keys.key("worker_", text(i)) for i in ids):
                    pipe.get(key)
                    pipe.pttl(key)
                found = await pipe.execute()
        cards = [
            heard(msgspec.json.decode(raw, type=WorkerCard), int(left_ms))
            for raw, left_ms in zip(found[::2], found[1::2], strict=True)
            if raw is not None
        ]
        return sorted(cards, key=lambda card: card.id)

    async def gone_workers(self) -> list[str]:
        """Workers that fell silent without withdrawing."""
        with translated():
            ids = [text(i) for i in await self._redis.zrange(self._keys.key("workers"), 0, -1)]
            if not ids:
                return []
            raws = await self._redis.mget([self._keys.key("worker_", i) for i in ids])
        return [worker_id for worker_id, raw in zip(ids, raws, strict=True) if raw is None]

    async def _put(self, table: str, name: str, record: msgspec.Struct) -> None:
        with translated():
            await self._redis.hset(self._keys.key(table), name, msgspec.json.encode(record))

    async def _all(self, table: str, kind: type[T]) -> dict[str, T]:
        with translated():
            rows = await self._redis.hgetall(self._keys.key(table))
        return {text(name): msgspec.json.decode(raw, type=kind) for name, raw in rows.items()}

    async def _delete(self, table: str, name: str) -> bool:
        with translated():
            return bool(await self._redis.hdel(self._keys.key(table), name))


def heard(card: WorkerCard, left_ms: int) -> WorkerCard:
    """A card whose key lives for so long yet: how long its worker has been silent."""
    silent_s = max(0.0, WORKER_TTL_S - left_ms / 1_000)
    healthy = card.healthy and silent_s < SILENT_S
    return msgspec.structs.replace(card, silent_s=round(silent_s, 1), healthy=healthy)
