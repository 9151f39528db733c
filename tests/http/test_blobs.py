"""Blobs: put by apps, fetched by workers, results that are too large for Redis; quotas and ends."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from gateway.blob_chore import GONE_MS, BlobMinder
from gateway.blob_keeper import BlobKeeper
from gateway.blob_link import GOOD_S, GatewayBlobs, check_signed, signed
from gateway.blob_store import BlobRecord, Coming, DiskBlobs, Limits
from gateway.blobs import wanted
from gateway.problems import RangeRefused
from gateway.settings import GatewaySettings
from streams.attempt import Attempt
from streams.broker import Broker
from streams.clock import SystemClock
from streams.directory import BlobPlace
from streams.errors import (
    NotAuthenticated,
    StorageFull,
    TooLarge,
    Unavailable,
    UnknownBlob,
)
from streams.settings import EngineSettings
from tests.http.edge import CLOCK, KEYS, echo
from tests.http.served import Served
from tests.redis.stage import ended
from tests.support.plain_worker import plain_worker

SETTINGS = GatewaySettings(port=0, stop_s=5.0, body_read_s=2.0)
MIB = 1024 * 1024
MANY = Limits(app_bytes=64 * MIB, disk_free_bytes=0)
LARGE = b'{"text": "' + b"lang " * (2 * MIB // 5) + b'"}'


class MovedClock(SystemClock):
    """Wall time, moved by hand."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class Scene(Served):
    """A served gateway with a store of blobs."""

    def __init__(self, redis: Redis, reading: Redis, folder: Path, **limits: int) -> None:
        self.clock = MovedClock()
        self.store = DiskBlobs(folder, msgspec.structs.replace(MANY, **limits), self.clock)
        self.keeper = BlobKeeper(self.store, max_bytes=8 * MIB, orphan_s=86_400)
        super().__init__(redis, reading, SETTINGS, blobs=self.keeper, clock=self.clock)

    @property
    def minder(self) -> BlobMinder:
        parts = self.parts
        url = self.server.url
        return BlobMinder(
            self.keeper, lambda: url, parts.directory, parts.inspector, parts.acceptor, self.clock
        )

    async def put(self, content: bytes, media: str = "application/json", **given: Any) -> Any:
        async with self.client() as http:
            headers = {"content-type": media, **given.pop("headers", {})}
            return await http.put("/v1/blobs", content=content, headers=headers, **given)

    async def get(self, path: str, *, key: str = "app", **headers: str) -> httpx.Response:
        given = {"authorization": f"Bearer {self.keys[key]}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client() as http:
            return await http.get(path, headers=given)

    async def submit(self, payload: Any) -> httpx.Response:
        async with self.client() as http:
            return await http.post("/v1/jobs", json=echo(payload=payload))

    def files(self) -> list[Path]:
        folder = self.store._folder
        return [path for path in folder.rglob("*") if path.is_file() and len(path.name) == 32]


@pytest.fixture
async def scene(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Redis.from_url(redis_url) as reading:
        async with Scene(redis, reading, tmp_path) as scene:
            yield scene
        scene.store.close()


async def test_what_was_put_is_read_back_and_the_same_again_is_the_same(scene: Scene) -> None:
    reply = await scene.put(LARGE)
    assert reply.status_code == 201
    blob = reply.json()
    assert (blob["bytes"], blob["media"]) == (len(LARGE), "application/json")
    assert reply.headers["location"] == f"/v1/blobs/{blob['id']}"
    assert (await scene.put(LARGE)).json() == blob
    assert len(scene.files()) == 1
    back = await scene.get(reply.headers["location"])
    assert back.content == LARGE
    assert back.headers["content-type"] == "application/json"
    assert back.headers["content-disposition"] == "attachment"
    assert back.headers["etag"] == f'"{blob["sha256"]}"'


async def test_a_range_is_read(scene: Scene) -> None:
    path = f"/v1/blobs/{(await scene.put(b'0123456789', 'text/plain')).json()['id']}"
    part = await scene.get(path, range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    assert (await scene.get(path, range="bytes=-3")).content == b"789"
    beyond = await scene.get(path, range="bytes=10-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10")
    async with scene.client() as http:
        head = await http.head(path)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


async def test_an_app_sees_only_its_own(scene: Scene) -> None:
    blob_id = (await scene.put(b"[1]")).json()["id"]
    assert (await scene.get(f"/v1/blobs/{blob_id}", key="other")).status_code == 404
    assert (await scene.get(f"/v1/blobs/{blob_id}", key="operator")).status_code == 200
    scene.key = scene.keys["other"]
    refused = await scene.submit({"$blob": blob_id})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "$.payload")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "no media"}, 422),
        ({"content-length": "9000000"}, 413),
        ({"content-length": "0"}, 422),
        ({"transfer-encoding": "chunked"}, 411),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    scene: Scene, headers: dict[str, str], status: int
) -> None:
    content = b"x" * int(headers.get("content-length", "1"))
    async with scene.client() as http:

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        given: Any = chunks() if "transfer-encoding" in headers else content
        reply = await http.put("/v1/blobs", content=given, headers=headers)
    assert reply.status_code == status
    assert scene.files() == []


