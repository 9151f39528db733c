"""Flows over HTTP, with a real worker: what is accepted runs, is seen, stopped and resumed."""

from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams.flow import stage_job
from streams.model import State
from tests.http.edge import Edge
from tests.http.staged import Act, ad_hoc, emptied, one, publish, read, working
from tests.support.waiting import until

WAIT = {"prefer": "wait=20"}


@pytest.fixture
async def staged(edge: Edge) -> Edge:
    Act.reset()
    await publish(edge)
    return edge


async def submitted(edge: Edge, body: Any, **given: Any) -> dict[str, Any]:
    reply = await edge.post("/v1/flows", body, **given)
    assert reply.status_code in (200, 202), reply.text
    found: dict[str, Any] = reply.json()
    return found


async def view(edge: Edge, flow_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await edge.get(f"/v1/flows/{flow_id}")).json()
    return found


def states(flow: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in flow["stages"]}


async def in_state(edge: Edge, flow_id: str, state: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await view(edge, flow_id)
        return found if found["state"] == state else None

    return await until(look, what=f"the flow to be {state}", limit_s=10)


async def test_a_flow_is_accepted_waited_for_and_read(
    staged: Edge, redis: Redis, redis_url: str
) -> None:
    async with working(staged, redis_url):
        done = await submitted(staged, ad_hoc(tags=["weekly"]), headers=WAIT)
        await until(lambda: emptied(redis), what="the last steps")
    assert done["state"] == "succeeded"
    assert done["result"] == {"title": "Pages", "words": 3, "missing": 0}
    assert (done["stages_total"], done["stages_left"], done["tags"]) == (3, 0, ["weekly"])
    assert states(done) == {"list": "succeeded", "read": "succeeded", "join": "succeeded"}
    fan = done["stages"][1]
    assert fan["items"] == {"total": 3, "states": {"succeeded": 3}}
    assert (fan["progress"], fan["job"], fan["after"]) == (1.0, "", ["list"])
    assert fan["started_at"] <= fan["ended_at"] <= done["ended_at"]
    result = await staged.get(f"/v1/jobs/{done['id']}/result")
    assert result.json() == done["result"]
    stage = (await staged.get(f"/v1/jobs/{done['stages'][2]['job']}")).json()
    assert (stage["flow"], stage["stage"]) == (done["id"], "join")


async def test_what_is_accepted_says_where_it_is(staged: Edge) -> None:
    reply = await staged.post("/v1/flows", ad_hoc())
    accepted = reply.json()
    here = f"/v1/flows/{accepted['id']}"
    assert (reply.status_code, reply.headers["location"]) == (202, here)
    assert accepted["links"] == {
        "self": here,
        "job": f"/v1/jobs/{accepted['id']}",
        "result": f"/v1/jobs/{accepted['id']}/result",
        "cancel": f"{here}:cancel",
        "retry": f"{here}:retry",
    }
    assert (accepted["state"], accepted["created"]) == ("waiting", True)
    waiting = await view(staged, accepted["id"])
    assert (waiting["state"], set(states(waiting).values())) == ("waiting", {"blocked"})


async def test_an_idempotency_key_makes_one_flow(staged: Edge) -> None:
    headers = {"idempotency-key": "week-47"}
    first = await submitted(staged, ad_hoc(), headers=headers)
    again = await submitted(staged, ad_hoc(), headers=headers)
    assert (again["id"], again["created"]) == (first["id"], False)
    other = await staged.post("/v1/flows", ad_hoc(input={"count": 4, "site": "s"}), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_holds_although_a_manifest_changed(staged: Edge) -> None:
    headers = {"idempotency-key": "week-47"}
    first = await submitted(staged, {"name": "weekly", "input": {"count": 3}}, headers=headers)
    cards = await staged.parts.directory.processors()
    slower = msgspec.structs.replace(cards["list-pages"], timeout_ms=1)
    await staged.parts.directory.publish_processor(slower)
    await staged.parts.processors.refresh()
    again = await submitted(staged, {"name": "weekly", "input": {"count": 3}}, headers=headers)
    assert (again["id"], again["created"]) == (first["id"], False)


@pytest.mark.parametrize("path", ["/v1/flows", "/v1/jobs"])
async def test_a_named_flow_runs_by_its_name(staged: Edge, redis_url: str, path: str) -> None:
    given = {"count": 4}
    body = {"processor": "weekly", "payload": given}
    if path == "/v1/flows":
        body = {"name": "weekly", "input": given}
    async with working(staged, redis_url):
        done = await staged.post(path, body, headers=WAIT)
    assert (done.status_code, done.json()["state"]) == (200, "succeeded")
    assert done.json()["result"] == {"title": "Pages", "words": 6, "missing": 0}
    flow = await view(staged, done.json()["id"])
    assert flow["name"] == "weekly"


async def test_what_a_job_says_of_attempts_holds_for_the_stages_of_a_flow(
    staged: Edge, redis_url: str
) -> None:
    body = {"processor": "weekly", "payload": {"count": 1}, "attempts_max": 7, "priority": "high"}
    async with working(staged, redis_url):
        done = (await staged.post("/v1/jobs", body, headers=WAIT)).json()
    stage = (await staged.get(f"/v1/jobs/{stage_job(done['id'], 'list')}")).json()
    assert (stage["attempts_max"], stage["priority"]) == (7, "high")


async def test_named_flows_are_listed_with_their_schema(staged: Edge) -> None:
    (listed,) = (await staged.get("/v1/named-flows")).json()["items"]
    found = (await staged.get("/v1/named-flows/weekly")).json()
    assert listed == found
    assert [stage["name"] for stage in found["stages"]] == ["list", "read", "join"]
    assert "count" in found["input_schema"]["$defs"]["ListIn"]["properties"]
    assert (await staged.get("/v1/named-flows/none")).status_code == 404


async def test_a_list_may_be_the_result(staged: Edge, redis_url: str) -> None:
    Act.failing = {1}
    body = ad_hoc(result="read")
    body["stages"][1]["on_failure"] = "continue"
    async with working(staged, redis_url):
        done = await submitted(staged, body, headers=WAIT)
    texts = [one and one["words"] for one in done["result"]]
    assert (done["state"], texts) == ("succeeded", [0, None, 2])
    assert (await staged.get(f"/v1/jobs/{done['id']}/result")).json() == done["result"]


async def test_a_flow_that_died_names_the_stage_and_goes_on_from_there(
    staged: Edge, redis_url: str
) -> None:
    Act.failing = {1}
    async with working(staged, redis_url):
        dead = await submitted(staged, ad_hoc(), headers=WAIT)
        assert (dead["state"], dead["error"]["code"]) == ("dead", "stage_failed")
        assert "read:1 ended dead: cannot be read" in dead["error"]["message"]
        assert dead["stages"][1]["error"]["message"] == "read:1: cannot be read"
        item = stage_job(dead["id"], "read", 1)
        refused = await staged.post(f"/v1/jobs/{item}:retry")
        assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
        assert f"/v1/flows/{dead['id']}:retry" in refused.json()["detail"]
        Act.failing, Act.ran = set(), []
        assert (await staged.post(f"/v1/flows/{dead['id']}:retry")).status_code == 202
        done = await in_state(staged, dead["id"], "succeeded")
    assert Act.ran == ["read 1", "join"]
    assert done["error"] is None


async def test_a_flow_is_cancelled_whole(staged: Edge, redis_url: str) -> None:
    Act.hold.clear()
    async with working(staged, redis_url):
        flow = await submitted(staged, ad_hoc())
        await in_state(staged, flow["id"], "running")
        await until(lambda: Act.ran, what="the first stage to run")
        reply = await staged.post(f"/v1/flows/{flow['id']}:cancel", {"reason": "enough"})
        assert (reply.status_code, reply.json()["outcome"]) == (202, "requested")
        stopped = await in_state(staged, flow["id"], "cancelled")
        assert set(states(stopped).values()) == {"cancelled"}
        again = await staged.post(f"/v1/flows/{flow['id']}:cancel")
        assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


async def test_one_stage_is_cancelled_and_its_policy_decides(staged: Edge, redis_url: str) -> None:
    Act.hold.clear()
    stages = (read("a", on_failure="skip"), read("b", after=["a"]), read("c"))
    async with working(staged, redis_url):
        flow = await submitted(staged, one(*stages))
        await until(lambda: len(Act.ran) == 2, what="both to run")
        reply = await staged.post(f"/v1/jobs/{stage_job(flow['id'], 'a')}:cancel")
        assert reply.status_code == 202
        await until(
            lambda: staged_state(staged, flow["id"], "b", "skipped"), what="b to be skipped"
        )
        Act.hold.set()
        done = await in_state(staged, flow["id"], "succeeded")
    assert states(done) == {"a": "cancelled", "b": "skipped", "c": "succeeded"}


async def staged_state(edge: Edge, flow_id: str, stage: str, state: str) -> bool:
    return states(await view(edge, flow_id))[stage] == state


async def test_a_running_stage_adds_stages(staged: Edge, redis_url: str) -> None:
    names = ["x", "y"]
    plan = {"name": "plan", "processor": "plan-pages", "payload": {"names": names, "before": "end"}}
    body = one(plan, read("end", after=["plan"]), result="end")
    async with working(staged, redis_url):
        done = await submitted(staged, body, headers=WAIT)
    assert done["state"] == "succeeded"
    assert set(states(done)) == {"plan", "end", "x", "y"}
    assert done["stages_total"] == 4
    jobs = await staged.parts.inspector.jobs_by_id(
        [stage_job(done["id"], name) for name in ("x", "y", "end")]
    )
    assert jobs[2].started_ms >= max(jobs[0].ended_ms, jobs[1].ended_ms)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"names": ["x"], "before": "nowhere"}, "comes before nowhere, which is no stage"),
        ({"names": ["x"], "before": "x"}, "wait for each other"),
        ({"names": ["X!"]}, "is no name for a stage"),
    ],
)
async def test_stages_that_cannot_be_are_not_added(
    staged: Edge, redis_url: str, given: Any, why: str
) -> None:
    plan = {"name": "plan", "processor": "plan-pages", "payload": given}
    async with working(staged, redis_url):
        done = await submitted(staged, one(plan), headers=WAIT)
    assert done["state"] == "dead"
    assert why in done["error"]["message"]


