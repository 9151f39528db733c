"""Own servers for tests that kill them, one test for each installed version."""

from collections.abc import Iterator

import pytest

from ops.redis_binary import RedisBinary
from tests.e2e.platform import DURABLE
from tests.support.redis_server import RedisServer


@pytest.fixture
def durable_server(redis_binary: RedisBinary) -> Iterator[RedisServer]:
    """A server of the newest version with an append-only file, for one test alone."""
    server = RedisServer(redis_binary, *DURABLE)
    yield server
    server.stop()
