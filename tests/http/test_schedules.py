"""Schedules over HTTP: their life, what is refused, whose they are; and those of the settings."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from gateway.declared import DeclaredSchedules
from gateway.scheduling import timing_of
from gateway.wire_schedules import DeclaredSchedule
from streams.loops.scheduler import Scheduler
from streams.schedule import Schedule
from streams.schedules import ScheduleStore
from tests.http.edge import Edge, card
from tests.support.waiting import until

HOURLY = {"cron": "0 * * * *", "job": {"processor": "echo", "payload": {"text": "hi"}}}
HERE = "/v1/schedules/nightly"


async def create(edge: Edge, **fields: Any) -> httpx.Response:
    return await edge.post("/v1/schedules", HOURLY | {"name": "nightly"} | fields, key="maker")


@pytest.fixture
async def edge(edge: Edge) -> Edge:
    edge.keys["maker"] = edge.keys["app-operator"]  # submit and operate
    return edge


async def test_a_schedules_life(edge: Edge) -> None:
    made = await create(edge, zone="Europe/Copenhagen", jitter_s=5, overlap="skip")
    assert (made.status_code, made.headers["location"]) == (201, HERE)
    view = made.json()
    assert (view["app"], view["cron"], view["every_s"]) == ("etyde", "0 * * * *", None)
    assert (view["zone"], view["overlap"], view["misfire"]) == (
        "Europe/Copenhagen",
        "skip",
        "latest",
    )
    assert view["job"]["payload"] == {"text": "hi"}
    assert view["next"]["local"].endswith(("+01:00", "+02:00"))
    runs_at, due_at = map(datetime.fromisoformat, (view["runs_at"], view["next"]["at"]))
    assert timedelta() <= runs_at - due_at <= timedelta(seconds=5)
    assert (view["fired"], view["last_at"], view["last_job"]) == (0, None, None)
    assert (await edge.get(HERE)).json() == view
    listed = (await edge.get("/v1/schedules")).json()
    del view["job"]["payload"]
    assert listed == {"items": [view], "next": None}
    paused = (await edge.post(f"{HERE}:pause", key="maker")).json()
    assert (paused["paused"], paused["next"], paused["runs_at"]) == (True, None, None)
    resumed = (await edge.post(f"{HERE}:resume", key="maker")).json()
    assert (resumed["paused"], resumed["next"]) == (False, view["next"])
    assert (await edge.call("DELETE", HERE, key="maker")).status_code == 204
    for method, path in (("GET", HERE), ("DELETE", HERE), ("POST", f"{HERE}:pause")):
        assert (await edge.call(method, path, key="maker")).json()["code"] == "not_found"


async def test_a_name_is_taken_once_and_put_replaces(edge: Edge) -> None:
    await create(edge)
    again = await create(edge)
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    before = (await edge.get(HERE)).json()
    same = await edge.call("PUT", HERE, HOURLY, key="maker")
    assert (same.status_code, same.json()) == (200, before)
    other = await edge.call("PUT", HERE, HOURLY | {"cron": "5 * * * *"}, key="maker")
    assert (other.status_code, other.json()["revision"]) == (200, 2)
    assert other.json()["created_at"] == before["created_at"]
    fresh = await edge.call("PUT", "/v1/schedules/fresh", HOURLY, key="maker")
    assert (fresh.status_code, fresh.json()["revision"]) == (201, 1)
    assert (await edge.call("PUT", "/v1/schedules/No", HOURLY, key="maker")).status_code == 422


async def test_a_tick_is_a_job_of_the_app(edge: Edge) -> None:
    await create(edge, cron="* * * * * *", job=HOURLY["job"] | {"expires_s": 60, "tags": ["t"]})
    scheduler = Scheduler(edge.parts.schedules)

    async def fired() -> list[Any]:
        await scheduler.tick()
        return (await edge.get("/v1/jobs")).json()["items"]

    jobs = await until(fired, what="a tick")
    assert {(job["app"], job["processor"], tuple(job["tags"])) for job in jobs} == {
        ("etyde", "echo", ("t",))
    }
    assert all(job["expires_at"] for job in jobs)
    view = (await edge.get(HERE)).json()
    assert view["fired"] >= 1
    assert view["last_job"] in {job["id"] for job in jobs}
    await edge.succeed()


async def test_trigger(edge: Edge) -> None:
    await create(edge)
    await edge.post(f"{HERE}:pause", key="maker")
    key = {"idempotency-key": "a"}
    replies = [
        await edge.post(f"{HERE}:trigger", headers=headers) for headers in ({}, {}, key, key)
    ]
    assert [reply.status_code for reply in replies] == [202] * 4
    ids = [reply.json()["id"] for reply in replies]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3
    assert [reply.json()["created"] for reply in replies] == [True, True, True, False]
    assert replies[0].headers["location"] == f"/v1/jobs/{ids[0]}"
    assert (await edge.take()).payload == b'{"text":"hi"}'
    assert (await edge.get(HERE)).json()["fired"] == 0
    assert (await edge.post("/v1/schedules/none:trigger")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "path"),
    [
        ({"cron": "0 0 31 2 *"}, 422, "$.cron"),
        ({"cron": "nonsense"}, 422, "$.cron"),
        ({"cron": None}, 422, "$.cron"),
        ({"cron": "x" * 201}, 422, "$.cron"),
        ({"every_s": 5}, 422, "$.cron"),
        ({"cron": None, "every_s": 0.999}, 422, "$.every_s"),
        ({"zone": "Europe/Nowhere"}, 422, "$.zone"),
        ({"jitter_s": 3601}, 422, "$.jitter_s"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, 422, "$.ends_at"),
        (
            {"starts_at": "2030-01-01T00:00:00Z", "ends_at": "2029-01-01T00:00:00Z"},
            422,
            "$.ends_at",
        ),
        ({"starts_at": "9999-01-01T00:00:00Z"}, 422, "$.ends_at"),
        ({"misfire": "sometimes"}, 422, "$.misfire"),
        ({"misfire_max": 0}, 422, "$.misfire_max"),
        ({"overlap": "never"}, 422, "$.overlap"),
        ({"name": "Nightly"}, 422, "$.name"),
        ({"job": {"processor": "echo", "payload": {"text": 5}}}, 422, "$.job.payload.text"),
        ({"job": {"processor": "echo", "payload": {}, "run_at": None}}, 422, "$.job.run_at"),
        ({"app": "govejle"}, 403, None),
    ],
)
async def test_what_is_refused(edge: Edge, fields: Any, status: int, path: str | None) -> None:
    reply = await create(edge, **fields)
    assert reply.status_code == status, reply.text
    if path:
        assert reply.json()["errors"][0]["path"] == path
    assert (await edge.get("/v1/schedules")).json()["items"] == []


async def test_what_its_job_needs_must_be_there(edge: Edge) -> None:
    unknown = await create(edge, job={"processor": "nothing", "payload": {}})
    assert unknown.json()["code"] == "unknown_processor"
    callback = {"callback": {"url": "https://etyde.example/hooks"}}
    nowhere = await create(edge, job=HOURLY["job"] | callback)
    assert nowhere.json()["code"] == "unknown_endpoint"
    await edge.post("/v1/endpoints", {"url": "https://etyde.example/"}, key="maker")
    assert (await create(edge, job=HOURLY["job"] | callback)).status_code == 201


async def test_scopes(edge: Edge) -> None:
    for role in ("app", "reader", "operator"):  # without operate, without both, without submit
        body = HOURLY | {"app": "etyde"}
        reply = await edge.post("/v1/schedules", body | {"name": "nightly"}, key=role)
        assert (role, reply.json()["code"]) == (role, "not_allowed")
        reply = await edge.call("PUT", HERE, body, key=role)
        assert (role, reply.json()["code"]) == (role, "not_allowed")
    await create(edge)
    assert (await edge.post(f"{HERE}:pause", key="app")).status_code == 403
    assert (await edge.post(f"{HERE}:trigger", key="reader")).status_code == 403
    assert (await edge.get(HERE, key="reader")).status_code == 200


async def test_another_apps_schedule_does_not_exist(edge: Edge) -> None:
    await create(edge)
    for method, path in (
        *(("GET", HERE), ("DELETE", HERE)),
        *(("POST", f"{HERE}:{what}") for what in ("pause", "resume", "trigger")),
    ):
        assert (await edge.call(method, path, key="other")).status_code == 404
        assert (await edge.call(method, f"{path}?app=etyde", key="other")).status_code == 403
    assert (await edge.get("/v1/schedules", key="other")).json()["items"] == []
    own = await edge.call("PUT", HERE, HOURLY, key="other")
    assert (own.status_code, own.json()["app"]) == (201, "govejle")


async def test_an_operator_names_the_app(edge: Edge) -> None:
    await create(edge)
    assert (await edge.get(HERE, key="operator")).status_code == 403
    for strange in ("etyde%7Cnightly", "*"):
        assert (await edge.get(f"{HERE}?app={strange}", key="operator")).status_code == 404
    assert (await edge.get(f"{HERE}?app=etyde", key="operator")).json()["app"] == "etyde"
    paused = await edge.post(f"{HERE}:pause?app=etyde", key="operator")
    assert paused.json()["paused"] is True
    assert len((await edge.get("/v1/schedules", key="operator")).json()["items"]) == 1
    made = await edge.post("/v1/schedules", HOURLY | {"name": "x", "app": "web"}, key="admin")
    assert made.json()["app"] == "web"


async def test_pages(edge: Edge) -> None:
    for name in "cab":
        await create(edge, name=name)
    first = (await edge.get("/v1/schedules?limit=2")).json()
    second = (await edge.get(f"/v1/schedules?limit=2&cursor={first['next']}")).json()
    assert [one["name"] for one in first["items"] + second["items"]] == ["a", "b", "c"]
    assert second["next"] is None
    foreign = await edge.get(f"/v1/schedules?cursor={first['next']}", key="other")
    assert foreign.status_code == 422


async def test_preview_over_the_end_of_summer_time(edge: Edge) -> None:
    request = {
        "cron": "30 2 * * *",
        "zone": "Europe/Copenhagen",
        "after": "2026-10-24T12:00:00Z",
        "count": 2,
    }
    reply = await edge.post("/v1/schedules:preview", request)
    assert reply.json() == {
        "zone": "Europe/Copenhagen",
        "items": [
            {"at": "2026-10-25T00:30:00Z", "local": "2026-10-25T02:30:00+02:00"},
            {"at": "2026-10-26T01:30:00Z", "local": "2026-10-26T02:30:00+01:00"},
        ],
    }
    assert (await edge.post("/v1/schedules:preview", {"every_s": 60})).json()["zone"] == "UTC"
    assert (await edge.post("/v1/schedules:preview", {"count": 101})).status_code == 422
    assert (await edge.post("/v1/schedules:preview", {})).json()["errors"][0]["path"] == "$.cron"


# ---------------------------------------------------------------- of the settings


def declared(**fields: Any) -> DeclaredSchedule:
    return msgspec.json.decode(
        msgspec.json.encode(HOURLY | {"app": "web"} | fields), type=DeclaredSchedule
    )


async def stored(store: ScheduleStore, key: str) -> Schedule | None:
    standing = await store.find(key)
    return standing.schedule if standing else None


async def test_declared_schedules_are_stored_when_that_is_possible(edge: Edge) -> None:
    store = edge.parts.schedules
    later = declared(job={"processor": "later", "payload": {"text": "hi"}})
    async with DeclaredSchedules({"nightly": declared(), "later": later}, edge.parts):
        schedule = await until(lambda: stored(store, "web|nightly"), what="the first")
        assert schedule.declared
        assert schedule.timing == timing_of(declared())
        assert await stored(store, "web|later") is None
        await edge.parts.directory.publish_processor(card("later"))
        await until(lambda: stored(store, "web|later"), what="the second")


async def test_a_second_start_changes_nothing_and_a_lost_table_is_told(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    store = edge.parts.schedules
    async with DeclaredSchedules({"nightly": declared(), "old": declared()}, edge.parts):
        await until(lambda: stored(store, "web|old"), what="it to be stored")
    await store.pause("web|nightly")
    before = await store.find("web|nightly")
    with caplog.at_level("WARNING"):
        async with DeclaredSchedules({"nightly": declared()}, edge.parts):
            await until(lambda: "is in none here" in caplog.text, what="the lost one to be told")
    assert await store.find("web|nightly") == before
    assert await stored(store, "web|old")
