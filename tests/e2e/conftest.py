"""A platform with a worker and a gateway, for one test alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ops.redis_binary import RedisBinary
from tests.e2e.platform import DURABLE, Platform, platform
from tests.support.redis_server import RedisServer


@pytest.fixture
def server(redis_binary: RedisBinary) -> Iterator[RedisServer]:
    running = RedisServer(redis_binary, *DURABLE)
    yield running
    running.stop()


@pytest.fixture
async def bare(server: RedisServer, tmp_path: Path) -> AsyncIterator[Platform]:
    """Redis alone."""
    async with platform(server, tmp_path) as running:
        yield running


@pytest.fixture
async def stage(bare: Platform) -> Platform:
    """Redis, a worker `w` and a gateway."""
    await asyncio.gather(bare.worker("w"), bare.gateway())
    return bare
