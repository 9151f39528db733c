"""What attempts say while they run: once, in order, fenced; a new attempt begins anew."""

import asyncio

import msgspec
import pytest
from redis.asyncio import Redis

from streams.attempt import Attempt
from streams.broker import Broker
from streams.errors import Unavailable
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import Again, Done, Lease
from streams.scripts import text
from streams.settings import EngineSettings
from streams.tokens import KEPT_MAX_BYTES, Speaker, TokenReader, Unsaid, whole_characters
from tests.redis.scenes import FAULT, KEYS, leased, settle
from tests.redis.stage import ended
from tests.support.build import Hand, new_job
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until


async def say(broker: Broker, lease: Lease, start: int, piece: str) -> str:
    raw = piece.encode()
    row = (lease.job_id, lease.token, start, start + len(raw), raw)
    [answer] = await broker.scripts.run("say", *row)
    return text(answer)


async def said(redis: Redis, job_id: str) -> list[tuple[int, int, str]]:
    pieces = await TokenReader(redis, KEYS).read(job_id)
    return [(piece.attempt, piece.at, piece.text) for piece in pieces]


async def test_pieces_are_kept_in_order_and_once(redis: Redis, broker: Broker) -> None:
    lease = await leased(broker, new_job())
    assert await say(broker, lease, 0, "Hej ") == "said"
    assert await say(broker, lease, 0, "Hej ") == "said"
    assert await say(broker, lease, 4, "på ") == "said"
    assert await say(broker, lease, 0, "Hej på dig") == "said"  # resent together with what is new
    assert await said(redis, lease.job_id) == [
        (1, 0, ""),
        (1, 0, "Hej "),
        (1, 4, "på "),
        (1, 8, "dig"),
    ]


async def test_what_is_missing_can_be_seen(redis: Redis, broker: Broker) -> None:
    lease = await leased(broker, new_job())
    await say(broker, lease, 0, "a")
    await say(broker, lease, 10, "b")
    assert [at for _, at, _ in await said(redis, lease.job_id)] == [0, 0, 10]


async def test_a_new_attempt_begins_anew_and_the_old_one_is_not_heard(
    redis: Redis, broker: Broker
) -> None:
    first = await leased(broker, new_job())
    await say(broker, first, 0, "old")
    newest = (await TokenReader(redis, KEYS).read(first.job_id))[-1].id
    await settle(broker, first, Again(0, FAULT))
    [second] = await Hand(broker, "other").take()
    assert await say(broker, first, 3, "er") == "lost"
    assert await said(redis, first.job_id) == [(1, 0, ""), (1, 0, "old")]
    await say(broker, second, 0, "new")
    assert await said(redis, first.job_id) == [(2, 0, ""), (2, 0, "new")]
    seen = await TokenReader(redis, KEYS).read(first.job_id, newest)
    assert [piece.begins for piece in seen] == [True, False], "a viewer is told of it"


async def test_nothing_is_said_after_the_end(redis: Redis, broker: Broker) -> None:
    lease = await leased(broker, new_job())
    await settle(broker, lease, Done(b"1"))
    assert await say(broker, lease, 0, "late") == "lost"
    assert await said(redis, lease.job_id) == []


async def test_more_than_the_limit_is_cut_and_says_so(redis: Redis) -> None:
    broker = Broker(redis, Keyspace(), EngineSettings(tokens_max_bytes=10))
    lease = await leased(broker, new_job())
    assert await say(broker, lease, 0, "12345678") == "said"
    assert await say(broker, lease, 8, "9abc") == "full"
    assert await say(broker, lease, 12, "d") == "full"
    pieces = await TokenReader(redis, KEYS).read(lease.job_id)
    assert [(piece.text, piece.cut) for piece in pieces] == [
        ("", False),
        ("12345678", False),
        ("", True),
    ]


async def test_readers_wait_for_news_of_many_jobs(redis: Redis, broker: Broker) -> None:
    reader = TokenReader(redis, KEYS)
    one, other = await leased(broker, new_job()), await leased(broker, new_job(), "v")
    assert await reader.news({one.job_id: "0", other.job_id: "0"}, block_ms=10) == {}
    await say(broker, other, 0, "x")
    heard = await reader.news({one.job_id: "0", other.job_id: "0"}, block_ms=1_000)
    assert list(heard) == [other.job_id]
    assert await reader.news({one.job_id: "0", **heard}, block_ms=10) == {}


