"""Whatever is wrong, the error is clear and at the right place, and nothing else is disturbed."""

from typing import Any

import httpx
import pytest

from streams.listing import JobFilter
from streams.model import State
from tests.e2e.bystander import undisturbed
from tests.e2e.platform import FOLDER, Platform, accepted, children, ended
from tests.support.leaks import leaks
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until

BROKEN = FOLDER.parent / "broken"
GOOD = {"processor": "echo", "payload": {"message": "hi"}}
MIB = 1024 * 1024
USAGE, UNREACHABLE = 2, 3

# What is sent (JSON, or bytes as they are), then status, code and path of the bad field.
REFUSED: list[tuple[Any, int, str, str]] = [
    ({"processor": "unheard-of", "payload": {}}, 422, "unknown_processor", ""),
    ({**GOOD, "payload": {"message": 7}}, 422, "invalid_input", "$.payload.message"),
    ({**GOOD, "payload": {}}, 422, "invalid_input", "$.payload.message"),
    (
        {**GOOD, "payload": {"message": "", "dealy_ms": 1}},
        422,
        "invalid_input",
        "$.payload.dealy_ms",
    ),
    ({**GOOD, "payload": {"message": "", "fail": "never"}}, 422, "invalid_input", "$.payload.fail"),
    ({**GOOD, "payload": "text"}, 422, "invalid_input", "$.payload"),
    ({**GOOD, "priority": "urgent"}, 422, "invalid_input", "$.priority"),
    ({**GOOD, "attempts_max": 0}, 422, "invalid_input", "$.attempts_max"),
    ({**GOOD, "callback": {"url": "https://app.example/"}}, 422, "unknown_endpoint", ""),
    ({"payload": {}}, 422, "invalid_input", "$.processor"),
    (b'{"processor": "echo", "payload": {"message": "hi"}', 400, "malformed_json", ""),
    (b"\xff\xfe", 400, "malformed_json", ""),
    (b"", 400, "malformed_json", ""),
    (b'{"processor":"echo","payload":{"message":"' + b"x" * MIB + b'"}}', 413, "too_large", ""),
    (b'{"processor":"echo","payload":' + b"[" * 100 + b"]" * 100 + b"}", 413, "too_large", ""),
]


async def test_what_cannot_be_accepted_is_refused_by_name_and_path(stage: Platform) -> None:
    http = await stage.app("etyde")
    async with undisturbed(stage):
        for body, status, code, path in REFUSED:
            given = {"content": body} if isinstance(body, bytes) else {"json": body}
            headers = {"content-type": "application/json"}
            reply = await http.post("/v1/jobs", headers=headers, **given)
            problem = checked_problem(reply, status, code)
            paths = [fault["path"] for fault in problem.get("errors", [])]
            assert paths[:1] == ([path] if path else []), problem
        for key in ("", "Bearer rn_unknown_key", "Basic dXNlcjpwYXNz"):
            reply = await http.post("/v1/jobs", json=GOOD, headers={"authorization": key})
            checked_problem(reply, 401, "not_authenticated")
    page = await stage.inspector.jobs(JobFilter(app="etyde"))
    assert list(page.items) == []
    assert await leaks(stage.redis) == []


