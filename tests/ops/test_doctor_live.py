"""The doctor on real servers: what it finds, what it cannot, what it mends, what it never says."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Plain
from redis.asyncio import Redis

from ops.doctor import Check, Deployment, Finding, Level, examine
from ops.doctor.endpoints import trouble_with
from ops.doctor.examination import examined
from ops.doctor.link import check_link
from ops.links import Engine, opened_engine
from ops.redis_binary import RedisBinary
from ops.settings import VERSION, load
from processors.dependencies.guard import Guard, GuardSettings
from streams.directory import Endpoint, WorkerCard
from streams.model import State
from tests.support.build import Hand, new_job
from tests.support.redis_server import RedisServer, free_port
from tests.support.roles import GuardedServer
from tests.web.local_server import local_server

LIMIT_S = 60.0


class Report:
    """One run of `roughneck doctor -o json`, as a process of its own."""

    def __init__(self, url: str, folder: Path, *arguments: str, **settings: str) -> None:
        given = {"GATEWAY__JOURNAL_FOLDER": f"{folder}/journal", "REDIS__URL": url, **settings}
        given |= {"WORKER__JOURNAL_FOLDER": f"{folder}/verdicts"}
        plain = {name: value for name, value in os.environ.items() if "ROUGHNECK_" not in name}
        ran = subprocess.run(
            [sys.executable, "-m", "ops.cli", "doctor", "-o", "json", *arguments],
            cwd=folder,
            env=plain | {f"ROUGHNECK_{name}": value for name, value in given.items()},
            capture_output=True,
            check=False,
            text=True,
            timeout=LIMIT_S,
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        self.code, self.out, self.notes = ran.returncode, ran.stdout, ran.stderr
        self.findings = [
            Finding(**{**row, "level": Level(row["level"])}) for row in json.loads(ran.stdout)
        ]

    def bad(self, check: str = "") -> list[str]:
        """What is not ok, in the words of the doctor."""
        return [
            one.what
            for one in self.findings
            if one.level is not Level.OK and check in ("", one.check)
        ]


@pytest.fixture(scope="module")
def guarded(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedServer]:
    running = GuardedServer(redis_server.binary, tmp_path_factory.mktemp("guarded"))
    yield running
    running.stop()


@pytest.fixture
def clean(guarded: GuardedServer) -> GuardedServer:
    with Plain.from_url(guarded.url) as admin:
        admin.flushall()
    return guarded


def on(server: GuardedServer, act: Callable[[Engine], Awaitable[Any]]) -> Any:
    """What `act` answers on that server."""

    async def inside() -> Any:
        async with opened_engine(
            load(environ={}, given={"redis.url": server.url}), "test"
        ) as engine:
            return await act(engine)

    return asyncio.run(inside())


WORKER = WorkerCard("h-1", "h", 1, VERSION, {"io": "io"}, {"io": 1}, {}, ("echo",))


async def at_work(engine: Engine) -> None:
    """A worker lives, one job waits, one is active, and the auditor has walked."""
    await engine.directory.announce_worker(WORKER)
    await engine.broker.submit([new_job(), new_job()])
    await Hand(engine.broker).take(1)
    await engine.audit.begin_turn("h-1", 1)
    await engine.audit.end_turn("h-1", 1, 0, 2)


def test_a_server_as_shipped_with_a_worker_is_well(clean: GuardedServer, tmp_path: Path) -> None:
    on(clean, at_work)
    report = Report(clean.url_of("operator"), tmp_path)
    expected = [] if clean.binary.version >= (7,) else ["version"]
    assert [one.check for one in report.findings if one.level is not Level.OK] == expected
    assert report.code == 0
    assert {one.check for one in report.findings} >= {
        *("version", "settings", "disk", "journal", "link", "clock", "durability", "memory"),
        *("access", "role", "users", "workers", "lanes", "counters", "jobs", "auditor"),
        *("records", "keys", "retention", "endpoints"),
    }


def test_what_is_wrong_in_redis_is_found_and_mended_when_told(
    clean: GuardedServer, tmp_path: Path
) -> None:
    async def damage(engine: Engine) -> None:
        await at_work(engine)
        (lane,) = await engine.inspector.lane_names()
        stream = engine.keyspace.stream(lane)
        for entry, _ in await engine.redis.xrange(stream):
            await engine.redis.xdel(stream, entry)
        await engine.redis.hincrby(engine.keyspace.key("counts"), "io|succeeded", 1)
        await engine.redis.set("{rn}:what", "x")
        await engine.redis.set(engine.keyspace.result("0-x"), "1")
        await engine.redis.zadd(engine.keyspace.key("due_", "cpu"), {"0-y": 10**13})
        await engine.redis.zadd(engine.keyspace.key("ended_", "etyde"), {"0-z": 1})

    on(clean, damage)
    sick = Report(clean.url_of("operator"), tmp_path)
    assert sick.code == 1
    assert sick.bad("jobs") != []
    assert "entry gone" in sick.bad("jobs")[0]
    assert any("submitted is counted" in what for what in sick.bad("counters"))
    (strange, orphaned) = sick.bad("keys")
    assert "{rn}:what" in strange
    assert "{rn}:result:0-x" in orphaned
    assert sick.bad("records") == ["cpu: delayed: 1 places of jobs without a record"]
    assert len(sick.bad("retention")) == 1
    assert "put back" not in sick.notes

    mended = Report(clean.url_of("operator"), tmp_path, "--fix")
    assert "put back 2 jobs: entry gone" in mended.notes
    assert "counters of class io" in mended.notes
    assert mended.bad("jobs") == mended.bad("counters") == []
    assert mended.bad("keys") == sick.bad("keys"), "keys are never removed"


@pytest.mark.parametrize("role", ["viewer", "worker", "courier"])
def test_a_user_who_may_little_is_told_what_could_not_be_checked(
    clean: GuardedServer, tmp_path: Path, role: str
) -> None:
    on(clean, at_work)
    report = Report(clean.url_of(role), tmp_path)
    missing = {one.check for one in report.findings if "could not be checked" in one.what}
    assert "users" in missing
    assert any("CONFIG GET" in what for what in report.bad("durability"))
    done = {one.check for one in report.findings} - missing
    assert done >= {"link", "clock", "memory", "role"}
    advice = {one.remedy for one in report.findings if one.check in missing}
    assert any("`operator`" in each for each in advice), advice


def test_no_secret_is_said(clean: GuardedServer, tmp_path: Path) -> None:
    secret = "whsec_" + "hush" * 8

    async def register(engine: Engine) -> None:
        one = Endpoint("ep", "web", "https://127.0.0.1:1/", (secret,), (State.DEAD,), 1)
        await engine.callbacks.endpoints.put(one)

    on(clean, register)
    url = clean.url_of("operator")
    password = url.split(":")[2].split("@")[0]
    reports = [
        Report(url, tmp_path),
        Report(url.replace(password, "wrong-pass"), tmp_path),
        Report("redis://u:wrong-pass@127.0.0.1:nope/0", tmp_path),
        Report("http://u:wrong-pass@127.0.0.1/0", tmp_path),
    ]
    for report in reports:
        assert report.code == 1
        for word in (password, "wrong-pass", "hush"):
            assert word not in report.out + report.notes
    assert "password" in reports[1].findings[0].remedy


# ---------------------------------------------------------------- Redis barely reachable


def test_a_server_that_is_away_is_one_problem(tmp_path: Path) -> None:
    report = Report(f"redis://127.0.0.1:{free_port()}/0", tmp_path)
    assert [one.check for one in report.findings if one.level is Level.PROBLEM] == ["link"]
    assert report.code == 1


def test_a_server_that_stands_still_does_not_hold_the_doctor(
    redis_binary: RedisBinary, tmp_path: Path
) -> None:
    server = RedisServer(redis_binary)
    try:
        os.kill(server.pid, signal.SIGSTOP)
        report = Report(server.url, tmp_path, REDIS__COMMAND_TIMEOUT_S="0.3")
        assert [one.check for one in report.findings if one.level is Level.PROBLEM] == ["link"]
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.stop()


def test_settings_that_cannot_be_read_are_the_only_finding(tmp_path: Path) -> None:
    report = Report("redis://127.0.0.1:1/0", tmp_path, GATEWAY__PROT="1")
    assert report.code == 1
    (found,) = report.findings
    assert (found.check, found.level) == ("settings", Level.PROBLEM)
    assert "prot" in found.what


async def test_a_check_that_breaks_or_hangs_hides_no_other(redis: "Redis", redis_url: str) -> None:
    async def breaks(_: Deployment) -> list[Finding]:
        raise KeyError("surprise")

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    settings = load(environ={}, given={"redis.url": redis_url})
    async with opened_engine(settings, "test") as engine:
        deployment = Deployment(settings, None, engine)
        found = await examine(deployment, [Check("broken", breaks), Check("link", check_link)])
    assert [one.check for one in found] == ["broken", "link", "clock"]
    assert found[0].level is Level.WARNING
    assert "surprise" in found[0].what
    (late,) = await examined("slow", hangs, 0.05)
    assert "no end within" in late.what


# ---------------------------------------------------------------- endpoints


async def test_endpoints_are_connected_to_and_sent_nothing() -> None:
    async with local_server() as server:
        allowed = GuardSettings(("127.0.0.0/8",), (server.port, 1))
        assert await trouble_with(Guard(allowed), server.origin + "/hooks") == ""
        assert server.received == []
        refused = await trouble_with(Guard(GuardSettings((), (server.port,))), server.origin)
        assert "no setting allows" in refused
        assert await trouble_with(Guard(allowed), "http://127.0.0.1:1/") != ""
        assert await trouble_with(Guard(allowed), "http://127.0.0.1:2/") != ""
        tls = await trouble_with(Guard(allowed), f"https://127.0.0.1:{server.port}/", 0.2)
        assert tls == "no connection within 0.2 s", "a receiver that speaks no TLS"
