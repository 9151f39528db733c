"""What the doctor judges, by tables: facts in, findings out."""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.journal.survey import FolderFound, JournalFound
from ops.acl import roles
from ops.doctor.access import User, judge_users, lacking, may
from ops.doctor.endpoints import judge_endpoints
from ops.doctor.finding import Finding, Level, listed
from ops.doctor.jobs import judge_balances, judge_findings, judge_places
from ops.doctor.keys import (
    WITH_LIFETIME,
    KeyFacts,
    judge_keys,
    judge_records,
    judge_retention,
    name_of,
)
from ops.doctor.link import judge_clock, judge_latency
from ops.doctor.machine import (
    GIB,
    Disk,
    judge_disks,
    judge_embedded,
    judge_journals,
    judge_python,
    judge_settings,
)
from ops.doctor.server import judge_server
from ops.doctor.workers import judge_classes, judge_health, judge_processors
from ops.safety import ServerReport, options_of
from ops.settings import VERSION, load
from streams.audit import Balance, Findings, Misplaced
from streams.directory import Endpoint, WorkerCard
from streams.endpoints import EndpointHealth
from streams.inspector import ClassView, LaneView
from streams.model import ResourceClass, State
from tests.support.build import lane
from tests.support.leaks import LIFETIMES, SHORT

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
HERE = Path("/data")


def told(found: list[Finding]) -> list[tuple[Level, str]]:
    """Levels and sentences; whoever warns says what to do, in one sentence."""
    for one in found:
        assert (one.remedy == "") == (one.level is OK), one
        assert not one.remedy.endswith(".")
    return [(one.level, one.what) for one in found]


def check(found: list[Finding], *expected: tuple[Level, str]) -> None:
    """Whether exactly these levels were found, and each sentence has these words."""
    seen = told(found)
    assert [level for level, _ in seen] == [level for level, _ in expected], seen
    for (_, what), (_, words) in zip(seen, expected, strict=True):
        assert words in what


SAFE = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory": "1000000000",
    "maxmemory-policy": "noeviction",
    "protected-mode": "yes",
    "bind": "127.0.0.1",
    "cluster-enabled": "no",
}
INFO: dict[str, Any] = {
    "aof_enabled": 1,
    "maxmemory": 1_000_000_000,
    "maxmemory_policy": "noeviction",
    "total_system_memory": 4_000_000_000,
    "used_memory": 1_000_000,
    "role": "master",
    "evicted_keys": 0,
    "connected_clients": 5,
    "maxclients": 1000,
}


@pytest.mark.parametrize(
    ("options", "info", "version", "expected"),
    [
        ({}, {}, (7, 0, 15), []),
        ({}, {}, (6, 2, 14), [("version", WARNING, "out of support")]),
        ({}, {}, (6, 0, 1), [("version", PROBLEM, "lacks XAUTOCLAIM")]),
        ({"appendonly": "no"}, {}, (7, 0, 0), [("durability", PROBLEM, "appendonly is off")]),
        ({"appendfsync": "no"}, {}, (7, 0, 0), [("durability", PROBLEM, "appendfsync")]),
        (
            {"no-appendfsync-on-rewrite": "yes"},
            {},
            (7, 0, 0),
            [("durability", WARNING, "rewritten")],
        ),
        (
            {},
            {"aof_last_bgrewrite_status": "err"},
            (7, 0, 0),
            [("durability", PROBLEM, "grows without end")],
        ),
        (
            {},
            {"rdb_last_bgsave_status": "err"},
            (7, 0, 0),
            [("durability", PROBLEM, "refuse all writes")],
        ),
        ({}, {"aof_delayed_fsync": 3}, (7, 0, 0), [("durability", WARNING, "late 3 times")]),
        (
            {"maxmemory-policy": "allkeys-lru"},
            {},
            (7, 0, 0),
            [("memory", PROBLEM, "throw jobs away")],
        ),
        ({"maxmemory": "0"}, {"maxmemory": 0}, (7, 0, 0), [("memory", WARNING, "not set")]),
        ({}, {"used_memory": 960_000_000}, (7, 0, 0), [("memory", PROBLEM, "memory is full")]),
        (
            {},
            {"total_system_memory": 1_100_000_000},
            (7, 0, 0),
            [("memory", WARNING, "90 % of the machine")],
        ),
        ({}, {"role": "slave"}, (7, 0, 0), [("role", PROBLEM, "replica")]),
        ({}, {"evicted_keys": 4}, (7, 0, 0), [("role", PROBLEM, "4 keys were thrown away")]),
        ({}, {"connected_clients": 900}, (7, 0, 0), [("role", WARNING, "900 of 1000")]),
    ],
)
def test_a_server_is_judged(
    options: dict[str, str],
    info: dict[str, Any],
    version: tuple[int, ...],
    expected: list[tuple[str, Level, str]],
) -> None:
    given = ServerReport(version, 1_000_000, {**SAFE, **options}, has_password=True)
    found = judge_server(given, {**INFO, **info})
    told(found)
    bad = [one for one in found if one.level is not OK]
    assert [(one.check, one.level) for one in bad] == [row[:2] for row in expected]
    assert all(words in one.what for one, (_, _, words) in zip(bad, expected, strict=True))
    assert {one.check for one in found} >= {"version", "durability", "memory", "access", "role"}


