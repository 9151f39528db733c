"""What a process does to be cheap changes nothing of what it does."""

import gc

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import Connection

from ops.collecting import THRESHOLDS, Settled
from ops.links import Packing, open_redis
from ops.settings import RedisSettings


class Packed(Packing, Connection):
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
        assert isinstance(client.connection_pool.make_connection(), Packing)
        assert await client.client_getname() == "roughneck-test"


async def test_what_is_in_memory_once_a_process_has_started_is_looked_at_no_more() -> None:
    before, settled = gc.get_threshold(), Settled()
    await settled.start()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == THRESHOLDS
    await settled.stop()
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
