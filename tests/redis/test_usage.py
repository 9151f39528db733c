"""What was used of models: summed with the settle that is accepted, and only with it."""

from datetime import date, timedelta
from typing import Any

from redis.asyncio import Redis

from streams.broker import Broker
from streams.inspector import Inspector
from streams.model import Again, Dead, Done, HandedBack, Lease, NewJob, Settled, Settlement, Verdict
from streams.usage import By, Usage, UsageRow, day_number, day_of, grouped
from streams.usage_sums import UsageSums
from tests.redis.scenes import FAULT, KEYS, run_out
from tests.support.build import Hand, new_job

ANSWER = Usage(asks=1, swaps=1, prompt_tokens=100, completion_tokens=40, load_s=8.25, eval_s=2.0)
MORE = Usage(asks=2, repairs=1, prompt_tokens=7, completion_tokens=3, eval_s=0.5)


def asked(broker: Broker, name: str = "w") -> Hand:
    return Hand(broker, name, "ollama", pool="ollama@mac", models=["gen", "pipe|d"])


def ask(**fields: Any) -> NewJob:
    return new_job(**{"resource_class": "ollama", "processor": "ask", "model": "gen", **fields})


async def today(redis: "Redis") -> date:
    return day_of(int((await redis.time())[0]) * 1_000)


async def sums(redis: "Redis") -> list[UsageRow]:
    day = await today(redis)
    return await UsageSums(redis, KEYS).rows(day - timedelta(days=1), day)


async def settled(broker: Broker, lease: Lease, verdict: Verdict, usage: Usage) -> Settled:
    [answer] = await broker.settle("w", [Settlement(lease.job_id, lease.token, verdict, usage)])
    return answer


async def test_all_attempts_of_a_job_are_summed_whatever_their_verdict(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    job = ask(attempts_max=9)
    await broker.submit([job])
    hand = asked(broker)
    for verdict in (Again(0, FAULT), Again(0, FAULT, counts=False), HandedBack(), Dead(FAULT)):
        [lease] = await hand.take()
        assert await settled(broker, lease, verdict, ANSWER) is Settled.SETTLED
    found = await inspector.job(job.id)
    assert found is not None
    assert found.usage == ANSWER + ANSWER + ANSWER + ANSWER
    [row] = await sums(redis)
    assert (row.app, row.processor, row.model) == ("etyde", "ask", "gen")
    assert row.usage == found.usage


async def test_what_is_sent_again_or_not_accepted_counts_nothing(
    redis: "Redis", broker: Broker, inspector: Inspector
) -> None:
    await broker.submit([ask()])
    [zombie] = await asked(broker).take()
    await run_out(redis, zombie)
    [lease] = await asked(broker, "second").take()
    assert await settled(broker, lease, Done(b"1"), ANSWER) is Settled.SETTLED
    before = await sums(redis)
    assert await settled(broker, lease, Done(b"1"), ANSWER) is Settled.ALREADY
    assert await settled(broker, zombie, Done(b"2"), ANSWER) is Settled.LOST
    found = await inspector.job(lease.job_id)
    assert await sums(redis) == before
    assert found is not None
    assert found.usage == ANSWER


async def test_one_call_with_many_verdicts_sums_each_place(redis: "Redis", broker: Broker) -> None:
    await broker.set_limit("ollama@mac", 9)
    jobs = [ask(), ask(app="web"), ask(), ask(app="web", model="pipe|d")]
    await broker.submit(jobs)
    leases = await asked(broker).take(9)
    rows = [Settlement(one.job_id, one.token, Done(b"1"), MORE) for one in leases]
    await broker.settle("w", rows)
    found = await sums(redis)
    assert {(row.app, row.model): row.usage for row in found} == {
        ("etyde", "gen"): MORE + MORE,
        ("web", "gen"): MORE,
        ("web", "pipe|d"): MORE,
    }
    assert [row.usage.asks for row in grouped(found, [By.APP])] == [4, 4]
    assert [row.model for row in grouped(found, [By.MODEL])] == ["gen", "pipe|d"]
    assert [row.usage.asks for row in grouped(found, [])] == [8]
    only = await UsageSums(redis, KEYS).rows(found[0].day, found[0].day, "web")  # type: ignore[arg-type]
    assert {row.app for row in only} == {"web"}


async def test_a_day_has_a_bounded_number_of_rows_and_a_lifetime(
    redis: "Redis", broker: Broker
) -> None:
    key = KEYS.key("usage_", str(day_number(await today(redis))))
    await redis.hset(key, mapping={f"app{n}|ask|gen": "1 0 0 0 0 0 0 0 0" for n in range(10_000)})
    await broker.submit([ask(), ask()])
    hand = asked(broker)
    for _ in range(2):
        [lease] = await hand.take()
        await settled(broker, lease, Done(b"1"), ANSWER)
    assert await redis.hlen(key) == 10_001
    assert await redis.hget(key, "*|*|*") == b"2 0 0 2 200 80 16500 0 4000"
    assert 0 < await redis.pttl(key) <= broker.settings.usage_retention_s * 1_000
