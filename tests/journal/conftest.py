from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ops.redis_binary import RedisBinary, installed
from tests.journal.scene import client
from tests.support.redis_server import RedisServer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Servers that a test may kill: one of every installed version, or the newest."""
    if "mortal" not in metafunc.fixturenames:
        return
    binaries = installed()
    if metafunc.config.getoption("--redis-version") == "newest":
        binaries = binaries[:1]
    metafunc.parametrize(
        "mortal", [pytest.param(binary, id=binary.label) for binary in binaries], indirect=True
    )


@pytest.fixture
def mortal(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of the test's own that keeps an append-only file, written at once."""
    binary: RedisBinary = request.param
    server = RedisServer(binary, "appendonly yes", "appendfsync always", "maxmemory 64mb")
    yield server
    server.stop()


@pytest.fixture
async def wire(mortal: RedisServer) -> AsyncIterator["Redis"]:
    """A client of it."""
    async with client(mortal.url) as redis:
        yield redis


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the gateways of a test keep their journals."""
    return tmp_path / "journal"
