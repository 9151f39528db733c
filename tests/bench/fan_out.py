"""How long a fan-out of 10,000 holds Redis: `python -m tests.bench.fan_out [--items N]`.

A flow fans out over a list, a worker runs every item, and a last stage joins them. Redis itself
says how long its longest calls took (SLOWLOG, without the way there and back).
"""

import argparse
import asyncio
import time

import msgspec
from redis.asyncio import Redis

from ops.redis_binary import RedisBinary, installed
from streams.attempt import Attempt
from streams.broker import Broker
from streams.flow import Each, Limits, PlannedFlow, PlannedStage
from streams.inspector import Inspector
from streams.keyspace import FLOW, Keyspace
from streams.model import ResourceClass, State
from streams.scripts import Scripts
from streams.settings import EngineSettings
from tests.support.build import lane, new_job
from tests.support.plain_worker import client, plain_worker
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

KEYS = Keyspace()
LIMIT_S = 120.0
SCRIPTS = {
    script.sha: script.name for script in Scripts(client("redis://"), KEYS, EngineSettings())
}
SHOWN = 5


async def act(attempt: Attempt) -> bytes:
    return attempt.payload


async def run(redis: Redis, url: str, items: int) -> float:
    """The seconds that a flow over so many items took."""
    broker, inspector, once = Broker(redis, KEYS), Inspector(redis, KEYS), Limits(attempts_max=1)
    flow = PlannedFlow(
        (
            PlannedStage("each", lane(), once, each=Each(path="/list")),
            PlannedStage("join", lane(), once, after=("each",), payload={"$result": "each"}),
        ),
        input={"list": [{"number": number, "text": "x" * 100} for number in range(items)]},
        result="join",
    )
    job = new_job(msgspec.json.encode(flow), processor=FLOW)

    async def over() -> bool:
        found = await inspector.job(job.id)
        return found is not None and found.state.ended

    async with plain_worker(broker, url, act, slots={ResourceClass.IO: 100}):
        began = time.monotonic()
        await broker.submit([job])
        await until(over, what="the flow to end", limit_s=LIMIT_S)
        took_s = time.monotonic() - began
    found = await inspector.job(job.id)
    assert found is not None
    assert found.state is State.SUCCEEDED, found.fault
    raw = await inspector.result(job.id)
    assert raw is not None
    assert len(msgspec.json.decode(raw)) == items
    return took_s


async def measure(binary: RedisBinary, items: int) -> None:
    server = RedisServer(binary)
    try:
        async with client(server.url) as redis:
            await run(redis, server.url, 10)  # scripts loaded
            await redis.config_set("slowlog-log-slower-than", 500)
            await redis.config_set("slowlog-max-len", 10_000)
            await redis.slowlog_reset()
            took_s = await run(redis, server.url, items)
            calls = [named(entry) for entry in await redis.slowlog_get(10_000)]
    finally:
        server.stop()
    longest = ", ".join(f"{ms:.1f} ms {name}" for ms, name in sorted(calls, reverse=True)[:SHOWN])
    print(f"{binary.label:8} {items} items in {took_s:.1f} s; longest calls: {longest or 'none'}")


def named(entry: dict[str, bytes | int]) -> tuple[float, str]:
    """A call's milliseconds and its name: that of the script, or of the command."""
    command, *rest = bytes(entry["command"]).decode("utf-8", "replace").split()
    return int(entry["duration"]) / 1_000, SCRIPTS.get(rest[0], command) if rest else command


def main() -> None:
    """Measure on every server that is installed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fan_out", description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    given = parser.parse_args()
    for binary in installed():
        asyncio.run(measure(binary, given.items))


if __name__ == "__main__":
    main()