# ---------------------------------------------------------------- the worker's side


class Counted(Broker):
    """A broker that counts calls of `say`, and lets some of them fail."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, KEYS)
        self.rows: list[int] = []
        self.lost = 0
        run = self.scripts.run

        async def counted(name: str, *arguments: str | bytes | int | float) -> object:
            answer = await run(name, *arguments)
            if name == "say":
                self.rows.append(len(arguments) // 5)
                if self.lost:
                    self.lost -= 1
                    raise Unavailable("the answer was lost")
            return answer

        self.scripts.run = counted  # type: ignore[method-assign]  # counts what goes out


async def talk(attempt: Attempt) -> bytes:
    """Says its payload's words, one by one."""
    for word in msgspec.json.decode(attempt.payload):
        attempt.emit(f"{word} ")
        await asyncio.sleep(0.005)
    return b'"done"'


async def test_a_workers_pieces_are_gathered(redis: Redis, redis_url: str) -> None:
    """Forty words each from three jobs in 0.2 s: a call every 50 ms, all there at the end."""
    broker, inspector = Counted(redis), Inspector(redis, KEYS)
    words = [f"w{number}" for number in range(40)]
    jobs = [new_job(msgspec.json.encode(words)) for _ in range(3)]
    async with plain_worker(broker, redis_url, talk):
        began = asyncio.get_running_loop().time()
        await broker.submit(jobs)
        for job in jobs:
            await ended(inspector, job.id)
        spent_s = asyncio.get_running_loop().time() - began
        for job in jobs:
            pieces = [piece for _, _, piece in await said(redis, job.id)]
            assert "".join(pieces) == "".join(f"{word} " for word in words)
    assert len(broker.rows) <= spent_s / 0.05 + 2
    assert max(broker.rows) == 3


async def test_a_lost_answer_says_nothing_twice(redis: Redis, redis_url: str) -> None:
    broker, inspector = Counted(redis), Inspector(redis, KEYS)
    broker.lost = 1
    job = new_job(b'["once", "upon", "a", "time"]')
    async with plain_worker(broker, redis_url, talk):
        await broker.submit([job])
        await ended(inspector, job.id)
        await until(lambda: len(broker.rows) >= 2, what="the piece to be said again")
    assert "".join(piece for _, _, piece in await said(redis, job.id)) == "once upon a time "


async def test_a_silent_redis_holds_no_attempt_up_for_long(
    redis: Redis, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await leased(broker, new_job())

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("streams.tokens.LAST_S", 0.05)
    monkeypatch.setattr(broker.scripts, "run", hang)
    speaker = Speaker(broker.scripts)
    speaker.say(lease, "never heard")
    async with asyncio.timeout(2):
        await speaker.finish(lease)
    assert speaker._unsaid == {}


def test_what_cannot_be_kept_is_left_out_and_leaves_a_hole() -> None:
    unsaid = Unsaid(None)  # type: ignore[arg-type]  # no lease is needed
    unsaid.add("a" * KEPT_MAX_BYTES)
    unsaid.add("b" * 10)
    assert (len(unsaid.kept), unsaid.dropped) == (KEPT_MAX_BYTES, 10)
    unsaid.heard(KEPT_MAX_BYTES)
    unsaid.add("c")
    assert (unsaid.start, bytes(unsaid.kept)) == (KEPT_MAX_BYTES + 10, b"c")


@pytest.mark.parametrize(
    ("raw", "whole"),
    [
        (b"abc", b"abc"),
        ("å".encode(), "å".encode()),
        ("aå".encode()[:-1], b"a"),
        ("€".encode()[:2], b""),
        ("x😀".encode()[:-1], b"x"),
        ("x😀".encode(), "x😀".encode()),
        (b"", b""),
    ],
)
def test_a_character_is_never_cut(raw: bytes, whole: bytes) -> None:
    assert whole_characters(raw) == whole
