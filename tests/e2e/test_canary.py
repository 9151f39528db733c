"""Secrets that enter the platform, and every place that it writes to: none comes out."""

import asyncio
import contextlib
import io
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.auth import mint_key
from ops.cli.program import run
from ops.redis_binary import RedisBinary
from streams.clock import SystemClock
from tests.e2e.platform import DURABLE, Platform, accepted, ended, platform, variables
from tests.support.redis_server import RedisServer
from tests.support.waiting import until
from tests.web.local_server import local_server, response


def canary(name: str) -> str:
    """A text that stands nowhere else."""
    return f"canary{name}{secrets.token_hex(12)}"


PASSWORD = canary("password")
RECEIVED = canary("received")  # an accepted payload
REFUSED = canary("refused")  # a payload that fits no schema
TOKEN = canary("token")  # in the query of a callback's URL
MISPLACED = canary("misplaced")  # a bearer key where no key belongs


class GuardedServer(RedisServer):
    """A server with a password."""

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"


@pytest.fixture
def guarded(redis_binary: RedisBinary) -> Iterator[RedisServer]:
    running = GuardedServer(redis_binary, *DURABLE, f"requirepass {PASSWORD}")
    yield running
    running.stop()


@pytest.fixture
async def stage(guarded: RedisServer, tmp_path: Path) -> AsyncIterator[Platform]:
    """Everything as talkative as it can be, with its files in one folder."""
    async with platform(
        guarded,
        tmp_path,
        log__level="debug",
    ) as running:
        running.environment["HOME"] = str(tmp_path)  # journals, the audit log
        yield running


class Gathered:
    """What came out, by where."""

    def __init__(self) -> None:
        self.places: dict[str, bytes] = {}

    def add(self, place: str, text: bytes | str) -> None:
        raw = text.encode() if isinstance(text, str) else text
        self.places[place] = self.places.get(place, b"") + raw

    def where(self, secret: str) -> set[str]:
        """The places that hold `secret`."""
        return {place for place, text in self.places.items() if secret.encode() in text}


async def test_no_secret_comes_out_anywhere(stage: Platform, guarded: RedisServer) -> None:
    gathered = Gathered()
    record, key = mint_key("web", ("submit", "read", "operate"), now_ms=SystemClock().now_ms())
    await stage.directory.put_key(record)
    secret_of_key = key.split("_", 2)[2]
    async with local_server(response(503)) as hooks, client(stage, key, gathered) as http:
        stage.environment |= variables({"network.allow_ports": hooks.port})
        await stage.gateway()
        await stage.worker("w")
        made = (await http.post("/v1/endpoints", json={"url": f"{hooks.origin}/hooks"})).json()
        endpoint_secret = made["secret"].removeprefix("whsec_")
        gathered.places.clear()  # the one answer that may hold it

        callback = {"url": f"{hooks.origin}/hooks/1?token={TOKEN}"}
        payload = {"message": RECEIVED}
        job_id = await accepted(http, "echo", payload, callback=callback)
        await ended(http, job_id)
        await until(lambda: hooks.received, what="a delivery")
        await misuse(http)
        await http.get(f"/v1/jobs/{job_id}")
        await http.get("/v1/callbacks")
        await http.get("/metrics")
        await operators_look(stage, guarded, gathered)
        await keyspace(stage.redis, gathered)
        guarded.kill()
        await http.post("/v1/jobs", json={"processor": "echo", "payload": payload})
        await http.get("/v1/jobs")
        await http.get("/readyz")
        for process in stage.commands:
            await until(lambda one=process: "Redis" in one.log(), what="talk of Redis")  # type: ignore[misc]
        guarded.restart()
    files(stage.folder, gathered)

    assert len(gathered.places) > 20, sorted(gathered.places)
    assert gathered.where(secret_of_key) == set()
    assert gathered.where(PASSWORD) == set()
    assert gathered.where(MISPLACED) == set()
    assert gathered.where(REFUSED) == set()
    kept = {place.split(":")[0] for place in gathered.where(RECEIVED)}
    assert kept <= {"redis", "journal", "answer /v1/jobs/{id}"}
    kept = {place.partition(" ")[2] for place in gathered.where(RECEIVED) if "redis" in place}
    assert kept == {"payload", "result", "callback"}  # an echo's result, and the callback of it
    kept = gathered.where(TOKEN)
    assert {place.split()[0] for place in kept} <= {"redis:", "journal:"}
    assert {place.split()[1] for place in kept if "redis" in place} <= {"job", "callback"}
    assert gathered.where(endpoint_secret) == set()


class Noting(httpx.AsyncHTTPTransport):
    """Keeps every answer."""

    def __init__(self, gathered: Gathered) -> None:
        super().__init__()
        self._gathered = gathered

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        body = await answer.aread()
        path = request.url.path
        shape = "/v1/jobs/{id}" if path.startswith("/v1/jobs/0-") else path
        self._gathered.add(f"answer {shape}", str(answer.headers.raw) + body.decode())
        return answer


