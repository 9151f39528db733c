from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.http.edge import Edge, started_edge


@pytest.fixture
async def edge(redis: Redis, redis_url: str) -> AsyncIterator[Edge]:
    """A started gateway over a clean Redis."""
    async with started_edge(redis, redis_url) as started:
        yield started