def checked_problem(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = reply.json()
    assert (reply.status_code, problem["status"], problem["code"]) == (status, status, code), (
        problem
    )
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["title"]
    return problem


async def test_one_bad_item_of_a_batch_does_not_harm_the_others(stage: Platform) -> None:
    http = await stage.app("etyde")
    bad = [body for body, status, _, _ in REFUSED if status == 422]
    reply = await http.post("/v1/jobs:batch", json={"jobs": [GOOD, *bad, GOOD]})
    answers = reply.json()["jobs"]
    assert [answer["status"] for answer in answers] == [202, *[422] * len(bad), 202]
    for answer in (answers[0], answers[-1]):
        assert (await ended(http, answer["job"]["id"]))["state"] == "succeeded"


# Processor and payload, then how the job ends: error code, part of the message, attempts.
TOLD = {"message": "x"}
MISBEHAVING: list[tuple[str, dict[str, Any], str, str, int]] = [
    ("raises", {}, "processor_failed", "LookupError: a fault of the code", 2),
    ("hangs", {}, "timed_out", "ran longer than 0.5 s", 2),
    ("blocks", {}, "timed_out", "ran longer than 0.5 s", 2),
    ("leaves", {}, "crashed", "SystemExit(7)", 2),
    ("lies", {}, "invalid_result", "$.value", 1),
    ("echo", {**TOLD, "fail": "permanent"}, "rejected", "for good", 1),
    ("echo", {**TOLD, "fail": "raise"}, "processor_failed", "ValueError: asked to raise", 1),
    ("echo", {**TOLD, "fail": "hang"}, "timed_out", "ran longer than 1 s", 1),
    ("echo", {**TOLD, "fail": "block"}, "timed_out", "ran longer than 1 s", 1),
    ("echo", {**TOLD, "fail": "crash"}, "crashed", "SIGSEGV", 1),
    ("echo", {**TOLD, "fail": "exit"}, "crashed", "exited with code 3", 1),
    ("echo", {**TOLD, "fail": "bad_result"}, "invalid_result", "$.message", 1),
]


async def test_a_processor_that_misbehaves_harms_only_its_own_job(stage: Platform) -> None:
    http = await stage.app("etyde")
    [worker] = [command for command in stage.commands if command.name == "w"]
    async with undisturbed(stage):
        jobs = []
        for name, payload, *_ in MISBEHAVING:
            time = {"timeout_s": 1} if name == "echo" else {}
            jobs.append(await accepted(http, name, payload, **time))
        flood = await accepted(http, "echo", {**TOLD, "fail": "flood"})
        for job_id, (name, payload, code, said, attempts) in zip(jobs, MISBEHAVING, strict=True):
            view = await ended(http, job_id)
            about = (name, payload, view)
            assert (view["state"], view["error"]["code"]) == ("dead", code), about
            assert said in view["error"]["message"], about
            assert view["attempt"] == attempts, about
            assert view["crashes"] == 0, about  # the worker itself lived
        assert (await ended(http, flood))["state"] == "succeeded"
    assert worker.running
    assert len(children(worker.pid)) <= 4  # those kept warm: the hanging ones are gone
    dead = (await http.get("/v1/dead-letters", params={"limit": 50})).json()["items"]
    assert {item["id"] for item in dead} == set(jobs)
    await stage.audited()
    assert await leaks(stage.redis) == []


async def test_a_processor_that_ends_its_worker_three_times_is_given_up(stage: Platform) -> None:
    http = await stage.app("etyde")
    job_id = await accepted(http, "exits", {}, attempts_max=10)
    [worker] = [command for command in stage.commands if command.name == "w"]
    for number in range(2):
        assert await worker.ended() == 7
        worker = await stage.worker(f"w{number}")
    assert await worker.ended() == 7
    await stage.worker("last")
    async with undisturbed(stage):
        view = await ended(http, job_id)
        assert (view["state"], view["error"]["code"], view["crashes"]) == ("dead", "crashed", 3)
    await stage.audited()


async def test_a_blocked_loop_loses_its_leases_to_another_worker_and_nothing_else(
    stage: Platform,
) -> None:
    http = await stage.app("etyde")
    await stage.worker("other")
    async with undisturbed(stage, attempts_max=3):
        view = await ended(http, await accepted(http, "blocks-the-loop", {}))
        assert (view["state"], view["attempt"], view["result"]) == ("succeeded", 2, {"value": 2})

        async def forgiven() -> bool:
            [job] = (await stage.jobs([view["id"]])).values()
            return job.crashes == 0

        await until(forgiven, what="the blocked worker to turn out alive", limit_s=10)
    happened = [event.kind for event in await stage.events() if event.job_id == view["id"]]
    assert happened.count("ended") == 1
    await stage.audited()


async def test_a_worker_that_lacks_a_processor_leaves_its_jobs_to_those_that_have_it(
    stage: Platform,
) -> None:
    http = await stage.app("etyde")
    lacking = await stage.worker("lacking", processors__folders="")
    async with undisturbed(stage):
        special = [await accepted(http, "gate", {"ms": 20}) for _ in range(40)]
        common = [await accepted(http, "echo", {**TOLD, "delay_ms": 50}) for _ in range(40)]
        views = [await ended(http, job_id) for job_id in (*special, *common)]
    assert {(view["state"], view["attempt"]) for view in views} == {("succeeded", 1)}
    workers = {view["worker"].partition("-")[0] for view in views[:40]}
    assert workers == {"w"}
    assert lacking.id in {view["worker"] for view in views[40:]}


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("unknown_dependency", ("'paints'", "'easel'")),
        ("same_name", ("'twice'", "first.py", "second.py")),
        ("absent", ("absent", "does not exist")),
    ],
)
async def test_a_worker_with_broken_processors_says_which_and_does_not_start(
    bare: Platform, folder: str, names: tuple[str, ...]
) -> None:
    settings = {"processors.folders": BROKEN / folder}
    worker = bare.command("broken", "worker", "--class", "io", "--class", "cpu", **settings)
    assert await worker.ended() == USAGE
    one_line_error(worker.log(), *names)
    assert await bare.directory.processors() == {}


