"""Large inputs and results travel in pieces; references to blobs are found and replaced."""

from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.blobs import (
    PIECE_BYTES,
    Blob,
    may_refer,
    read_many,
    read_whole,
    reference,
    references,
    referred,
    resolved,
)
from streams.broker import Broker
from streams.errors import InvalidInput, Unavailable, UnknownBlob
from streams.inspector import Inspector
from streams.model import Done, Settled, State
from streams.settings import EngineSettings
from tests.redis.scenes import KEYS, leased, settle, store, told
from tests.redis.stage import ended
from tests.support.build import new_job
from tests.support.plain_worker import plain_worker

MIB = 1024 * 1024
LARGE = b'"' + bytes(range(97, 117)) * (MIB // 20 * 16) + b'"'  # nearly 16 MiB of JSON


class Measured(Broker):
    """A broker that notes how large the arguments of its calls are."""

    def __init__(self, redis: Redis, settings: EngineSettings | None = None) -> None:
        super().__init__(redis, KEYS, settings)
        self.sizes: list[int] = []
        self.breaks = 0
        run = self.scripts.run

        async def measured(name: str, *arguments: str | bytes | int | float) -> Any:
            self.sizes.append(sum(len(one) for one in arguments if isinstance(one, bytes)))
            answer = await run(name, *arguments)
            if name == "stage" and self.breaks and len(self.sizes) > 3:
                self.breaks -= 1
                raise Unavailable("the answer was lost")
            return answer

        self.scripts.run = measured  # type: ignore[method-assign]  # looks at what goes out


async def test_a_large_result_goes_in_pieces_and_comes_back_whole(redis: Redis) -> None:
    broker = Measured(redis)
    lease = await leased(broker, new_job())
    broker.sizes.clear()
    await broker.stage(lease.job_id, lease.token, LARGE)
    assert len(broker.sizes) == -(-len(LARGE) // PIECE_BYTES)
    assert max(broker.sizes) < 256 * 1024
    assert await settle(broker, lease, Done(LARGE)) is Settled.SETTLED
    assert await Inspector(redis, KEYS).result(lease.job_id) == LARGE


async def test_a_large_input_is_fetched_in_pieces(redis: Redis) -> None:
    broker = Broker(redis, KEYS)
    lease = await leased(broker, new_job(LARGE))
    assert lease.payload is None
    await redis.config_resetstat()
    assert await broker.payload(lease.job_id, lease.payload_bytes) == LARGE
    calls = (await redis.info("commandstats"))["cmdstat_getrange"]["calls"]
    assert calls == -(-len(LARGE) // PIECE_BYTES)


async def test_an_input_that_is_not_whole_any_more_is_none(redis: Redis) -> None:
    broker = Broker(redis, KEYS)
    lease = await leased(broker, new_job(LARGE))
    assert await read_whole(redis, KEYS.payload(lease.job_id), len(LARGE) + 1) is None
    await redis.delete(KEYS.payload(lease.job_id))
    assert await broker.payload(lease.job_id, lease.payload_bytes) is None


async def test_what_was_staged_in_part_is_not_linked(redis: Redis) -> None:
    """A worker died between two pieces; its journal settles after the restart."""
    broker = Broker(redis, KEYS)
    lease = await leased(broker, new_job())
    await broker.scripts.run("stage", lease.job_id, lease.token, 0, LARGE[:PIECE_BYTES])
    assert await settle(broker, lease, Done(LARGE)) is Settled.UNSTAGED
    await broker.stage(lease.job_id, lease.token, LARGE)
    assert await settle(broker, lease, Done(LARGE)) is Settled.SETTLED
    assert await Inspector(redis, KEYS).result(lease.job_id) == LARGE


async def test_a_piece_is_there_once_however_often_it_is_sent(redis: Redis) -> None:
    broker = Broker(redis, KEYS)
    lease = await leased(broker, new_job())
    for start, piece, there in ((0, b"abc", 3), (0, b"abc", 3), (9, b"x", 3), (3, b"d", 4)):
        assert await broker.scripts.run("stage", lease.job_id, lease.token, start, piece) == there


async def test_a_worker_stages_again_what_was_interrupted(redis: Redis, redis_url: str) -> None:
    broker, inspector = Measured(redis), Inspector(redis, KEYS)
    broker.breaks = 1

    async def large(attempt: Attempt) -> bytes:
        return LARGE[: 2 * MIB] + b'"'

    async with plain_worker(broker, redis_url, large):
        job = new_job()
        await broker.submit([job])
        await ended(inspector, job.id)
    assert broker.breaks == 0
    assert await inspector.result(job.id) == LARGE[: 2 * MIB] + b'"'


async def test_many_values_come_in_bounded_answers(redis: Redis) -> None:
    sizes = [10, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES, 0, 100]
    values = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    keys = [KEYS.result(f"0-{index}") for index in range(len(sizes))]
    for key, value in zip(keys, values, strict=True):
        if value:
            await redis.set(key, value, ex=60)
    assert await read_many(redis, keys) == [value or None for value in values]


# ---------------------------------------------------------------- references


class Shelf:
    """A store of blobs in memory."""

    def __init__(self, **blobs: Blob) -> None:
        self.blobs = blobs
        self.failures = 0

    async def fetch(self, blob_id: str) -> Blob:
        try:
            return self.blobs[blob_id]
        except KeyError:
            raise UnknownBlob(f"there is no blob {blob_id}") from None

    async def store(self, app: str, job_id: str, content: bytes) -> str:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the gateway is away")
        self.blobs[job_id] = Blob(content, "application/json")
        return job_id


SHELF = {
    "json": Blob(b'{"a": [1, 2]}', "application/json"),
    "text": Blob("æble".encode(), "text/plain; charset=utf-8"),
    "raw": Blob(b"\x00\xff", "image/png"),
}


@pytest.mark.parametrize(
    ("payload", "becomes"),
    [
        ({"$blob": "json"}, {"a": [1, 2]}),
        ({"$blob": "text"}, "æble"),
        (
            {"x": [{"$blob": "json"}, 1, {"y": {"$blob": "text"}}]},
            {"x": [{"a": [1, 2]}, 1, {"y": "æble"}]},
        ),
        ({"x": {"$blob": "raw"}}, {"x": "AP8="}),
        ({"x": "$blob"}, {"x": "$blob"}),
    ],
)
async def test_a_reference_is_replaced_by_what_it_stands_for(payload: Any, becomes: Any) -> None:
    raw = msgspec.json.encode(payload)
    assert msgspec.json.decode(await resolved(raw, Shelf(**SHELF))) == becomes


async def test_a_reference_to_nothing_and_one_that_is_none() -> None:
    with pytest.raises(UnknownBlob):
        await resolved(b'{"$blob": "gone"}', Shelf())
    with pytest.raises(InvalidInput):
        await resolved(b'{"$blob": "json", "more": 1}', Shelf(**SHELF))
    with pytest.raises(InvalidInput, match="no application/json"):
        await resolved(b'[{"$blob": "odd"}]', Shelf(odd=Blob(b"{", "application/json")))


def test_references_tell_their_place() -> None:
    value = {"a": [1, {"$blob": "x"}], "b": {"$blob": "y"}}
    assert list(references(value)) == [(("a", 1), "x"), (("b",), "y")]
    assert may_refer(msgspec.json.encode(value))
    assert not may_refer(b'{"a": "blob"}')


@pytest.mark.parametrize(
    ("result", "blob_id"),
    [
        (reference("x"), "x"),
        (b'{"$blob": 5}', ""),
        (b'{"$blob": "x", "y": 1}', ""),
        (b'"$blob"', ""),
        (b'{"$blob"', ""),
        (b'{"$blob": "' + b"x" * 300 + b'"}', ""),
    ],
)
def test_a_result_that_is_a_reference(result: bytes, blob_id: str) -> None:
    assert referred(result) == blob_id


SMALL = EngineSettings(result_redis_max_bytes=1_000)


async def echo(attempt: Attempt) -> bytes:
    return attempt.payload


async def test_a_worker_replaces_references_and_stores_large_results(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.performer.STORE_PAUSES_S", (0.01, 0.01))
    broker, inspector = Broker(redis, KEYS, SMALL), Inspector(redis, KEYS)
    large = b'"' + b"x" * 2_000 + b'"'
    shelf = Shelf(given=Blob(large, "application/json"))
    shelf.failures = 2
    async with plain_worker(broker, redis_url, echo, blobs=shelf):
        job = told(payload=b'{"$blob": "given"}')
        await broker.submit([job])
        await ended(inspector, job.id)
    assert await inspector.result(job.id) == reference(job.id)
    assert shelf.blobs[job.id].content == large
    [told_of] = (await store(redis, broker).page()).items
    frozen = await redis.hgetall(KEYS.key("callback_", told_of.record.id))
    assert (frozen[b"result"], int(frozen[b"size"]) > 0) == (b"", True), "a link instead"


async def test_a_result_that_nobody_can_keep_is_a_dead_letter(redis: Redis, redis_url: str) -> None:
    broker, inspector = Broker(redis, KEYS, SMALL), Inspector(redis, KEYS)
    async with plain_worker(broker, redis_url, echo):
        job = new_job(b'"' + b"x" * 2_000 + b'"')
        await broker.submit([job])
        found = await ended(inspector, job.id)
    assert (found.state, found.fault and found.fault.code) == (State.DEAD, "too_large")


async def test_a_reference_to_a_blob_that_is_gone_is_a_dead_letter(
    redis: Redis, redis_url: str
) -> None:
    broker, inspector = Broker(redis, KEYS), Inspector(redis, KEYS)
    async with plain_worker(broker, redis_url, echo, blobs=Shelf()):
        job = new_job(b'{"$blob": "gone"}')
        await broker.submit([job])
        found = await ended(inspector, job.id)
    assert (found.state, found.fault and found.fault.code) == (State.DEAD, "unknown_blob")