def client(stage: Platform, key: str, gathered: Gathered) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"}
    transport = Noting(gathered)
    return httpx.AsyncClient(base_url=stage.url, headers=headers, transport=transport, timeout=30.0)


async def misuse(http: httpx.AsyncClient) -> None:
    """Secrets where they do not belong, each with the refusal that it gets."""
    key = f"rn_0123456789ab_{MISPLACED}"
    expected: list[tuple[int, httpx.Response]] = [
        (404, await http.get(f"/v1/jobs/{key}")),
        (404, await http.get(f"/{key}")),
        (422, await http.get("/v1/jobs", params={"key": key})),
        (422, await http.get("/v1/jobs", params={key: "1"})),
        (422, await http.get("/v1/jobs", params={"state": key})),
        (422, await http.get("/v1/jobs", params={"cursor": f"{key}."})),
        (401, await http.get("/v1/jobs", headers={"authorization": f"Basic {key}"})),
        (401, await http.get("/v1/jobs", headers={"authorization": f"Bearer  {key}"})),
        (401, await http.get("/v1/jobs", headers={"authorization": f"Bearer {key}"})),
        (200, await http.get("/v1/jobs", headers={"x-api-key": key, "cookie": f"key={key}"})),
        (406, await http.get("/v1/jobs", headers={"accept": f"Bearer {key}"})),
        (417, await http.get("/v1/jobs", headers={"expect": f"Bearer {key}"})),
        (415, await http.post("/v1/jobs", content=b"{}", headers={"content-type": key})),
        (422, await submit(http, {}, headers={"idempotency-key": f"Bearer {key}"})),
        (422, await submit(http, {}, processor=key)),
        (422, await submit(http, {}, priority=key)),
        (422, await submit(http, {"message": "x"}, tags=[f"Bearer {key}"])),
        (422, await submit(http, {"message": "x"}, callback={"url": f"ftp://x/?token={key}"})),
        (422, await submit(http, {"message": "x"}, callback={"url": f"https://x:{key}@x.dk/"})),
        (
            422,
            await submit(http, {"message": "x"}, callback={"url": f"https://x.dk/?token={TOKEN}"}),
        ),
        (422, await submit(http, {"message": [REFUSED]})),
        (422, await submit(http, {"message": "x", "times": REFUSED})),
        (422, await submit(http, [REFUSED])),
        (422, await submit(http, REFUSED)),
        (400, await http.post("/v1/jobs", content=REFUSED, headers=JSON)),
        (400, await http.post("/v1/jobs", content=f'{{"payload":"{REFUSED}', headers=JSON)),
        (400, await http.post("/v1/jobs", content=REFUSED.encode() + b"\xff", headers=JSON)),
    ]
    assert [answer.status_code for _, answer in expected] == [status for status, _ in expected]


JSON = {"content-type": "application/json"}


async def submit(
    http: httpx.AsyncClient, payload: Any, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = {"processor": "echo", "payload": payload, **fields}
    return await http.post("/v1/jobs", json=body, headers=headers)


async def operators_look(stage: Platform, server: RedisServer, gathered: Gathered) -> None:
    """The commands that an operator would run, also against a Redis that is not there."""
    log = stage.folder / ".roughneck" / "audit.log"
    for words in (
        *("settings", "health", "keys list", "endpoints list", "callbacks list", "jobs list"),
        *("classes pause io", "classes resume io", "workers", "doctor", f"audit tail --file {log}"),
    ):
        code, said = await asyncio.to_thread(command, server.url, *words.split(), "-o", "json")
        gathered.add(f"command {words.split()[0]}", said)
        assert code == 0 or words == "doctor", said
    for url in (
        f"redis://:{PASSWORD}@127.0.0.1:1/0",
        f"redis://user:wrong{PASSWORD}@127.0.0.1:{server.port}/0",
        f"http://:{PASSWORD}@127.0.0.1/0",
        f"redis://:{PASSWORD}@127.0.0.1:port/0",
    ):
        code, said = await asyncio.to_thread(command, url, "health")
        assert code != 0
        gathered.add("command that fails", said)


def command(url: str, *words: str) -> tuple[int, str]:
    """The exit code of `roughneck ...` and all that it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(["--redis", url, *words])
    return code, said.getvalue()


async def keyspace(redis: "Redis", gathered: Gathered) -> None:
    """Every key with all that it holds, by the first part of its name."""
    async for key in redis.scan_iter(count=1_000):
        kind = (await redis.type(key)).decode()
        reads = {
            "string": redis.get,
            "hash": redis.hgetall,
            "set": redis.smembers,
            "zset": lambda key: redis.zrange(key, 0, -1),
            "stream": redis.xrange,
        }
        name = key.decode().split(":")[1]
        gathered.add(f"redis: {name}", f"{key!r} {await reads[kind](key)!r}")


def files(folder: Path, gathered: Gathered) -> None:
    """Every file that any process wrote."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            inner = path.relative_to(folder)
            kind = "journal:" if "journal" in str(inner) else "file"
            gathered.add(f"{kind} {inner}", path.read_bytes())