def test_a_server_whose_configuration_is_secret_is_judged_by_what_it_tells() -> None:
    blind = ServerReport((7, 0, 0), 1, options_of(INFO), has_password=True, config_read=False)
    check([one for one in judge_server(blind, INFO) if one.level is not OK], (WARNING, "CONFIG"))
    risky = options_of({**INFO, "aof_enabled": 0, "maxmemory_policy": "allkeys-lru"})
    found = judge_server(msgspec.structs.replace(blind, options=risky), INFO)
    assert [one.check for one in found if one.level is PROBLEM] == ["durability", "memory"]


@pytest.mark.parametrize(
    ("took_ms", "level"),
    [([0.2] * 5, OK), ([80.0] * 5, WARNING), ([1.0] * 5 + [1500.0], WARNING), ([1200.0], PROBLEM)],
)
def test_a_link_is_judged_by_its_pace(took_ms: list[float], level: Level) -> None:
    check([judge_latency(took_ms)], (level, "ms for a call"))


@pytest.mark.parametrize(
    ("apart_ms", "level", "words"),
    [
        (0, OK, "0.0 s"),
        (-1_500, OK, "1.5 s behind"),
        (3_000, WARNING, "3.0 s ahead"),
        (-120_000, PROBLEM, "120.0 s behind"),
    ],
)
def test_a_clock_is_judged_by_its_distance(apart_ms: int, level: Level, words: str) -> None:
    check([judge_clock(apart_ms)], (level, words))


@pytest.mark.parametrize(
    ("rules", "command", "granted"),
    [
        ("+@all", "flushall", True),
        ("+@all -@dangerous", "flushall", False),
        ("+@all -@admin", "config|get", False),
        ("+@all -flushall", "flushall", False),
        ("-@all +get", "get", True),
        ("-@all +get", "set", False),
        ("-@all +xinfo|groups", "xinfo|groups", True),
        ("-@all +xinfo", "xinfo|groups", True),
        ("-@all +xinfo|stream", "xinfo|groups", False),
        ("-@all +get -@all", "get", False),
        ("nonsense", "get", False),
    ],
)
def test_what_rules_grant(rules: str, command: str, *, granted: bool) -> None:
    assert may(rules.split(), command) is granted


def test_users_who_may_too_much_or_too_little_are_named() -> None:
    shipped = {
        name: User(name, True, False, tuple(rule for rule in rules if rule[0] in "+-"))
        for name, rules in roles().items()
    }
    off = User("default", False, False, ("-@all",))
    check(judge_users("operator", {**shipped, "default": off}), (OK, "we are `operator`"))
    wide = User("default", True, True, ("+@all",))
    found = judge_users("default", {"default": wide})
    check(found, (WARNING, "without a password"), (WARNING, "we are `default`, who may config"))
    less = tuple(rule for rule in shipped["worker"].rules if rule not in ("+xack", "+hvals"))
    poor = msgspec.structs.replace(shipped["worker"], rules=less)
    check(
        judge_users("operator", {**shipped, "worker": poor}),
        (WARNING, "user `worker` lacks hvals, xack"),
    )
    assert lacking(("-@all", "+@read"), {"get"}) == []


def view(*lanes: LaneView, paused: bool = False, name: str = "io", active: int = 0) -> ClassView:
    waiting = sum(each.waiting for each in lanes)
    return ClassView(ResourceClass(name), paused, waiting, active, 0, {}, list(lanes))


def card(**fields: Any) -> WorkerCard:
    given = {"slots": {"io": 1}, "processors": ("echo",), "version": VERSION, **fields}
    return WorkerCard(id="h-1", host="h", pid=1, pools={}, running={}, **given)


