"""Control of jobs over HTTP: unique keys, change, promote, attempts, explanations, rates."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.directory import WorkerCard
from streams.model import Again, Done, Fault
from tests.http.edge import CLOCK, Edge, echo


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def live_worker(edge: Edge, **fields: Any) -> None:
    """A worker that has announced itself."""
    given: dict[str, Any] = {
        "id": "host-1-w",
        "host": "host",
        "pid": 1,
        "version": "0",
        "pools": {"io": "io"},
        "slots": {"io": 10},
        "running": {"io": 0},
        "processors": ("echo",),
        "seen_ms": CLOCK.now_ms(),
        **fields,
    }
    await edge.parts.directory.announce_worker(WorkerCard(**given))


# ---------------------------------------------------------------- unique keys


async def test_a_taken_key_is_refused_and_names_the_job(edge: Edge) -> None:
    first = await edge.submit(unique_key="order-17")
    reply = await edge.post("/v1/jobs", echo(unique_key="order-17"))
    problem = reply.json()
    assert (reply.status_code, problem["code"], problem["job"]) == (409, "unique_taken", first)
    assert first in problem["detail"]
    assert (await edge.post("/v1/jobs", echo(unique_key="order-17"), key="other")).is_success
    shown = (await edge.get(f"/v1/jobs/{first}")).json()["unique"]
    assert shown == {"name": "order-17", "on_conflict": "refuse", "window_ms": 0}
    await edge.succeed()
    assert (await edge.post("/v1/jobs", echo(unique_key="order-17"))).status_code == 202


async def test_the_existing_job_stands_for_it(edge: Edge) -> None:
    first = await edge.submit(unique_key="k", on_conflict="existing")
    reply = await edge.post("/v1/jobs", echo(unique_key="k", on_conflict="existing"))
    answer = reply.json()
    assert (reply.status_code, answer["id"], answer["created"]) == (202, first, False)
    assert reply.headers["location"] == f"/v1/jobs/{first}"
    assert await edge.succeed() == first
    wait = {"prefer": "wait=1"}
    throttled = echo(unique_key="t", on_conflict="existing", unique_for_s=60)
    again = await edge.submit(**throttled)
    await edge.succeed(b'{"said":"once"}')
    reply = await edge.post("/v1/jobs", throttled, headers=wait)
    assert (reply.status_code, reply.json()["id"]) == (200, again)
    assert reply.json()["result"] == {"said": "once"}


async def test_a_replaced_job_says_by_whom(edge: Edge) -> None:
    first = await edge.submit(unique_key="k", delay_s=60)
    newer = {"unique_key": "k", "on_conflict": "replace", "payload": {"text": "newer"}}
    second = await edge.submit(**newer)
    error = (await edge.get(f"/v1/jobs/{first}")).json()["error"]
    assert error == {"code": "replaced", "message": f"{second} took its place"}
    lease = await edge.take()
    assert (lease.job_id, lease.payload) == (second, b'{"text":"newer"}')


async def test_items_of_a_batch_are_judged_alone(edge: Edge) -> None:
    items = [echo(unique_key="k"), echo(unique_key="k"), echo()]
    reply = await edge.post("/v1/jobs:batch", {"jobs": items})
    answers = reply.json()["jobs"]
    assert [each["status"] for each in answers] == [202, 409, 202]
    assert answers[1]["problem"]["job"] == answers[0]["job"]["id"]


async def test_a_retry_is_refused_while_another_has_the_key(edge: Edge) -> None:
    first = await edge.submit(unique_key="k")
    await edge.post(f"/v1/jobs/{first}:cancel")
    await edge.submit(unique_key="k")
    reply = await edge.post(f"/v1/jobs/{first}:retry")
    assert (reply.status_code, reply.json()["code"]) == (409, "unique_taken")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"unique_key": "two words"}, "$.unique_key"),
        ({"unique_for_s": 5}, "$.unique_for_s"),
        ({"unique_key": "k", "unique_for_s": 0}, "$.unique_for_s"),
        ({"unique_key": "k", "unique_for_s": 10**9}, "$.unique_for_s"),
        ({"unique_key": "k", "on_conflict": "replace", "unique_for_s": 5}, "$.unique_for_s"),
        ({"unique_key": "k", "on_conflict": "merge"}, "$.on_conflict"),
    ],
)
async def test_unique_keys_that_are_none(edge: Edge, fields: Any, path: str) -> None:
    reply = await edge.post("/v1/jobs", echo(**fields))
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, path)


# ---------------------------------------------------------------- change, promote


async def patch(edge: Edge, job_id: str, key: str = "app", **fields: Any) -> Any:
    return await edge.call("PATCH", f"/v1/jobs/{job_id}", fields, key=key)


async def test_a_waiting_job_becomes_urgent(edge: Edge) -> None:
    await edge.submit()
    second = await edge.submit()
    reply = await patch(edge, second, priority="high")
    assert (reply.status_code, reply.json()["priority"]) == (200, "high")
    assert (await edge.take()).job_id == second


async def test_a_delayed_job_is_moved_and_promoted(edge: Edge) -> None:
    job_id = await edge.submit(delay_s=60)
    when = later(3_600)
    reply = await patch(edge, job_id, run_at=when, priority="low")
    assert reply.json()["priority"] == "low"
    moved = datetime.fromisoformat(reply.json()["due_at"]) - datetime.fromisoformat(when)
    assert abs(moved.total_seconds()) < 0.01
    promoted = await edge.post(f"/v1/jobs/{job_id}:promote")
    assert (promoted.status_code, promoted.json()["state"]) == (200, "waiting")
    assert (await edge.take()).job_id == job_id


async def test_a_retry_is_promoted(edge: Edge) -> None:
    await edge.submit()
    job_id = await edge.fail()
    assert (await edge.post(f"/v1/jobs/{job_id}:promote")).json()["state"] == "waiting"
    assert (await edge.take()).attempt == 2


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"priority": "high"}, "wrong_state"), ({}, "invalid_input"), ({"tags": []}, "invalid_input")],
)
async def test_what_has_started_is_left_alone(edge: Edge, fields: Any, code: str) -> None:
    await edge.submit()
    lease = await edge.take()
    assert (await patch(edge, lease.job_id, **fields)).json()["code"] == code


async def test_a_waiting_job_has_no_time(edge: Edge) -> None:
    job_id = await edge.submit()
    assert (await edge.post(f"/v1/jobs/{job_id}:promote")).json()["code"] == "wrong_state"
    reply = await patch(edge, job_id, run_at=later(60))
    assert (reply.status_code, reply.json()["code"]) == (409, "wrong_state")


@pytest.mark.parametrize("suffix", ["", ":promote", "/attempts", "/explain"])
async def test_nobody_elses_job_is_touched(edge: Edge, suffix: str) -> None:
    job_id = await edge.submit(delay_s=60)
    method = "GET" if suffix.startswith("/") else "POST" if suffix else "PATCH"
    body = {"priority": "low"} if method == "PATCH" else None
    reply = await edge.call(method, f"/v1/jobs/{job_id}{suffix}", body, key="other")
    assert (reply.status_code, reply.json()["code"]) == (404, "unknown_job")
    gone = await edge.call(method, f"/v1/jobs/0-none{suffix}", body)
    assert gone.status_code == 404


# ---------------------------------------------------------------- attempts


async def test_a_jobs_whole_story(edge: Edge) -> None:
    job_id = await edge.submit()
    lease = await edge.take()
    await edge.settle(lease, Again(0, Fault("boom", "it broke")))
    lease = await edge.take()
    await edge.broker.report([(job_id, lease.token, 0.5, "half")])
    await edge.settle(lease, Done(b"1"))
    first, second = (await edge.get(f"/v1/jobs/{job_id}/attempts")).json()
    assert (first["attempt"], first["ending"], first["worker"]) == (1, "failed", "host-1-w")
    assert first["error"] == {"code": "boom", "message": "it broke"}
    assert first["ended_at"] >= first["started_at"]
    assert (second["ending"], second["error"], second["progress"]) == ("succeeded", None, 0.5)


# ---------------------------------------------------------------- explanations


async def explained(edge: Edge, job_id: str) -> dict[str, str]:
    reply = await edge.get(f"/v1/jobs/{job_id}/explain")
    assert reply.status_code == 200, reply.text
    return {reason["code"]: reason["text"] for reason in reply.json()["reasons"]}


async def test_a_job_in_line_is_told_its_position(edge: Edge) -> None:
    await live_worker(edge)
    ids = [await edge.submit() for _ in range(3)]
    await edge.submit(key="other", priority="high")
    answer = (await edge.get(f"/v1/jobs/{ids[2]}/explain")).json()
    assert (answer["position"], answer["position_at_least"]) == (3, False)
    lane = "its lane (etyde, normal, echo)"
    assert answer["reasons"] == [
        {"code": "behind", "text": f"2 jobs are before it in {lane}.", "stops": False}
    ]
    assert await explained(edge, ids[0]) == {"next_in_lane": f"It is the next of {lane}."}


async def test_a_start_is_estimated_where_there_are_figures(edge: Edge) -> None:
    await live_worker(edge)
    for _ in range(8):
        await edge.submit()
    for _ in range(4):
        await edge.succeed()
    job_id = await edge.submit()
    answer = (await edge.get(f"/v1/jobs/{job_id}/explain")).json()
    assert answer["position"] == 5
    assert answer["estimated_start_at"] is not None
    assert {reason["code"] for reason in answer["reasons"]} == {"behind", "pace"}
    shown = (await edge.get(f"/v1/jobs/{job_id}")).json()
    assert shown["position"] == 5
    assert shown["estimated_start_at"] is not None
    await edge.post("/v1/classes/io:pause", key="operator")
    answer = (await edge.get(f"/v1/jobs/{job_id}/explain")).json()
    assert answer["estimated_start_at"] is None
    assert answer["reasons"][0] == {
        "code": "class_paused",
        "text": "Class io is paused.",
        "stops": True,
    }


async def test_what_stands_in_the_way_is_named(edge: Edge) -> None:
    job_id = await edge.submit()
    told = await explained(edge, job_id)
    assert told["no_worker"] == (
        "No live worker of class io has the processor echo: no worker lives."
    )
    await live_worker(edge, processors=("fetch",))
    assert (await explained(edge, job_id))["no_worker"].endswith("echo: 1 worker lives.")
    await live_worker(edge, running={"io": 10})
    told = await explained(edge, job_id)
    assert told["slots_full"] == "1 worker could run it, with 10 slots, all in use."
    await edge.submit()
    await edge.take()
    limits = {"limits": {"io": 1}, "app_limits": {"etyde": 1}, "rate": {"jobs": 0}}
    await edge.call("PATCH", "/v1/classes/io", limits, key="operator")
    waiting = await edge.submit()
    told = await explained(edge, waiting)
    assert told["pool_full"] == "As many run as may at once: io 1 of 1."
    assert told["app_at_limit"] == "App etyde runs 1 jobs in class io, and may run 1 at once."
    assert told["class_rate"] == "The rate of class io is 0 in 1.0 s: none may start."


async def test_other_states_are_explained(edge: Edge) -> None:
    delayed = await edge.submit(delay_s=600, expires_at=later(3_600))
    told = await explained(edge, delayed)
    assert told["delayed"] == "It was asked to start later; it is due in 10 min."
    assert told["expires"] == "It expires in 60 min unless it has started by then."
    await edge.submit()
    retried = await edge.fail()
    assert (await explained(edge, retried))["retrying"] == (
        "Attempt 1 ended with retry (later); 1 of 3 have failed. The next is due in 60 s."
    )
    await edge.submit()
    running = (await edge.take()).job_id
    assert "Attempt 1 has run for 0." in (await explained(edge, running))["running"]
    await edge.post(f"/v1/jobs/{delayed}:cancel")
    assert (await explained(edge, delayed))["ended"] == (
        "It ended cancelled after 0 attempts with cancelled: cancelled on request."
    )


# ---------------------------------------------------------------- rates


async def test_rates_change_at_run_time(edge: Edge) -> None:
    for _ in range(4):
        await edge.submit()
    rates = {"rate": {"jobs": 1, "per_s": 3_600, "burst": 2}}
    reply = await edge.call("PATCH", "/v1/classes/io", rates, key="operator")
    assert reply.json()["rate"] == {"jobs": 1, "per_s": 3_600.0, "burst": 2}
    assert len(await edge.hand.take(4)) == 2
    swap = {"rate": None, "app_rates": {"etyde": {"jobs": 1, "per_s": 3_600}}}
    reply = await edge.call("PATCH", "/v1/classes/io", swap, key="operator")
    assert (reply.json()["rate"], reply.json()["app_rates"]) == (
        None,
        {"etyde": {"jobs": 1, "per_s": 3_600.0, "burst": 1}},
    )
    assert len(await edge.hand.take(4)) == 1
    own = (await edge.get("/v1/classes/io", key="other")).json()
    assert own["app_rates"] == {}


@pytest.mark.parametrize(
    "body",
    [
        {"rate": {"jobs": -1}},
        {"rate": {"jobs": 1, "per_s": 0}},
        {"rate": {"per_s": 1}},
        {"app_rates": {"etyde": {"jobs": 1, "burst": 0}}},
        {"app_rates": {"A B": {"jobs": 1}}},
    ],
)
async def test_rates_that_are_none(edge: Edge, body: Any) -> None:
    reply = await edge.call("PATCH", "/v1/classes/io", body, key="operator")
    assert reply.status_code == 422


# ---------------------------------------------------------------- purge


async def test_dead_letters_are_purged(edge: Edge) -> None:
    for code in ("a", "b", "b"):
        await edge.submit()
        last = await edge.die(code)
    selection = {"code": "b"}
    counts = await edge.parts.inspector.counts()
    dry = await edge.post("/v1/dead-letters:purge", {**selection, "dry_run": True}, key="operator")
    assert dry.json() == {"matched": 2, "purged": 0, "more": False}
    done = await edge.post("/v1/dead-letters:purge", selection, key="app-operator")
    assert done.json() == {"matched": 2, "purged": 2, "more": False}
    assert len((await edge.get("/v1/dead-letters")).json()["items"]) == 1
    assert (await edge.get(f"/v1/jobs/{last}")).status_code == 404
    assert await edge.parts.inspector.counts() == counts
    assert (await edge.post("/v1/dead-letters:purge", selection)).status_code == 403


async def test_what_runs_again_is_not_purged(edge: Edge) -> None:
    await edge.submit()
    job_id = await edge.die()
    await edge.post(f"/v1/jobs/{job_id}:retry")
    reply = await edge.post("/v1/dead-letters:purge", {"ids": [job_id]}, key="operator")
    assert reply.json() == {"matched": 0, "purged": 0, "more": False}
    assert await edge.parts.control.purge([job_id, "0-none"]) == ["waiting", "gone"]
    assert await edge.succeed() == job_id
