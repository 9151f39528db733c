"""The command line: what it prints, and the exit code of every ending."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest

from ops.cli.program import COMMANDS, run
from ops.links import Engine, opened_engine
from ops.settings import VERSION, load
from streams.directory import ProcessorCard, WorkerCard
from streams.model import Dead, Done, Fault, ResourceClass, Settlement
from tests.support.build import Hand, new_job
from tests.support.redis_server import free_port

T = TypeVar("T")

CARD = ProcessorCard(
    name="echo",
    version="1.0.0",
    summary="Says it back.",
    resource_class=ResourceClass.IO,
    model="",
    attempts_max=1,
    timeout_ms=30_000,
    backoff_ms=1,
    backoff_max_ms=1,
    input_schema=msgspec.Raw(b'{"type":"object","required":["message"]}'),
    output_schema=msgspec.Raw(b"{}"),
)


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(
    redis_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> Cli:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ran:
        code = run(["--redis", redis_url, *arguments])
        return Ran(code, *capsys.readouterr())

    on(redis_url, lambda engine: engine.redis.flushall())
    return call


def on(url: str, act: Callable[[Engine], Awaitable[T]]) -> T:
    """What `act` answers on the server of that URL."""

    async def inside() -> T:
        async with opened_engine(load(environ={}, given={"redis.url": url}), "test") as engine:
            return await act(engine)

    return asyncio.run(inside())


async def one_of_each(engine: Engine) -> dict[str, str]:
    """A succeeded job, a dead one and a waiting one; their ids."""
    jobs = {state: new_job(b'{"message":"hi"}') for state in ("succeeded", "dead", "waiting")}
    hand = Hand(engine.broker)
    verdicts = {"succeeded": Done(b'{"said":"hi"}'), "dead": Dead(Fault("crashed", "it died"))}
    for state, verdict in verdicts.items():
        await engine.broker.submit([jobs[state]])
        (lease,) = await hand.take()
        await engine.broker.settle(hand.id, [Settlement(lease.job_id, lease.token, verdict)])
    await engine.broker.submit([jobs["waiting"]])
    return {state: job.id for state, job in jobs.items()}


def test_jobs_are_listed_shown_and_counted(cli: Cli, redis_url: str) -> None:
    ids = on(redis_url, one_of_each)
    listed = cli("jobs", "list", "-o", "json")
    assert {job["id"]: job["state"] for job in listed.json} == {v: k for k, v in ids.items()}
    assert cli("-o", "json", "jobs", "list", "--state", "dead").json[0]["id"] == ids["dead"]
    shown = cli("jobs", "show", ids["dead"])
    assert "crashed: it died" in shown.out
    assert '{"said":"hi"}' in cli("status", ids["succeeded"]).out
    whole = cli("status", "-o", "json").json
    assert (whole["jobs"]["submitted"], whole["dead_letters"]) == (3, 1)
    screen = cli("status").out
    assert "3 jobs ever: 1 waiting, 1 succeeded, 1 dead" in screen
    assert "! io etyde echo  No live worker of class io has the processor echo" in screen


def test_a_table_off_a_terminal_is_whole_and_plain(cli: Cli, redis_url: str) -> None:
    ids = on(redis_url, one_of_each)
    out = cli("jobs", "list").out
    assert "\x1b" not in out
    heads, *rows = out.splitlines()
    assert heads.split()[:4] == ["ID", "STATE", "APP", "PROCESSOR"]
    assert {row.split()[0] for row in rows} == set(ids.values())


def test_waiting_tells_how_it_ended_by_the_exit_code(cli: Cli, redis_url: str) -> None:
    ids = on(redis_url, one_of_each)
    succeeded = cli("wait", ids["succeeded"])
    assert (succeeded.code, succeeded.json) == (0, {"said": "hi"})
    dead = cli("wait", ids["dead"])
    assert (dead.code, dead.out) == (1, "")
    assert "is dead: crashed: it died" in dead.err
    waiting = cli("wait", ids["waiting"], "--timeout", "0.05")
    assert waiting.code == 4
    assert "is still waiting" in waiting.err
    assert cli("wait", "0-nosuchjob").code == 2


def test_a_job_is_cancelled_and_run_again(cli: Cli, redis_url: str) -> None:
    ids = on(redis_url, one_of_each)
    assert cli("jobs", "cancel", ids["waiting"], "-o", "json").json == {ids["waiting"]: "cancelled"}
    assert cli("jobs", "retry", ids["waiting"]).code == 0
    assert cli("jobs", "list", "--state", "waiting", "-o", "json").json[0]["id"] == ids["waiting"]
    refused = cli("jobs", "retry", ids["waiting"])
    assert (refused.code, "not run again" in refused.err) == (2, True)
    unknown = cli("jobs", "cancel", "0-nosuchjob")
    assert (unknown.code, "there is no job 0-nosuchjob" in unknown.err) == (2, True)


def test_dead_letters_are_replayed_by_filter_after_a_dry_run(cli: Cli, redis_url: str) -> None:
    ids = on(redis_url, one_of_each)
    assert cli("dead", "replay").code == 2
    assert cli("dead", "replay", "--code", "other", "-o", "json").json == []
    dry = cli("dead", "replay", "--code", "crashed", "--dry-run", "-o", "json")
    assert [job["id"] for job in dry.json] == [ids["dead"]]
    assert cli("dead", "list", "-o", "json").json != []
    assert cli("dead", "replay", "--all").code == 0
    assert cli("dead", "list", "-o", "json").json == []


def test_a_submit_is_checked_against_the_manifest(cli: Cli, redis_url: str, tmp_path: Path) -> None:
    unknown = cli("submit", "echo", "{}")
    assert (unknown.code, "no worker has published" in unknown.err) == (2, True)
    on(redis_url, lambda engine: engine.directory.publish_processor(CARD))
    bad = cli("submit", "echo", '{"text":1}')
    assert (bad.code, "`$.payload" in bad.err) == (2, True)
    assert cli("submit", "echo", "{not json").code == 2
    (tmp_path / "payload.json").write_text('{"message":"from a file"}')
    accepted = cli(
        "submit", "echo", "@payload.json", "--priority", "high", "--tag", "t", "-o", "json"
    )
    assert accepted.json["state"] == "waiting"
    view = cli("status", accepted.json["id"], "-o", "json").json
    assert (view["app"], view["priority"], view["tags"]) == ("cli", "high", ["t"])
    gave_up = cli("submit", "echo", '{"message":"hi"}', "--wait", "--timeout", "0.05")
    assert gave_up.code == 4
    assert cli("submit", "echo", "@nowhere.json").code == 2


def test_classes_are_paused_resumed_and_limited(cli: Cli) -> None:
    assert cli("classes", "pause", "io").out == "class io is paused\n"
    states = {one["name"]: one["paused"] for one in cli("classes", "list", "-o", "json").json}
    assert states == {"ollama": False, "io": True, "cpu": False}
    assert cli("classes", "resume", "io").out == "class io goes on\n"
    assert cli("classes", "limit", "io", "5").code == 0
    pools = {one["name"]: one["pools"] for one in cli("classes", "list", "-o", "json").json}
    assert pools["io"]["io"]["limit"] == 5
    assert cli("classes", "limit", "io", "none").code == 0
    assert cli("classes", "limit", "io", "2", "--app", "web").code == 0
    assert cli("classes", "limit", "io", "many").code == 2
    assert cli("classes", "limit", "io", "1", "--pool", "cpu").code == 2
    assert cli("classes", "pause", "gpu").code == 2


def test_keys_are_shown_once_and_revoked(cli: Cli) -> None:
    created = cli("keys", "create", "--app", "web")
    text = created.out.strip()
    assert text.startswith("rn_")
    (listed,) = cli("keys", "list", "-o", "json").json
    assert listed["id"] in text
    assert listed["scopes"] == ["submit", "read"]
    assert text not in cli("keys", "list").out
    assert cli("keys", "revoke", listed["id"]).code == 0
    assert cli("keys", "revoke", listed["id"]).code == 2
    assert "there is no key" in cli("keys", "list").err


def test_endpoints_are_registered_where_the_settings_allow(cli: Cli) -> None:
    refused = cli("endpoints", "create", "http://127.0.0.1:9000/hooks", "--app", "web")
    assert refused.code == 2
    created = cli("endpoints", "create", "https://app.example/hooks", "--app", "web", "-o", "json")
    assert created.json["secret"].startswith("whsec_")
    (listed,) = cli("endpoints", "list", "-o", "json").json
    assert "secret" not in listed
    assert cli("endpoints", "enable", listed["id"]).code == 0
    assert cli("endpoints", "delete", listed["id"]).code == 0
    assert cli("endpoints", "delete", listed["id"]).code == 2


def test_workers_and_processors_are_shown(cli: Cli, redis_url: str) -> None:
    worker = WorkerCard(
        "host-1-x", "host", 7, VERSION, {"io": "io"}, {"io": 10}, {"io": 2}, ("echo",)
    )

    async def announce(engine: Engine) -> None:
        await engine.directory.publish_processor(CARD)
        await engine.directory.announce_worker(worker)

    on(redis_url, announce)
    assert "io 2/10" in cli("workers").out
    assert cli("processors", "list", "-o", "json").json[0]["summary"] == "Says it back."
    assert '"required"' in cli("processors", "show", "echo").out
    assert cli("processors", "show", "nope").code == 2
    assert cli("processors", "forget", "echo").code == 0
    assert cli("processors", "forget", "echo").code == 2


def test_health_names_what_fails(cli: Cli, redis_url: str) -> None:
    sick = cli("health", "-o", "json")
    assert sick.code == 3
    statuses = {(one["check"], one["status"]) for one in sick.json}
    assert {("redis", "ok"), ("redis", "unsafe"), ("workers", "failing")} <= statuses
    worker = WorkerCard("host-1-x", "host", 7, VERSION, {"io": "io"}, {"io": 10}, {}, ("echo",))
    on(redis_url, lambda engine: engine.directory.announce_worker(worker))
    assert cli("health").code == 0


def test_a_worker_that_fell_silent_serves_nobody(cli: Cli, redis_url: str) -> None:
    card = WorkerCard("mac-x", "mac", 7, VERSION, {"io": "io"}, {"io": 10}, {}, ("echo",))
    beside = WorkerCard("vps-x", "vps", 7, VERSION, {"cpu": "cpu"}, {"cpu": 4}, {}, ("hash",))

    async def fall_silent(engine: Engine) -> None:
        for each in (card, beside):
            await engine.directory.announce_worker(each)
        await engine.redis.pexpire(engine.keyspace.key("worker_", card.id), 40_000)
        await engine.broker.submit([new_job(processor="echo")])

    on(redis_url, fall_silent)
    silent, living = cli("workers", "-o", "json").json
    assert (silent["healthy"], living["healthy"]) == (False, True)
    assert 20 <= silent["silent_s"] < 30 > living["silent_s"]
    told = cli("health", "-o", "json")
    failing = [one["detail"] for one in told.json if one["status"] == "failing"]
    assert told.code == 3
    assert any(
        "no worker serves io: 1 wait" in said and "mac-x: silent" in said for said in failing
    )


def test_callbacks_are_listed_and_an_unknown_one_is_an_error(cli: Cli) -> None:
    assert cli("callbacks", "list", "-o", "json").json == []
    assert cli("callbacks", "show", "msg_none").code == 2
    assert cli("callbacks", "replay").code == 2
    assert cli("callbacks", "replay", "--dead", "-o", "json").json == {"replayed": 0}


def test_settings_hide_the_password(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--redis", "redis://u:hush@h/0", "settings", "--changed", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"redis.url": "redis://u:(hidden)@h/0"}


def test_a_server_that_does_not_answer_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--redis", f"redis://127.0.0.1:{free_port()}/0", "status"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("error: Redis does not answer")
    assert len(err.splitlines()) == 1


def test_a_gateway_that_does_not_answer_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--gateway", f"http://127.0.0.1:{free_port()}", "status", "0-x"]) == 3
    assert "the gateway does not answer" in capsys.readouterr().err


def test_without_any_redis_the_way_out_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--data", str(tmp_path), "status"]) == 3
    assert "roughneck up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["jobs", "nope"],
        ["jobs", "list", "--limit", "0"],
        ["--settings", "/none", "status"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_redis_url_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--redis", "http://u:hush@h", "status"]) == 2
    err = capsys.readouterr().err
    assert "redis.url" in err
    assert "hush" not in err


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "Exit codes: 0 ok, 1 job failed" in text
    assert run(["submit", "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out