async def test_an_apps_room_ends_and_what_is_on_its_way_counts(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    async with Redis.from_url(redis_url) as reading:
        async with Scene(redis, reading, tmp_path, app_bytes=1_000) as scene:
            assert (await scene.put(b"x" * 900, "text/plain")).status_code == 201
            full = await scene.put(b"y" * 200, "text/plain")
            assert (full.status_code, full.json()["code"]) == (507, "storage_full")
            assert (await scene.put(b"z" * 100, "text/plain")).status_code == 201

            async def slowly() -> AsyncIterator[bytes]:
                with pytest.raises(StorageFull):
                    await scene.store.put(Coming("etyde", 1, "text/plain"), slowly())
                yield b""

            with pytest.raises(StorageFull):
                await scene.store.put(Coming("etyde", 1, "text/plain"), slowly())
        scene.store.close()


async def test_a_disk_without_room_is_a_clear_refusal(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Redis.from_url(redis_url) as reading:
        async with Scene(redis, reading, tmp_path, disk_free_bytes=2**62) as scene:
            reply = await scene.put(b"[1]")
            assert (reply.status_code, reply.json()["code"]) == (503, "disk_refused")
            assert reply.headers["retry-after"]
        scene.store.close()


async def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("gateway.blob_store.os.fsync", full)
    reply = await scene.put(LARGE)
    assert (reply.status_code, reply.json()["code"]) == (503, "disk_refused")
    monkeypatch.undo()
    assert list(scene.store._folder.glob("arriving-*")) == []
    assert (await scene.put(LARGE)).status_code == 201


async def test_an_upload_that_breaks_off_leaves_nothing_behind(scene: Scene) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.server.port)
    head = f"PUT /v1/blobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {scene.key}\r\n"
    writer.write(f"{head}content-length: 5000000\r\n\r\n".encode() + b"x" * 300_000)
    await writer.drain()
    folder = scene.store._folder
    for _ in range(500):
        if list(folder.glob("arriving-*")):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("nothing arrived")
    writer.close()
    for _ in range(500):
        if not list(folder.glob("arriving-*")):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("what arrived is still there")
    [rows] = scene.store._index.execute("SELECT COUNT(*) FROM arriving").fetchone()
    assert rows == 0
    del reader


# ---------------------------------------------------------------- workers


SMALL = EngineSettings(result_redis_max_bytes=1 * MIB)


async def repeat(attempt: Attempt) -> bytes:
    return attempt.payload


async def test_a_job_with_a_large_input_and_a_larger_result(
    scene: Scene, redis: Redis, redis_url: str
) -> None:
    """The input comes from the gateway, the result goes to it; the app reads it in one piece."""
    await scene.minder.tick()
    blob_id = (await scene.put(LARGE)).json()["id"]
    accepted = await scene.submit({"$blob": blob_id})
    assert accepted.status_code == 202, accepted.text
    job_id = accepted.json()["id"]
    broker = Broker(redis, KEYS, SMALL)
    async with (
        GatewayBlobs(scene.parts.directory.blob_places, CLOCK) as blobs,
        plain_worker(broker, redis_url, repeat, blobs=blobs),
    ):
        await ended(scene.parts.inspector, job_id)
    result = await scene.get(f"/v1/jobs/{job_id}/result")
    assert result.content == LARGE
    assert (await scene.get(f"/v1/jobs/{job_id}/result", range="bytes=0-0")).content == b"{"
    stored = await scene.parts.inspector.result(job_id)
    assert stored is not None
    assert len(stored) < 100
    other = await scene.get(f"/v1/jobs/{job_id}/result", key="other")
    assert other.status_code == 404


async def test_a_stage_of_a_flow_may_refer_to_a_blob(
    scene: Scene, redis: Redis, redis_url: str
) -> None:
    await scene.minder.tick()
    blob_id = (await scene.put(b"long text", "text/plain")).json()["id"]
    stage = {"name": "one", "processor": "echo", "payload": {"text": {"$blob": blob_id}}}
    async with scene.client() as http:
        accepted = await http.post("/v1/flows", json={"stages": [stage], "result": "one"})
        stage["payload"] = {"text": {"$blob": f"{scene.store.name}-{'0' * 32}"}}
        refused = await http.post("/v1/flows", json={"stages": [stage]})
    assert accepted.status_code == 202, accepted.text
    assert refused.status_code == 422
    flow_id = accepted.json()["id"]
    broker = Broker(redis, KEYS)
    async with (
        GatewayBlobs(scene.parts.directory.blob_places, CLOCK) as blobs,
        plain_worker(broker, redis_url, repeat, blobs=blobs),
    ):
        await ended(scene.parts.inspector, flow_id)
    result = await scene.get(f"/v1/jobs/{flow_id}/result")
    assert result.json() == {"text": "long text"}


async def test_fields_beside_a_reference_are_checked(scene: Scene) -> None:
    blob_id = (await scene.put(b"long text", "text/plain")).json()["id"]
    assert (await scene.submit({"text": {"$blob": blob_id}})).status_code == 202
    refused = await scene.submit({"text": {"$blob": blob_id}, "times": "many"})
    assert [error["path"] for error in refused.json()["errors"]] == ["$.payload.times"]
    missing = await scene.submit({"text": {"$blob": f"{scene.store.name}-{'0' * 32}"}})
    assert [error["path"] for error in missing.json()["errors"]] == ["$.payload.text"]


async def test_only_a_signed_url_opens_the_way_of_workers(scene: Scene) -> None:
    await scene.minder.tick()
    blob_id = (await scene.put(b"[1]")).json()["id"]
    path = f"/internal/blobs/{blob_id}"
    assert (await scene.get(path)).status_code == 401
    places = await scene.parts.directory.blob_places()
    wrong = {n: msgspec.structs.replace(p, secret="wrong") for n, p in places.items()}

    async def forged() -> dict[str, BlobPlace]:
        return wrong

    async with GatewayBlobs(forged, CLOCK) as blobs:
        with pytest.raises(Unavailable, match="key"):
            await blobs.fetch(blob_id)
    async with GatewayBlobs(scene.parts.directory.blob_places, CLOCK) as blobs:
        assert (await blobs.fetch(blob_id)).content == b"[1]"
        with pytest.raises(UnknownBlob):
            await blobs.fetch(f"{scene.store.name}-{'0' * 32}")
        with pytest.raises(UnknownBlob):
            await blobs.fetch("elsewhere-0")
        with pytest.raises(TooLarge):
            await blobs.store("etyde", "0-x", b"x" * 9 * MIB)


async def test_a_gateway_that_is_away_is_tried_again_and_one_that_is_silent_is_not_asked() -> None:
    clock = MovedClock()
    place = BlobPlace("http://127.0.0.1:9", "s", clock.now_ms())

    async def places() -> dict[str, BlobPlace]:
        return {"one": place}

    async with GatewayBlobs(places, clock) as blobs:
        with pytest.raises(Unavailable):
            await blobs.fetch("one-0")
        with pytest.raises(Unavailable):
            await blobs.store("etyde", "0-x", b"1")
        clock.ahead_ms = 3_600_000
        with pytest.raises(TooLarge, match="no gateway"):
            await blobs.store("etyde", "0-x", b"1")


NOW_S = 1_000_000


@pytest.mark.parametrize(
    ("method", "path", "change", "now_s", "good"),
    [
        ("GET", "/a", {}, NOW_S, True),
        ("PUT", "/a", {}, NOW_S, False),
        ("GET", "/b", {}, NOW_S, False),
        ("GET", "/a", {"app": "other"}, NOW_S, False),
        ("GET", "/a", {"expires": str(NOW_S + 9_999)}, NOW_S, False),
        ("GET", "/a", {"more": "1"}, NOW_S, False),
        ("GET", "/a", {"signature": ""}, NOW_S, False),
        ("GET", "/a", {}, NOW_S + GOOD_S + 1, False),
        ("GET", "/a", {}, NOW_S - 2 * GOOD_S, False),
    ],
)
def test_a_signature_is_good_for_one_request_and_a_while(
    method: str, path: str, change: dict[str, str], now_s: int, good: bool
) -> None:
    query = signed("secret", "GET", "/a", {"app": "etyde"}, NOW_S + GOOD_S) | change
    if good:
        check_signed("secret", method, path, query, now_s)
    else:
        with pytest.raises(NotAuthenticated):
            check_signed("secret", method, path, query, now_s)


# ---------------------------------------------------------------- the end of blobs


async def test_a_blob_goes_with_its_job_and_one_without_a_job_after_a_day(
    scene: Scene, redis: Redis
) -> None:
    used = (await scene.put(b'{"text": "used"}')).json()["id"]
    await scene.put(b'{"text": "never used"}')
    job_id = (await scene.submit({"$blob": used})).json()["id"]
    minder = scene.minder
    await minder.tick()
    assert len(scene.files()) == 2
    scene.clock.ahead_ms = 2 * 86_400_000
    await minder.tick()
    assert [path.name for path in scene.files()] == [used.rpartition("-")[2]]
    for key in (KEYS.job(job_id), KEYS.payload(job_id)):
        await redis.delete(key)
    await minder.tick()
    assert len(scene.files()) == 1, "Redis may have lost its tail: it is looked at again later"
    scene.clock.ahead_ms += GONE_MS + 1_000
    await minder.tick()
    await minder.tick()
    assert scene.files() == []
    assert (await scene.get(f"/v1/blobs/{used}")).status_code == 404
    await redis.flushall()


async def test_uploads_of_a_process_that_died_are_swept(scene: Scene) -> None:
    scene.store._reserve("dead", Coming("etyde", 100, "text/plain"))
    (scene.store._folder / "arriving-dead").write_bytes(b"x")
    assert await scene.store.sweep(CLOCK.now_ms() + 1_000) == 0
    assert list(scene.store._folder.glob("arriving-*")) == []


async def test_processes_of_one_machine_share_a_store(scene: Scene) -> None:
    second = DiskBlobs(scene.store._folder, MANY, CLOCK)
    assert (second.name, second.secret) == (scene.store.name, scene.store.secret)
    blob_id = (await scene.put(b"[1]")).json()["id"]
    record = await second.find(blob_id)
    assert record is not None
    assert b"".join([piece async for piece in second.read(blob_id, 0, record.bytes)]) == b"[1]"
    second.close()


async def test_a_file_that_vanished_is_said_to_be_gone(scene: Scene) -> None:
    blob_id = (await scene.put(b"[1]")).json()["id"]
    scene.files()[0].unlink()
    with pytest.raises(UnknownBlob):
        await anext(scene.store.read(blob_id, 0, 3))


RECORD = BlobRecord("s-0", "etyde", 10, "abc", "text/plain")


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, (0, 10)),
        ({"range": "bytes=0-"}, (0, 10)),
        ({"range": "bytes=3-5"}, (3, 6)),
        ({"range": "bytes=3-99"}, (3, 10)),
        ({"range": "bytes=-4"}, (6, 10)),
        ({"range": "bytes=-40"}, (0, 10)),
        ({"range": "bytes=1-2,4-5"}, (0, 10)),
        ({"range": "lines=1-2"}, (0, 10)),
        ({"range": "bytes=3-5", "if-range": '"abc"'}, (3, 6)),
        ({"range": "bytes=3-5", "if-range": '"other"'}, (0, 10)),
        ({"range": "bytes=10-"}, None),
        ({"range": "bytes=5-3"}, None),
        ({"range": "bytes=-0"}, None),
    ],
)
def test_which_bytes_are_asked_for(headers: dict[str, str], answer: tuple[int, int] | None) -> None:
    asked: Any = httpx.Headers(headers)
    if answer is None:
        with pytest.raises(RangeRefused):
            wanted(asked, RECORD)
    else:
        assert wanted(asked, RECORD) == answer
