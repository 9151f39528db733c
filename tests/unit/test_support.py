"""The fixtures' own promises: a clean server, a leak that is seen, a wait that ends."""

import pytest
from redis.asyncio import Redis

from streams.keyspace import PLAIN, PREFIXES, Keyspace
from tests.support.leaks import LIFETIMES, leaks, row_of
from tests.support.redis_state import lifetimes, whole_state
from tests.support.waiting import until, until_sync

KEYS = Keyspace("rn")


async def test_each_test_starts_with_an_empty_server(redis: "Redis") -> None:
    assert await whole_state(redis) == {}
    await redis.hset(KEYS.key("counts"), "io|waiting", "1")


@pytest.mark.may_leak
async def test_a_key_without_a_row_or_a_lifetime_is_a_leak(redis: "Redis") -> None:
    await redis.set("stray", "1")
    await redis.set(KEYS.key("calls_", "w:io"), "1")
    await redis.hset(KEYS.job("0-live"), "state", "active")
    await redis.hset(KEYS.job("0-over"), "state", "succeeded")
    await redis.set(KEYS.payload("0-live"), "{}")
    await redis.set(KEYS.payload("0-gone"), "{}")
    await redis.hset(KEYS.key("callback_", "msg_1"), "status", "waiting")
    await redis.hset(KEYS.key("callback_", "msg_2"), "status", "delivered")
    assert await leaks(redis) == [
        "stray: not in the table of streams.keyspace",
        "{rn}:callback:msg_2: has no TTL though it ended",
        "{rn}:calls:w:io: has no TTL; the table promises 1 day",
        "{rn}:job:0-over: has no TTL though its job ended",
        "{rn}:payload:0-gone: has no TTL and no job",
    ]


@pytest.mark.may_leak
async def test_the_whole_state_has_every_type_as_a_plain_value(redis: "Redis") -> None:
    await redis.set("text", "a", px=60_000)
    await redis.hset("hash", "f", "v")
    await redis.zadd("sorted", {"m": 2})
    await redis.sadd("set", "x")
    await redis.xadd("stream", {"j": "1"}, id="1-1")
    await redis.xgroup_create("stream", "workers", "0")
    await redis.xreadgroup("workers", "w1", {"stream": ">"})
    assert await whole_state(redis, but=("text",)) == {
        "hash": {"f": "v"},
        "set": {"x"},
        "sorted": {"m": 2.0},
        "stream": {"entries": {"1-1": {"j": "1"}}, "groups": {"workers": {"1-1": ("w1", 1)}}},
    }
    left = await lifetimes(redis)
    assert left["hash"] is None
    assert 0 < (left["text"] or 0) <= 60_000


def test_every_name_of_the_keyspace_has_a_row_with_a_lifetime() -> None:
    assert set(LIFETIMES) == {*PLAIN, *PREFIXES}


def test_a_key_is_found_in_the_table_by_its_prefix() -> None:
    assert row_of(KEYS.stream("io:web:high:echo:")) == ("stream_", "io:web:high:echo:")
    assert row_of(KEYS.key("counts")) == ("counts", "")
    assert row_of("{rn}:nonsense:1") == ("", "")


async def test_a_wait_fails_with_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.02 s for godot; last answer: 0"):
        await until(lambda: 0, what="godot", limit_s=0.02)
    with pytest.raises(AssertionError, match=r"waited 0\.02 s for godot"):
        until_sync(lambda: None, what="godot", limit_s=0.02)


async def test_a_wait_ends_with_the_first_true_answer() -> None:
    answers = iter([0, 0, 7])
    assert await until(lambda: next(answers), what="seven") == 7
