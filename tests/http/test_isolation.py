"""Each operation of the API by the key of another app: nothing is seen, not even that it exists."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
import pytest

from gateway.app import MODULES
from gateway.auth import Scope, mint_key
from tests.http.edge import CLOCK, Edge, echo

OPERATIONS = {(one.method, one.path): one for module in MODULES for one in module.OPERATIONS}
WITH_NAMES = sorted(one for one in OPERATIONS if "{" in one[1])

# Paths that name something that no app owns: their answer is the same for all.
SHARED = ("/v1/classes/{name}", "/v1/processors/{name}", "/v1/named-flows/{name}")
# What a path names: which of the victim's things, and a name of the same form that nobody has.
NAMED = {
    "/v1/jobs/{id}": ("job", "0-3prw0jk6j3hep7hx6b7zsgbwq1"),
    "/v1/flows/{id}": ("flow", "0-3prw0jk6j3hep7hx6b7zsgbwq1"),
    "/v1/endpoints/{id}": ("endpoint", "ep_abcdefghjkmnpqrs"),
    "/v1/callbacks/{id}": ("callback", "msg_abcdefghjkmnpqrstvwxyz0123"),
    "/v1/keys/{id}": ("key", "abcdefghjkmn"),
    "/v1/apps/{name}": ("app", "nobody"),
    "/v1/schedules/{name}": ("schedule", "nobodys"),
}
MAKING = {("PUT", "/v1/schedules/{name}")}  # a name is the app's own: it makes another thing
# Operations that name things in the body or the query, or make and list them.
LISTS = {
    ("GET", "/v1/jobs"),
    ("GET", "/v1/flows"),
    ("GET", "/v1/named-flows"),
    ("GET", "/v1/dead-letters"),
    ("GET", "/v1/callbacks"),
    ("GET", "/v1/endpoints"),
    ("GET", "/v1/apps"),
    ("GET", "/v1/keys"),
    ("GET", "/v1/schedules"),
    ("GET", "/v1/classes"),
    ("GET", "/v1/overview"),
    ("GET", "/v1/workers"),
    ("GET", "/v1/processors"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
}
OTHERS = {
    ("POST", "/v1/jobs"),  # its app is the key's; ids are made from app and idempotency key
    ("POST", "/v1/jobs:batch"),
    ("POST", "/v1/flows"),
    ("POST", "/v1/dead-letters:replay"),
    ("POST", "/v1/dead-letters:purge"),
    ("POST", "/v1/callbacks:replay"),
    ("POST", "/v1/endpoints"),
    ("POST", "/v1/keys"),
    ("POST", "/v1/schedules"),
    ("POST", "/v1/schedules:preview"),  # stores nothing
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/v1/events"),  # tests/http/test_events.py
    ("PUT", "/v1/blobs"),  # this and the next three: tests/http/test_blobs.py
    ("GET", "/v1/blobs/{id}"),
    ("PUT", "/internal/blobs"),  # signed, for workers
    ("GET", "/internal/blobs/{id}"),
}
SCHEDULE = "canary-schedule"
STAGED = {"stages": [{"name": "canary", "processor": "echo", "payload": {"text": "canary"}}]}
TICKING = {"every_s": 86_400, "job": {"processor": "echo", "payload": {"text": "canary"}}}
BODIES: Mapping[str, Any] = {"PATCH": {"events": ["dead"]}, "POST": {}}


def owned(path: str) -> tuple[str, str] | None:
    """What the path names of an app's, and a name that nobody has."""
    return next((NAMED[base] for base in NAMED if path.startswith(base)), None)


def test_every_operation_is_in_a_table() -> None:
    named = {one for one in WITH_NAMES if owned(one[1]) or one[1].startswith(SHARED)}
    assert OPERATIONS.keys() - named - LISTS - OTHERS == set()


@pytest.fixture
async def victim(edge: Edge) -> dict[str, str]:
    """Things of the app `etyde`, by kind: a dead job with a callback, an endpoint, a key."""
    reply = await edge.post(
        "/v1/endpoints", {"url": "https://app.example/canary"}, key="app-operator"
    )
    endpoint = reply.json()["id"]
    await edge.submit(callback={"url": "https://app.example/canary/7"}, tags=["canary"])
    dead = await edge.die("canary_code")
    live = await edge.submit(tags=["canary"])
    await edge.post("/v1/schedules", {"name": SCHEDULE, **TICKING}, key="app-operator")
    page = (await edge.get("/v1/callbacks", key="app-operator")).json()["items"]
    flow = await edge.post("/v1/flows", STAGED)
    return {
        "job": dead,
        "flow": flow.json()["id"],
        "live": live,
        "endpoint": endpoint,
        "callback": page[0]["id"],
        "key": edge.keys["app"].split("_")[1],
        "app": "etyde",
        "schedule": SCHEDULE,
    }


@pytest.fixture
async def foreign(edge: Edge) -> str:
    """A key of another app with every scope."""
    record, text = mint_key("govejle", tuple(map(str, Scope)), now_ms=CLOCK.now_ms())
    await edge.parts.directory.put_key(record)
    await edge.parts.keys.refresh()
    return text


@pytest.mark.parametrize(
    ("method", "path"), [one for one in WITH_NAMES if owned(one[1]) and one not in MAKING]
)
async def test_what_another_app_owns_is_as_if_it_were_not(
    edge: Edge, victim: dict[str, str], foreign: str, method: str, path: str
) -> None:
    kind, unknown = owned(path) or ("", "")
    before = await everything(edge)
    for name in {victim[kind], victim["live"] if kind == "job" else victim[kind]}:
        theirs = await call(edge, method, path, name, foreign)
        nobodys = await call(edge, method, path, unknown, foreign)
        if method == "PATCH" and kind == "app":
            assert (theirs.status_code, nobodys.status_code) == (403, 403)
        else:
            assert (theirs.status_code, nobodys.status_code) == (404, 404)
        assert blind(theirs, name) == blind(nobodys, unknown)
    assert await everything(edge) == before


