"""The shipped users and redis.conf, on a real server: each role can do its work and no more."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

from gateway.metrics import GatewayMetrics
from ops.acl import render, roles, write
from streams.audit import Audit
from streams.broker import Broker
from streams.control import Control
from streams.deliveries import Delivered
from streams.directory import ApiKey, Directory, Endpoint, ProcessorCard, WorkerCard
from streams.errors import ConfigError
from streams.events import EventReader
from streams.inspector import Inspector
from streams.keyspace import PLAIN, PREFIXES, Keyspace
from streams.loops.auditor import Auditor
from streams.loops.discarder import Discarder
from streams.loops.janitor import Janitor
from streams.loops.sweeper import Sweeper
from streams.model import Dead, Done, Settlement, State
from streams.overview import OverviewReader
from streams.retention import KeptJobs
from streams.scripts import parse_header, read_sources
from streams.settings import EngineSettings
from tests.redis.scenes import FAULT, KEYS, store, told
from tests.support.build import Hand, new_job
from tests.support.redis_server import RedisServer
from tests.support.roles import GuardedServer, refused, shipped_lines

SOURCES = read_sources()
SCRIPTS = {name for name in SOURCES if not name.startswith("lib/")}
AUDITS = {"audit_balance", "audit_shared"}
WORKS = {"take", "renew", "settle", "stage", "report", "say", "promote", "expire", "sweep", "fire"}
WORKS |= {
    *("drop_consumer", "learn", "remember", "moment"),
    "log",
    "purge",
    *(name for name in SCRIPTS if name.startswith(("audit_", "flow_"))),
}
DELIVERS = {name for name in SCRIPTS if name.startswith("callbacks_")} - {
    *("callbacks_replay", "callbacks_test")
}
RUNS = {
    "worker": WORKS,
    "gateway": SCRIPTS - WORKS | AUDITS,
    "courier": DELIVERS,
    "viewer": AUDITS,
    "operator": SCRIPTS,
}
CALL = re.compile(r"(?:redis\.p?call|with_group)\(\s*'([A-Z]+)'(?:,\s*'([A-Z]+)')?")
SUBCOMMANDS = {"XINFO", "XGROUP"}
# What a worker, who runs the code of processors, has no business to read.
SECRETS = {"keys", "endpoints"}


def commands_of(name: str) -> set[str]:
    """What a script and its libraries may call, as an ACL spells it."""
    libraries = [SOURCES[f"lib/{each}"] for each in parse_header(SOURCES[name]).uses]
    return {
        f"{command}|{sub}".lower() if command in SUBCOMMANDS else command.lower()
        for text in (SOURCES[name], *libraries)
        for command, sub in CALL.findall(text)
    }


def granted(role: str) -> set[str]:
    return {rule[1:] for rule in roles()[role] if rule.startswith("+")}


@pytest.mark.parametrize(
    ("role", "script"), sorted((role, name) for role, names in RUNS.items() for name in names)
)
def test_a_role_may_call_what_its_scripts_call(role: str, script: str) -> None:
    # A courier's scripts share libraries of whose functions they call one, which makes due.
    unused = commands_of("promote") if role == "courier" else set()
    own = {each for each in commands_of(script) if each not in unused}
    assert own - granted(role) == set()


def test_no_key_is_forgotten_and_a_worker_has_no_secrets() -> None:
    patterns = {rule.removeprefix("~{rn}:") for rule in roles()["worker"] if rule[0] == "~"}
    held = {
        name
        for name in PLAIN | PREFIXES
        if Keyspace().key(name, "x" if name in PREFIXES else "").removeprefix("{rn}:") in patterns
        or (name in PREFIXES and f"{name[:-1]}:*" in patterns)
        or (name.startswith("callback_") and name in PLAIN and "callback_*" in patterns)
    }
    gateways_own = {name for name in PLAIN | PREFIXES if name not in held}
    assert gateways_own >= SECRETS
    used = {
        key
        for name in WORKS
        for text in (
            SOURCES[name],
            *(SOURCES[f"lib/{u}"] for u in parse_header(SOURCES[name]).uses),
        )
        for key in parse_header(text).keys
    }
    assert used - held == set()


def test_the_file_holds_no_password_and_follows_the_tag() -> None:
    names = roles()
    text = render(dict.fromkeys(names, "hush"), tag="other")
    assert "hush" not in text
    assert "{rn}" not in text
    assert "~{other}:job:*" in text
    assert text.count("#") == len(names)
    assert all(line.startswith("user ") for line in text.splitlines())


def test_passwords_stay_until_their_file_is_deleted(tmp_path: Path) -> None:
    write(tmp_path, "redis://u:p@10.8.0.1:6379/2")
    first = (tmp_path / "worker.url").read_text()
    assert re.fullmatch(r"redis://worker:[\w-]{40,}@10\.8\.0\.1:6379/2\n", first)
    assert (tmp_path / "worker.url").stat().st_mode & 0o777 == 0o600
    users = (tmp_path / "users.acl").read_text()
    write(tmp_path, "redis://10.8.0.1:6379/2")
    assert (tmp_path / "worker.url").read_text() == first
    assert (tmp_path / "users.acl").read_text() == users
    (tmp_path / "worker.url").unlink()
    write(tmp_path, "redis://10.8.0.1:6379/2")
    assert (tmp_path / "worker.url").read_text() != first
    changed = (tmp_path / "users.acl").read_text()
    both = zip(users.splitlines(), changed.splitlines(), strict=True)
    assert [old.split()[1] for old, new in both if old != new] == ["worker"]


@pytest.mark.parametrize("url", ["unix:///tmp/x", "http://h", "nonsense"])
def test_a_server_without_an_address_has_no_users(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError):
        write(tmp_path, url)


# ---------------------------------------------------------------- on a server


@pytest.fixture(scope="module")
def guarded(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedServer]:
    running = GuardedServer(redis_server.binary, tmp_path_factory.mktemp("guarded"))
    yield running
    running.stop()


@asynccontextmanager
async def as_role(server: GuardedServer, role: str) -> AsyncIterator["Redis"]:
    async with Redis.from_url(server.url_of(role), retry=Retry(NoBackoff(), 0)) as client:
        yield client


@pytest.fixture
async def admin(guarded: GuardedServer) -> AsyncIterator["Redis"]:
    """The administrator of a server that is empty and has refused nothing yet."""
    async with as_role(guarded, "admin") as client:
        await client.flushall()
        await client.execute_command("ACL", "LOG", "RESET")
        yield client


def _text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)


async def test_the_shipped_configuration_is_what_the_server_has(admin: "Redis") -> None:
    for line in shipped_lines():
        name, _, wanted = line.partition(" ")
        if name in {"bind", "port", "dir", "logfile", "aclfile", "daemonize", "supervised"}:
            continue
        found = {_text(k): _text(v) for k, v in (await admin.config_get(name)).items()}
        if name == "client-output-buffer-limit":
            assert plain(wanted.split()[1]) in found[name]
            continue
        assert found[name] == plain(wanted), name


def plain(value: str) -> str:
    """A value as CONFIG GET says it: bytes, and no quotes."""
    units = {"mb": 1024**2, "gb": 1024**3}
    if value[-2:] in units and value[:-2].isdigit():
        return str(int(value[:-2]) * units[value[-2:]])
    return value.strip('"')


async def test_nobody_comes_in_without_a_password(guarded: GuardedServer, admin: "Redis") -> None:
    for url in (f"redis://127.0.0.1:{guarded.port}", f"redis://worker:no@127.0.0.1:{guarded.port}"):
        async with Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()


DANGEROUS = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("CONFIG", "SET", "maxmemory", "0"),
    ("DEBUG", "JMAP"),
    ("SHUTDOWN",),
    ("ACL", "SETUSER", "default", "on"),
    ("MONITOR",),
    ("REPLICAOF", "no", "one"),
    ("SCRIPT", "FLUSH"),
    ("SWAPDB", "0", "1"),
    ("SAVE",),
    ("EVAL", "return redis.call('FLUSHALL')", "0"),
    ("SET", "elsewhere", "1"),
    ("GET", "elsewhere"),
    ("EVAL", "return redis.call('GET', 'elsewhere')", "0"),
)


@pytest.mark.parametrize("role", sorted(RUNS))
async def test_a_role_is_refused_what_is_none_of_its_business(
    guarded: GuardedServer, admin: "Redis", role: str
) -> None:
    async with as_role(guarded, role) as client:
        for command in DANGEROUS:
            await denied(client, *command)
        if role != "operator":
            await denied(client, "CONFIG", "GET", "*")
        if role in ("worker", "viewer"):
            for name in SECRETS:
                await denied(client, "HGETALL", KEYS.key(name))
        if role == "viewer":
            await denied(client, "GET", KEYS.payload("0-x"))
            await denied(client, "HSET", KEYS.key("counts"), "io|waiting", "7")
            await denied(
                client, "EVAL", "return redis.call('DEL', KEYS[1])", "1", KEYS.key("counts")
            )
        if role == "courier":
            await denied(client, "HGETALL", KEYS.job("0-x"))
            await denied(client, "HGETALL", KEYS.key("keys"))


REFUSAL = re.compile("NOPERM|can't run|can't access|DEBUG command not allowed")


async def denied(client: "Redis", *command: str) -> None:
    try:
        answer = await client.execute_command(*command)
    except Exception as error:
        if isinstance(error, NoPermissionError) or REFUSAL.search(str(error)):
            return
        raise AssertionError(f"{command}: {error!r}") from error
    raise AssertionError(f"{command} was answered {answer!r}")


CARD = ProcessorCard(
    *("echo", "1.0.0", "", "io", "", 1, 1, 1, 1, b"{}", b"{}")  # type: ignore[arg-type]
)
ENDPOINT = Endpoint("ep", "etyde", "https://app.example/", (), (State.SUCCEEDED,), 1)


async def test_the_whole_life_of_jobs_under_the_users_of_each_role(
    guarded: GuardedServer, admin: "Redis"
) -> None:
    """Submit, run, cancel, expire, die, replay, call back, audit, look: nobody is refused."""
    async with (
        as_role(guarded, "gateway") as gateway,
        as_role(guarded, "worker") as worker,
        as_role(guarded, "courier") as courier,
        as_role(guarded, "viewer") as viewer,
        as_role(guarded, "operator") as operator,
    ):
        edge, engine = Broker(gateway, KEYS), Broker(worker, KEYS)
        directory = Directory(worker, KEYS)
        await directory.publish_processor(CARD)
        card = WorkerCard("host-1-w", "h", 1, "1", {"io": "io"}, {"io": 1}, {}, ("echo",))
        await directory.announce_worker(card)
        await store(gateway, edge).endpoints.put(ENDPOINT)
        await Directory(gateway, KEYS).put_key(ApiKey("k", "etyde", "00", (), 1))
        jobs = [told(), told(), told(expires_at_ms=1), new_job(delay_ms=60_000), told()]
        await edge.submit(jobs, gateway="g", sequence=5)
        assert await engine.expire() == 1
        await engine.promote(jobs[0].lane.resource_class)
        hand = Hand(engine)
        done, dead, running = await hand.take(3)
        await engine.renew(hand.id, [(done.job_id, done.token)], 30_000)
        await engine.report([(done.job_id, done.token, 0.5, "half")])
        await engine.stage(done.job_id, done.token, b'"' + b"x" * 40_000 + b'"')
        assert await edge.cancel(running.job_id) == "requested"
        verdicts = [
            Settlement(done.job_id, done.token, Done(b'"' + b"x" * 40_000 + b'"')),
            Settlement(dead.job_id, dead.token, Dead(FAULT)),
            Settlement(running.job_id, running.token, Dead(FAULT)),
        ]
        await engine.settle(hand.id, verdicts)
        await edge.replay([dead.job_id])
        await edge.pause(jobs[0].lane.resource_class)
        await edge.resume(jobs[0].lane.resource_class)
        await edge.set_limit("io", 5)
        await Sweeper(engine, Inspector(worker, KEYS)).tick()
        await Janitor(engine, directory).tick()
        await Auditor(Audit(worker, KEYS), "w").tick()
        control = Control(worker, KEYS, engine.scripts)
        await Discarder(KeptJobs(worker, KEYS), control, EngineSettings()).tick()
        await engine.drop_consumer(hand.id, jobs[0].lane.resource_class, "io")

        post = store(courier, engine)
        taken = await post.take("courier-1-x", 1, 3)
        assert len(taken.leases) == 3
        await post.renew([(lease.id, lease.token) for lease in taken.leases])
        for lease in taken.leases:
            await post.settle(lease.id, lease.token, Delivered(200))
        await post.wait("0-0", 1)
        assert await post.endpoints.get("ep") == ENDPOINT
        assert await store(gateway, edge).replay([taken.leases[0].id]) == 1

        for client in (viewer, operator, gateway):
            look = Inspector(client, KEYS)
            assert await look.audit() == []
            assert len((await look.jobs()).items) == 5
            assert await look.classes()
            text = await GatewayMetrics().render(look)
            assert b"roughneck_audit_difference" in text
            assert await EventReader(client, KEYS).read("0-0")
            assert (await OverviewReader(client, KEYS).look()).lanes
            assert [one.id for one in await Directory(client, KEYS).workers()] == [card.id]
        assert (await Audit(operator, KEYS).walk(0, 1000, mend=True)).misplaced == []
        assert (await operator.config_get("appendonly"))["appendonly"] == "yes"
        assert await operator.info("memory")
    assert await refused(admin) == set()