def one_line_error(said: str, *parts: str) -> None:
    """The last line is an error that names `parts`; there is no traceback."""
    *before, last = said.strip().splitlines()
    assert last.startswith("error: "), said
    assert not [line for line in before if "Traceback" in line or line.startswith("error")], said
    for part in parts:
        assert part in last, said


async def test_without_redis_every_command_says_so_in_one_line(bare: Platform) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    for arguments in (["status"], ["jobs", "list"], ["submit", "echo", "{}"], ["gateway"]):
        answer = bare.cli("--redis", nowhere, *arguments)
        assert (answer.returncode, answer.stdout) == (UNREACHABLE, ""), answer
        one_line_error(answer.stderr, nowhere.removeprefix("redis://").removesuffix("/0"))
        assert len(answer.stderr.strip().splitlines()) == 1


async def test_without_redis_the_gateway_spools_and_a_worker_waits(
    stage: Platform, server: RedisServer
) -> None:
    http = await stage.app("etyde")
    assert (await ended(http, await accepted(http, "gate", {})))["state"] == "succeeded"
    server.kill()
    spooled = await http.post("/v1/jobs", json=GOOD)
    assert (spooled.status_code, spooled.json()["state"]) == (202, "spooled")
    for path in ("/v1/jobs", "/v1/classes"):
        reply = await http.get(path)
        checked_problem(reply, 503, "unavailable")
        assert int(reply.headers["retry-after"]) >= 1
    late = stage.command("late", "worker", "--class", "io")
    await until(lambda: "worker is ready" in late.log(), what="it to wait for Redis", limit_s=30)
    server.restart()
    assert (await ended(http, spooled.json()["id"]))["state"] == "succeeded"

    async def announced() -> bool:
        return late.pid in {card.pid for card in await stage.directory.workers()}

    await until(announced, what="the worker to have found Redis", limit_s=10)


async def test_the_command_line_says_what_is_wrong_with_a_job(stage: Platform) -> None:
    for arguments, part in (
        (["submit", "unheard-of", "{}"], "unheard-of"),
        (["submit", "echo", '{"message": 7}'], "$.payload.message"),
        (["submit", "echo", '{"message":'], "JSON"),
    ):
        answer = stage.cli(*arguments)
        assert (answer.returncode, answer.stdout) == (USAGE, ""), answer
        one_line_error(answer.stderr, part)
    failed = stage.cli("submit", "echo", '{"message": "", "fail": "raise"}', "--wait")
    assert failed.returncode == 1
    assert (await stage.inspector.counts())[f"cpu|{State.DEAD}"] == 1
