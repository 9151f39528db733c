"""What tests of the engine share: a broker and its read side on a clean server."""

import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.keyspace import Keyspace


@pytest.fixture
def broker(redis: "Redis") -> Broker:
    return Broker(redis, Keyspace())


@pytest.fixture
def inspector(redis: "Redis") -> Inspector:
    return Inspector(redis, Keyspace())
