from collections.abc import Iterator

import pytest

from ops.redis_binary import RedisBinary
from tests.fuzz.target import Target, target
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def one(redis_binary: RedisBinary) -> Iterator[Target]:
    """A gateway of its own, over a Redis of its own."""
    server = RedisServer(redis_binary)
    try:
        with target(server.url) as made:
            yield made
    finally:
        server.stop()