async def test_a_stage_that_adds_none_is_no_fault(staged: Edge, redis_url: str) -> None:
    plan = {"name": "plan", "processor": "plan-pages", "payload": {"names": []}}
    async with working(staged, redis_url):
        assert (await submitted(staged, one(plan), headers=WAIT))["state"] == "succeeded"


async def test_only_a_stage_can_add_stages(staged: Edge, redis_url: str) -> None:
    body = {"processor": "plan-pages", "payload": {"names": ["x"]}}
    async with working(staged, redis_url):
        done = (await staged.post("/v1/jobs", body, headers=WAIT)).json()
    assert (done["state"], done["error"]["code"]) == ("dead", "rejected")


async def test_flows_are_listed_by_app_and_state(staged: Edge) -> None:
    mine = [(await submitted(staged, ad_hoc()))["id"] for _ in range(3)]
    theirs = (await submitted(staged, ad_hoc(), key="other"))["id"]
    await staged.post(f"/v1/flows/{mine[1]}:cancel")

    async def listed(query: str, key: str = "app") -> list[str]:
        page = (await staged.get(f"/v1/flows?{query}", key=key)).json()
        return [flow["id"] for flow in page["items"]]

    assert await listed("limit=10") == mine[::-1]
    assert await listed("state=cancelled") == [mine[1]]
    assert await listed("limit=10", "operator") == [theirs, *mine[::-1]]
    assert await listed("app=govejle", "operator") == [theirs]
    first = (await staged.get("/v1/flows?limit=2")).json()
    rest = (await staged.get(f"/v1/flows?limit=2&cursor={first['next']}")).json()
    assert [flow["id"] for flow in rest["items"]] == mine[:1]
    assert rest["next"] is None
    for bad in ("cursor=zzz", "cursor=bm8", "limit=0", "state=odd", "other=1"):
        assert (await staged.get(f"/v1/flows?{bad}")).status_code == 422


