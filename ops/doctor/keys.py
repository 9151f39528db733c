"""Keys that should not be there: without a name of ours, a record, or the lifetime they need."""

import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from ops.doctor.examination import Deployment
from ops.doctor.finding import Finding, fine, listed, warning
from streams.clock import SystemClock
from streams.keyspace import PLAIN, PREFIXES
from streams.model import ResourceClass
from streams.scripts import Client, text

PAGE = 1_000
LOOK_S = 15.0
# Names whose keys always have a lifetime, and those that live and end with their job's record.
WITH_LIFETIME = frozenset(
    {"staged_", "calls_", "worker_", "rate_", "tokens_", "usage_", "forecasts", "recent"}
)
WITH_JOB = frozenset({"payload_", "result_"})
ENTRIES_MAX = 2_000  # of one structure whose jobs are looked up
LATE_MS = 3_600_000  # the janitor comes every minute: an hour is not chance


class KeyFacts(msgspec.Struct, frozen=True):
    """One key under our tag."""

    key: str
    name: str  # of streams.keyspace, empty for none
    stays: bool = False  # it has no lifetime
    orphaned: bool = False  # it belongs to a job that has no record


async def check_keys(deployment: Deployment) -> list[Finding]:
    """Go over all keys under our tag, as far as the time goes."""
    redis: Client = deployment.engine.redis
    tag = deployment.settings.engine.tag
    cursor, looked, found = 0, 0, list[KeyFacts]()
    deadline = time.monotonic() + LOOK_S
    while True:
        cursor, raws = await redis.scan(cursor, match=f"{{{tag}}}:*", count=PAGE)
        facts = await _facts(redis, tag, [text(raw) for raw in raws])
        looked += len(facts)
        found += [one for one in facts if not one.name or _outlives(one) or one.orphaned]
        if cursor == 0 or time.monotonic() > deadline:
            return judge_keys(looked, found, whole=cursor == 0)


async def _facts(redis: Client, tag: str, keys: Sequence[str]) -> list[KeyFacts]:
    names = [name_of(tag, key) for key in keys]
    async with redis.pipeline(transaction=False) as pipe:
        for key, name in zip(keys, names, strict=True):
            pipe.pttl(key)
            pipe.exists(_record_of(tag, key) if name in WITH_JOB else key)
        answers = await pipe.execute()
    return [
        # -2: it ended between the two questions
        KeyFacts(key, name, stays=left == -1, orphaned=left != -2 and not exists)
        for key, name, left, exists in zip(keys, names, answers[::2], answers[1::2], strict=True)
    ]


def name_of(tag: str, key: str) -> str:
    """The name of the keyspace that explains a key, empty when none does."""
    bare = key.removeprefix(f"{{{tag}}}:")
    head, separator, _ = bare.partition(":")
    name = f"{head}_" if separator else head
    return name if name in (PREFIXES if separator else PLAIN) else ""


def _record_of(tag: str, key: str) -> str:
    return f"{{{tag}}}:job:" + key.removeprefix(f"{{{tag}}}:").partition(":")[2]


def _outlives(one: KeyFacts) -> bool:
    return one.stays and one.name in WITH_LIFETIME


def judge_keys(looked: int, found: Sequence[KeyFacts], *, whole: bool) -> list[Finding]:
    """Strangers, and keys that will never go."""
    groups = (
        ("that no part of ours writes", [one for one in found if not one.name]),
        ("that lack a lifetime", [one for one in found if _outlives(one)]),
        ("of jobs without a record", [one for one in found if one.orphaned and one.name]),
    )
    lines = []
    for what, keys in groups:
        if keys:
            said = f"{len(keys)} keys {what}: {listed((one.key for one in keys), 3)}"
            lines.append(warning("keys", said, "look who wrote them, then UNLINK them as `admin`"))
    if not whole:
        said = f"looked at {looked} keys, then the time was up"
        lines.append(warning("keys", said, "ask again while less is going on"))
    return lines or [fine("keys", f"{looked} keys, each explained")]


async def check_records(deployment: Deployment) -> list[Finding]:
    """Look whether what is delayed, blocked or appended has a record."""
    redis: Client = deployment.engine.redis
    keys = deployment.engine.keyspace
    places = {"blocked": [text(i) for i in await redis.smembers(keys.key("blocked"))]}
    for name in ResourceClass:
        due = await redis.zrange(keys.key("due_", name), 0, ENTRIES_MAX)
        places[f"{name}: delayed"] = [text(i) for i in due]
    for lane in await deployment.engine.inspector.lane_names():
        entries = await redis.xrange(keys.stream(lane), count=ENTRIES_MAX)
        places[f"lane {lane}"] = [text(fields.get(b"j")) for _, fields in entries]
    missing: Counter[str] = Counter()
    for place, ids in places.items():
        async with redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.exists(keys.job(job_id))
            missing[place] = (await pipe.execute()).count(0)
    return judge_records(missing)


def judge_records(missing: Counter[str]) -> list[Finding]:
    """Places without records: the jobs are gone, and nobody can say what they were."""
    remedy = "a worker drops them when their turn comes; look who deletes records"
    return [
        warning("records", f"{place}: {count} places of jobs without a record", remedy)
        for place, count in sorted(missing.items())
        if count
    ] or [fine("records", "every entry has a job")]


async def check_retention(deployment: Deployment) -> list[Finding]:
    """Look for rows that should have been forgotten."""
    redis: Client = deployment.engine.redis
    keys = deployment.engine.keyspace
    engine, now_ms = deployment.settings.engine, SystemClock().now_ms()
    ended_ms = now_ms - engine.retention_s * 1_000 - LATE_MS
    dead_ms = now_ms - engine.dead_retention_s * 1_000 - LATE_MS
    asked = {keys.key("callback_done"): ended_ms, keys.key("callback_dead"): dead_ms}
    for raw in await redis.smembers(keys.key("apps")):
        asked[keys.key("ended_", text(raw))] = ended_ms
        asked[keys.key("dead_", text(raw))] = dead_ms
    async with redis.pipeline(transaction=False) as pipe:
        for key, before_ms in asked.items():
            pipe.zcount(key, "-inf", before_ms)
        late = dict(zip(asked, await pipe.execute(), strict=True))
    return judge_retention({key: count for key, count in late.items() if count})


def judge_retention(late: dict[str, int]) -> list[Finding]:
    """The janitor runs in every worker: rows that stay mean that none runs, or all fail."""
    if not late:
        return [fine("retention", "nothing is kept beyond its time")]
    said = f"{sum(late.values())} rows are older than their retention, in {listed(late, 3)}"
    return [warning("retention", said, "start a worker: its janitor forgets them")]
