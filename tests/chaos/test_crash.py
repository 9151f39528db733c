"""A fault of our own code inside a worker ends the process, so that others see that it is gone."""

import pytest

from ops.settings import load
from ops.worker_process import WorkerProcess
from streams.worker import Worker
from tests.support.redis_server import RedisServer
from tests.support.waiting import until


@pytest.mark.parametrize("part", ["engine", "faust"])
async def test_a_crashed_part_ends_the_whole_worker(durable_server: RedisServer, part: str) -> None:
    given = {"redis.url": durable_server.url, "worker.classes": ["io", "cpu"]}
    process = WorkerProcess(load(environ={}, given=given))
    await process.start()
    try:
        worker: Worker = process._runtime.worker
        fault = RuntimeError("a fault of our own")
        await (worker if part == "engine" else process._runtime.app).crash(fault)
        assert await until(lambda: process.crash_reason, what="the process to notice") is fault
    finally:
        await process.stop()