async def test_only_flows_are_flows(staged: Edge) -> None:
    job_id = await staged.submit()
    for method, path in (("GET", ""), ("POST", ":cancel"), ("POST", ":retry")):
        reply = await staged.call(method, f"/v1/flows/{job_id}{path}")
        assert (reply.status_code, reply.json()["code"]) == (404, "unknown_job")
    job = await staged.parts.inspector.job(job_id)
    assert job is not None
    assert job.state is State.WAITING


async def test_a_live_flow_is_not_retried(staged: Edge) -> None:
    flow = await submitted(staged, ad_hoc())
    reply = await staged.post(f"/v1/flows/{flow['id']}:retry")
    assert (reply.status_code, reply.json()["code"]) == (409, "wrong_state")


async def test_a_schedule_makes_a_flow_at_each_tick(
    staged: Edge, redis: Redis, redis_url: str
) -> None:
    job = {"processor": "weekly", "payload": {"count": 2}}
    body = {"name": "mondays", "cron": "0 6 * * 1", "job": job}
    made = await staged.post("/v1/schedules", body, key="app-operator")
    assert made.status_code == 201, made.text
    bad = {**body, "name": "x", "job": {"processor": "weekly", "payload": {"count": "x"}}}
    refused = (await staged.post("/v1/schedules", bad, key="app-operator")).json()
    assert refused["errors"][0]["path"] == "$.job.payload.count"
    async with working(staged, redis_url):
        fired = await staged.post("/v1/schedules/mondays:trigger", key="app-operator")
        done = await in_state(staged, fired.json()["id"], "succeeded")
        await until(lambda: emptied(redis), what="the last steps")
    assert done["name"] == "weekly"