CARDS: Any = {"echo": SimpleNamespace(resource_class="io")}


def waits(processor: str = "echo", **fields: str) -> LaneView:
    return LaneView(lane(processor=processor, **fields), waiting=3, active=0, oldest_age_ms=1)


def test_classes_and_their_workers() -> None:
    check(judge_classes([card()], [view()], CARDS), (OK, "class io: 1 workers"))
    check(judge_classes([], [view(waits())], CARDS), (PROBLEM, "class io has no worker, and 3"))
    check(judge_classes([], [view(active=2)], CARDS), (PROBLEM, "no worker, and 2 jobs"))
    check(judge_classes([], [view()], CARDS), (WARNING, "class io has no worker"))
    check(judge_classes([], [view()], {}), (WARNING, "none lives"))
    check(
        judge_classes([card()], [view(waits(), paused=True)], CARDS),
        (WARNING, "class io is paused, 3 jobs wait"),
        (OK, "class io"),
    )


def test_workers_that_are_sick_or_of_another_version() -> None:
    assert judge_health([card()]) == []
    check(judge_health([card(healthy=False)]), (PROBLEM, "not healthy: h-1"))
    check(judge_health([card(version="0.0.9")]), (WARNING, "version 0.0.9"))


def test_lanes_and_processors_without_anybody() -> None:
    check(judge_processors([card()], [view(waits())], CARDS), (OK, "can be run"))
    check(
        judge_processors([card()], [view(waits("fetch"))], CARDS),
        (PROBLEM, "no living worker has fetch, 3 jobs wait"),
    )
    check(judge_processors([], [view()], CARDS), (WARNING, "no living worker has them: echo"))
    asks = waits("ask", resource_class="ollama", model="llama")
    ask: Any = {"ask": SimpleNamespace(resource_class="ollama")}
    able = card(processors=("ask",), models=("gemma",))
    check(
        judge_processors([able], [view(asks, name="ollama")], ask),
        (PROBLEM, "no living host has llama"),
    )
    able = card(processors=("ask",), models=("gemma", "llama"))
    check(judge_processors([able], [view(asks, name="ollama")], ask), (OK, "can be run"))


def test_counters_places_and_findings() -> None:
    even = [Balance(name, "waiting", 1, 1) for name in ResourceClass]
    check(judge_balances(even), (OK, "equal"))
    off = Balance("io", "waiting", 2, 1)
    check(judge_balances([*even, off]), (PROBLEM, "io: waiting is counted"))
    check(judge_balances(even[1:]), (WARNING, "class ollama has over"))
    check(judge_places(7, [], whole=True), (OK, "7 jobs"))
    lost = [Misplaced(f"0-{n}", "entry gone", mended=False) for n in range(4)]
    check(
        judge_places(9, lost, whole=False),
        (PROBLEM, "4 of 9 jobs looked at: entry gone (0-0, 0-1, 0-2 and 1 more)"),
        (WARNING, "the time was up"),
    )
    day = 86_400_000
    check(judge_findings(Findings(ended_ms=5 * day, looked=3), 5 * day), (OK, "saw 3 jobs"))
    check(judge_findings(Findings(), 5 * day), (WARNING, "no walk yet"))
    check(judge_findings(Findings(ended_ms=3 * day), 5 * day), (WARNING, "within a day"))
    seen = Findings(5 * day, 3, {"no result": 2}, {"entry gone": 1})
    check(judge_findings(seen, 5 * day), (PROBLEM, "2 jobs: no result"), (WARNING, "entry gone 1"))


def test_keys_records_and_retention() -> None:
    check(judge_keys(5, [], whole=True), (OK, "5 keys"))
    found = [
        KeyFacts("{rn}:mine", ""),
        KeyFacts("{rn}:calls:w", "calls_", stays=True),
        KeyFacts("{rn}:result:0-x", "result_", orphaned=True),
    ]
    check(
        judge_keys(5, found, whole=False),
        (WARNING, "1 keys that no part of ours writes: {rn}:mine"),
        (WARNING, "1 keys that lack a lifetime: {rn}:calls:w"),
        (WARNING, "1 keys of jobs without a record: {rn}:result:0-x"),
        (WARNING, "the time was up"),
    )
    check(judge_records(Counter({"blocked": 0})), (OK, "every entry"))
    check(judge_records(Counter({"io: delayed": 2})), (WARNING, "io: delayed: 2 places"))
    check(judge_retention({}), (OK, "nothing"))
    check(judge_retention({"{rn}:ended:a": 2}), (WARNING, "2 rows are older"))


