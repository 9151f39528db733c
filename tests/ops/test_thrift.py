"""What a process does to be cheap changes nothing of what it does."""

import asyncio
import gc
from urllib.parse import urlsplit

import pytest
import uvloop
from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import TimeoutError as RedisTimeout

from ops.collecting import THRESHOLDS, Settled
from ops.links import Direct, open_redis
from ops.settings import RedisSettings


class Packed(Direct, Connection):
    """redis-py's connection with our packing."""


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "a"),
        (
            "EVALSHA",
            "0" * 40,
            1,
            "{rn}:counts",
            b"\x00\xff",
            "\u00e6\u20ac",
            0,
            -1,
            2**40,
            1.5,
            1e16,
            "",
        ),
        ("CLIENT SETNAME", "roughneck"),
        ("SET", "large", b"x" * 70_000),
    ],
    ids=["short", "every kind", "two words", "large"],
)
def test_a_command_is_packed_as_by_redis_py(command: tuple[object, ...]) -> None:
    usual = b"".join(bytes(part) for part in Connection().pack_command(*command))
    assert b"".join(Packed().pack_command(*command)) == usual


async def test_an_opened_client_packs_so(redis_url: str) -> None:
    async with open_redis(RedisSettings(url=redis_url), "test") as client:
        assert isinstance(client, Redis)
        assert await client.ping()
        assert isinstance(client.connection_pool.make_connection(), Direct)
        assert await client.client_getname() == "roughneck-test"


async def test_a_write_that_nobody_reads_ends_with_its_time() -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n" * 2)  # to what redis-py says of itself
        await go.wait()
        while await reader.read(1 << 20):
            pass
        writer.close()
        done.set()

    server = await asyncio.start_server(read_late, "127.0.0.1", 0, limit=1)
    host, port = server.sockets[0].getsockname()
    link = Packed(host=host, port=port, socket_timeout=0.2, protocol=2)
    await link.connect()
    with pytest.raises(RedisTimeout):
        await link.send_packed_command(b"x" * 50_000_000, check_health=False)
    assert not link.is_connected
    assert link.socket_timeout == 0.2
    go.set()
    await done.wait()
    server.close()


def test_a_write_after_the_other_end_hung_up_says_that_the_link_is_gone(redis_url: str) -> None:
    async def write() -> None:
        host, port = urlsplit(redis_url).netloc.split(":")
        link = Packed(host=host, port=int(port))
        await link.connect()
        assert link._writer is not None
        link._writer.transport.abort()
        await asyncio.sleep(0.01)  # only then uvloop has closed it
        with pytest.raises(RedisAway):
            await link.send_packed_command(link.pack_command("PING"), check_health=False)
        assert not link.is_connected

    uvloop.run(write())


async def test_what_is_in_memory_once_a_process_has_started_is_looked_at_no_more() -> None:
    before, settled = gc.get_threshold(), Settled()
    await settled.start()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == THRESHOLDS
    await settled.stop()
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