@pytest.mark.parametrize(("method", "path"), sorted(LISTS))
async def test_listings_show_nothing_of_another_app(
    edge: Edge, victim: dict[str, str], foreign: str, method: str, path: str
) -> None:
    for query in ("", "?limit=200") if "{" not in path else ("",):
        reply = await edge.call(method, path + query, key=foreign)
        if query:
            assert reply.status_code in (200, 422)
        text = reply.text
        for secret in (*victim.values(), "canary"):
            assert secret not in text, f"{path} tells {secret}"
    narrowed = await edge.call(method, f"{path}?app=etyde", key=foreign)
    assert not any(value in narrowed.text for value in victim.values() if value != "etyde")


async def test_what_is_named_in_a_body_is_not_touched(
    edge: Edge, victim: dict[str, str], foreign: str
) -> None:
    before = await everything(edge)
    for path, ids in (
        ("/v1/dead-letters:replay", [victim["job"]]),
        ("/v1/callbacks:replay", [victim["callback"]]),
    ):
        reply = await edge.post(path, {"ids": ids}, key=foreign)
        assert reply.json() == {"matched": 0, "replayed": 0, "more": False}
        assert (await edge.post(path, {"app": "etyde"}, key=foreign)).status_code == 403
    purge = "/v1/dead-letters:purge"
    reply = await edge.post(purge, {"ids": [victim["job"]]}, key=foreign)
    assert reply.json() == {"matched": 0, "purged": 0, "more": False}
    assert (await edge.post(purge, {"app": "etyde"}, key=foreign)).status_code == 403
    for path, body in (
        ("/v1/endpoints", {"url": "https://evil.example/", "app": "etyde"}),
        ("/v1/keys", {"app": "etyde", "scopes": ["read"]}),
        ("/v1/keys", {"app": "*", "scopes": ["read"]}),
    ):
        assert (await edge.post(path, body, key=foreign)).status_code == 403
    assert await everything(edge) == before


async def test_a_schedule_of_the_same_name_is_another_schedule(
    edge: Edge, victim: dict[str, str], foreign: str
) -> None:
    before = await everything(edge)
    path = f"/v1/schedules/{SCHEDULE}"
    assert (await edge.call("PUT", path, TICKING, key=foreign)).status_code == 201
    theirs = {**TICKING, "app": "etyde"}
    assert (await edge.call("PUT", path, theirs, key=foreign)).status_code == 403
    made = await edge.post("/v1/schedules", {"name": "x", **theirs}, key=foreign)
    assert made.status_code == 403
    assert (await edge.call("DELETE", path, key=foreign)).status_code == 204
    assert await everything(edge) == before


async def test_an_idempotency_key_of_another_app_is_another_key(edge: Edge, foreign: str) -> None:
    headers = {"idempotency-key": "order-17"}
    mine = await edge.post("/v1/jobs", echo(), headers=headers)
    other = {"text": "other"}
    theirs = await edge.post("/v1/jobs", echo(payload=other), headers=headers, key=foreign)
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]


async def test_a_callback_goes_to_no_endpoint_of_another_app(
    edge: Edge, victim: dict[str, str], foreign: str
) -> None:
    body = echo(callback={"url": "https://app.example/canary/7"})
    reply = await edge.post("/v1/jobs", body, key=foreign)
    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_endpoint")


async def test_an_old_id_tells_nothing_either(edge: Edge, foreign: str) -> None:
    """A dead job outlives the retention of others: still 410 to strangers, as if it were gone."""
    job_id = await edge.submit()
    await edge.die()
    edge.parts.retention_s = -3_600  # so that what is made now is long gone
    theirs = await edge.get(f"/v1/jobs/{job_id}", key=foreign)
    nobodys = await edge.get(f"/v1/jobs/{job_id[:-1]}{'0' if job_id[-1] != '0' else '1'}")
    assert theirs.status_code == nobodys.status_code == 410
    assert (await edge.get(f"/v1/jobs/{job_id}")).status_code == 200


async def call(edge: Edge, method: str, path: str, name: str, key: str) -> httpx.Response:
    filled = re.sub(r"{\w+}", name, path)
    patches = {"/v1/apps/{name}": {"burst": 9}, "/v1/jobs/{id}": {"priority": "high"}}
    body = patches.get(path, BODIES.get(method)) if method == "PATCH" else BODIES.get(method)
    return await edge.call(method, filled, body, key=key)


def blind(reply: httpx.Response, name: str) -> tuple[int, dict[str, str], str]:
    """An answer without the name that was asked for."""
    headers = {key: value for key, value in reply.headers.items() if key != "content-length"}
    return reply.status_code, headers, reply.text.replace(name, "NAME")


async def everything(edge: Edge) -> tuple[object, ...]:
    """All that a stranger could have changed."""
    jobs = (await edge.get("/v1/jobs", key="admin")).json()
    endpoints = await edge.parts.callbacks.endpoints.all()
    keys = await edge.parts.directory.keys()
    callbacks = (await edge.get("/v1/callbacks", key="admin")).json()
    limits = await edge.parts.directory.app_limits()
    schedules = (await edge.get("/v1/schedules", key="admin")).json()
    return jobs, endpoints, keys, msgspec.json.encode(callbacks), limits, schedules