def test_every_key_is_explained_and_lifetimes_are_those_of_the_table() -> None:
    assert name_of("rn", "{rn}:job:0-x") == "job_"
    assert name_of("rn", "{rn}:counts") == "counts"
    assert name_of("rn", "{rn}:counts:x") == ""
    assert name_of("rn", "{rn}:jobs") == ""
    promised = {name for name, life in LIFETIMES.items() if SHORT.match(life)}
    assert promised - WITH_LIFETIME == set(), "ops.doctor.keys does not know of these"


def test_endpoints() -> None:
    def endpoint(name: str) -> Endpoint:
        url = f"https://{name}.example/"
        return Endpoint(name, "web", url, ("whsec_hush",), (State.DEAD,), 1)

    well = EndpointHealth()
    check(judge_endpoints([endpoint("a")], {"a": well}, {"a": ""}), (OK, "1 endpoints"))
    found = judge_endpoints(
        [endpoint("a"), endpoint("b"), endpoint("c")],
        {"a": well, "b": EndpointHealth("it answered 410"), "c": well},
        {"a": "refused"},
    )
    check(
        found,
        (PROBLEM, "web: https://a.example/: refused"),
        (WARNING, "is disabled: it answered 410"),
        (WARNING, "1 more were not asked: c"),
    )
    assert "hush" not in str(found)


def test_software_settings_and_disks() -> None:
    check([judge_python(sys.version_info[:3])], (OK, VERSION))
    check([judge_python((3, 10, 2))], (PROBLEM, "3.10.2"))
    plain = load(environ={})
    check(judge_settings(plain, HERE, None), (OK, "defaults"))
    check(judge_settings(plain, HERE, 0o644), (OK, "read /data"))
    secret = load(environ={}, given={"redis.url": "redis://u:hush@h/0"})
    check(judge_settings(secret, HERE, 0o600), (OK, "read"))
    found = judge_settings(secret, HERE, 0o644)
    check(found, (PROBLEM, "others may read it (644)"))
    assert "hush" not in str(found)
    wide = load(environ={"ROUGHNECK_NETWORK__ALLOW_NETWORKS": "10.0.0.0/8,127.0.0.0/8"})
    check(judge_settings(wide, HERE, None), (WARNING, "10.0.0.0/8"))
    rooms = [Disk("journal", HERE, 100 * GIB, free) for free in (9 * GIB, GIB, 1_000)]
    check(judge_disks(rooms), (OK, "9.0 GiB"), (WARNING, "1.0 GiB"), (PROBLEM, "0.0 GiB"))


def test_the_embedded_server() -> None:
    check([judge_embedded(HERE, serves=True, pid=7, alive=True)], (OK, "process 7"))
    check([judge_embedded(HERE, serves=False, pid=7, alive=True)], (PROBLEM, "does not answer"))
    check([judge_embedded(HERE, serves=False, pid=7, alive=False)], (PROBLEM, "none runs"))


def test_journals() -> None:
    def folder(unreadable: tuple[Path, ...] = (), **fields: Any) -> list[FolderFound]:
        return [FolderFound(HERE, (JournalFound(HERE / "gateway-0.db", **fields),), unreadable)]

    now, kept = 10_000_000, (SimpleNamespace(why="older than retention"),)
    check(judge_journals([], now, 1), (OK, "nothing waits"))
    check(judge_journals(folder(in_use=True, shipped=3), now, 1), (OK, "nothing waits"))
    fresh = folder(in_use=True, spooled=2, oldest_ms=now - 5_000)
    check(judge_journals(fresh, now, now), (OK, "2 accepted jobs"))
    late = folder(in_use=False, spooled=2, oldest_ms=now - 60_000)
    check(
        judge_journals(late, now, 50_000),
        (WARNING, "not in Redis, the oldest for 60 s"),
        (WARNING, "older than the retention"),
        (PROBLEM, "has jobs and no gateway"),
    )
    check(judge_journals(folder(kept=kept), now, now), (WARNING, "1 jobs were not sent: older"))
    check(judge_journals(folder(problem="malformed"), now, now), (PROBLEM, "cannot be read"))
    aside = folder(unreadable=(HERE / "gateway-0.db.unreadable-1",))
    check(judge_journals(aside, now, now), (PROBLEM, "set aside as unreadable"))


def test_many_names_are_counted() -> None:
    assert listed(["b", "a"]) == "a, b"
    assert listed("edcba", 2) == "a, b and 3 more"
