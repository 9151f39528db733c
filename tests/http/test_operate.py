"""What operators and administrators do: classes, endpoints, callbacks, keys, catalog."""

from typing import Any

import pytest

from gateway.signing import secret_key
from streams.deliveries import DeadDelivery, Delivered
from streams.directory import WorkerCard
from tests.http.edge import CLOCK, Edge, echo

HOOKS = {"url": "https://etyde.example/hooks"}


async def test_classes_show_their_lanes(edge: Edge) -> None:
    await edge.submit(priority="high")
    await edge.submit(key="other")
    await edge.take()
    found = {one["name"]: one for one in (await edge.get("/v1/classes")).json()}
    assert sorted(found) == ["cpu", "io", "ollama"]
    io = found["io"]
    assert (io["waiting"], io["active"], io["delayed"], io["paused"]) == (1, 1, 0, False)
    assert io["pools"] == {"io": {"active": 1, "limit": None}}
    (lane,) = io["lanes"]
    assert (lane["app"], lane["priority"], lane["active"]) == ("etyde", "high", 1)
    everything = (await edge.get("/v1/classes/io", key="operator")).json()
    assert {lane["app"] for lane in everything["lanes"]} == {"etyde", "govejle"}


async def test_pause_and_resume(edge: Edge) -> None:
    await edge.submit()
    paused = await edge.post("/v1/classes/io:pause", key="operator")
    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    assert await edge.hand.take() == []
    resumed = await edge.post("/v1/classes/io:resume", key="operator")
    assert resumed.json()["paused"] is False
    assert len(await edge.hand.take()) == 1


async def test_limits_change_at_run_time(edge: Edge) -> None:
    for _ in range(3):
        await edge.submit()
    reply = await edge.call(
        "PATCH", "/v1/classes/io", {"limits": {"io": 2}, "app_limits": {"etyde": 1}}, key="operator"
    )
    assert reply.json()["pools"]["io"]["limit"] == 2
    assert len(await edge.hand.take(3)) == 1
    removed = {"limits": {"io": None}, "app_limits": {"etyde": None}}
    reply = await edge.call("PATCH", "/v1/classes/io", removed, key="operator")
    assert reply.json()["pools"]["io"]["limit"] is None
    assert len(await edge.hand.take(3)) == 2


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/classes/io", {"limits": {"cpu": 1}}, 422),
        ("/v1/classes/io", {"limits": {"io": -1}}, 422),
        ("/v1/classes/io", {"limit": {}}, 422),
        ("/v1/classes/gpu", {}, 404),
    ],
)
async def test_limits_that_are_none(edge: Edge, path: str, body: Any, status: int) -> None:
    assert (await edge.call("PATCH", path, body, key="operator")).status_code == status


async def test_an_endpoints_life(edge: Edge) -> None:
    made = await edge.post("/v1/endpoints", HOOKS, key="app-operator")
    endpoint = made.json()
    here = f"/v1/endpoints/{endpoint['id']}"
    assert (made.status_code, made.headers["location"]) == (201, here)
    secret_key(endpoint.pop("secret"))
    assert (endpoint["app"], endpoint["url"]) == ("etyde", HOOKS["url"])
    assert (endpoint["disabled"], endpoint["secrets_live"]) == ("", 1)
    assert (await edge.get(here)).json() == endpoint
    assert (await edge.get("/v1/endpoints")).json()["items"] == [endpoint]
    changed = await edge.call("PATCH", here, {"events": ["dead"]}, key="app-operator")
    assert changed.json() == endpoint | {"events": ["dead"]}
    assert (await edge.call("DELETE", here, key="app-operator")).status_code == 204
    assert (await edge.get(here)).json()["code"] == "not_found"
    assert (await edge.post("/v1/jobs", echo(callback=HOOKS))).json()["code"] == "unknown_endpoint"


async def test_rotation_keeps_one_previous_secret(edge: Edge) -> None:
    first = (await edge.post("/v1/endpoints", HOOKS, key="app-operator")).json()
    here = f"/v1/endpoints/{first['id']}"
    second = (await edge.post(f"{here}:rotate", key="app-operator")).json()
    third = (await edge.post(f"{here}:rotate", key="app-operator")).json()
    assert await live_secrets(edge, first["id"]) == (third["secret"], second["secret"])
    fourth = (await edge.post(f"{here}:rotate", {"drop_previous": True}, key="app-operator")).json()
    assert await live_secrets(edge, first["id"]) == (fourth["secret"],)
    assert (fourth["secrets_live"], fourth["previous_secret_until"]) == (1, None)


async def live_secrets(edge: Edge, endpoint_id: str, after_ms: int = 0) -> tuple[str, ...]:
    """What a courier would sign with so long from now."""
    stored = await edge.parts.callbacks.endpoints.get(endpoint_id)
    assert stored is not None
    return edge.seals.live(stored, CLOCK.now_ms() + after_ms)


async def test_the_old_secret_ends_by_itself_a_day_after_the_rotation(edge: Edge) -> None:
    first = (await edge.post("/v1/endpoints", HOOKS, key="app-operator")).json()
    second = (await edge.post(f"/v1/endpoints/{first['id']}:rotate", key="app-operator")).json()
    assert (second["secrets_live"], second["previous_secret_until"] is None) == (2, False)
    day_ms = 86_400_000
    both = (second["secret"], first["secret"])
    assert await live_secrets(edge, first["id"], day_ms - 5_000) == both
    assert await live_secrets(edge, first["id"], day_ms) == both[:1]


async def test_a_disabled_endpoint_is_enabled(edge: Edge) -> None:
    made = (await edge.post("/v1/endpoints", HOOKS, key="app-operator")).json()
    here = f"/v1/endpoints/{made['id']}"
    await edge.submit(callback=HOOKS)
    await edge.succeed()
    store = edge.parts.callbacks
    (lease,) = (await store.take("courier-1-a", 1, 1)).leases
    await store.settle(lease.id, lease.token, DeadDelivery("it said 410", 410, gone=True))
    found = (await edge.get(here)).json()
    assert (found["disabled"], found["disabled_at"] is None) == ("it said 410", False)
    enabled = (await edge.post(f"{here}:enable", key="app-operator")).json()
    assert (enabled["endpoint"]["disabled"], enabled["replayed"]) == ("", 1)
    assert (await edge.get(here)).json()["disabled"] == ""
    (again,) = (await store.take("courier-1-a", 2, 1)).leases
    assert again.id == lease.id


async def test_an_endpoint_is_sent_a_test(edge: Edge) -> None:
    made = (await edge.post("/v1/endpoints", HOOKS, key="app-operator")).json()
    sent = await edge.post(f"/v1/endpoints/{made['id']}:test", key="app-operator")
    callback = sent.json()
    assert (sent.status_code, callback["test"], callback["url"]) == (202, True, HOOKS["url"])
    assert (await edge.get(sent.headers["location"])).json() == callback
    (lease,) = (await edge.parts.callbacks.take("courier-1-a", 1, 1)).leases
    assert (lease.id, lease.record.test) == (callback["id"], True)
    assert (await edge.post(f"/v1/endpoints/{made['id']}:test", key="other")).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/",
        "https://user@x.example/",
        "https://x.example/#a",
        "https://x.example/?q=1",
        "https://0x7f000001/",
        "https://",
        "https://x example/",
    ],
)
async def test_urls_that_cannot_be_endpoints(edge: Edge, url: str) -> None:
    reply = await edge.post("/v1/endpoints", {"url": url}, key="app-operator")
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, "$.url")


async def test_operators_name_the_app_of_an_endpoint(edge: Edge) -> None:
    named = await edge.post("/v1/endpoints", HOOKS | {"app": "etyde"}, key="operator")
    assert named.json()["app"] == "etyde"
    assert (await edge.post("/v1/endpoints", HOOKS, key="operator")).status_code == 403
    foreign = await edge.post("/v1/endpoints", HOOKS | {"app": "govejle"}, key="app-operator")
    assert foreign.status_code == 403


async def test_another_apps_endpoint_does_not_exist(edge: Edge) -> None:
    made = (await edge.post("/v1/endpoints", HOOKS, key="app-operator")).json()
    here = f"/v1/endpoints/{made['id']}"
    assert (await edge.get(here, key="other")).status_code == 404
    for method, path in (("DELETE", here), ("POST", f"{here}:rotate"), ("POST", f"{here}:enable")):
        assert (await edge.call(method, path, key="other")).status_code == 404
    assert (await edge.get("/v1/endpoints", key="other")).json()["items"] == []


async def ended_with_callback(edge: Edge, *, dies: bool = True) -> str:
    """A job whose callback was given up, or delivered; the callback's id."""
    await edge.post("/v1/endpoints", HOOKS, key="app-operator")
    await edge.submit(callback=HOOKS)
    await edge.succeed()
    store = edge.parts.callbacks
    (lease,) = (await store.take("courier-1-a", 1, 1)).leases
    verdict = DeadDelivery("no route", 0, 5) if dies else Delivered(200, 12)
    await store.settle(lease.id, lease.token, verdict)
    return lease.id


async def test_the_delivery_log(edge: Edge) -> None:
    callback_id = await ended_with_callback(edge, dies=False)
    reply = await edge.get(f"/v1/callbacks/{callback_id}")
    callback = reply.json()
    assert (callback["state"], callback["url"]) == ("delivered", HOOKS["url"])
    ((status, took_ms),) = [(one["status"], one["took_ms"]) for one in callback["attempts"]]
    assert (status, took_ms) == (200, 12)
    assert (await edge.get("/v1/callbacks?state=delivered")).json()["items"] == [callback]
    assert (await edge.get("/v1/callbacks?state=dead")).json()["items"] == []
    assert (await edge.get(f"/v1/callbacks/{callback_id}", key="other")).status_code == 404


async def test_dead_callbacks_are_delivered_again(edge: Edge) -> None:
    callback_id = await ended_with_callback(edge)
    counted = await edge.post("/v1/callbacks:replay", {"dry_run": True}, key="app-operator")
    assert counted.json() == {"matched": 1, "replayed": 0, "more": False}
    foreign = await edge.post("/v1/callbacks:replay", {"ids": [callback_id]}, key="other")
    assert foreign.json()["matched"] == 0
    reply = await edge.post("/v1/callbacks:replay", key="app-operator")
    assert reply.json() == {"matched": 1, "replayed": 1, "more": False}
    (lease,) = (await edge.parts.callbacks.take("courier-1-a", 2, 1)).leases
    assert lease.id == callback_id


async def test_a_callback_that_never_was(edge: Edge) -> None:
    assert (await edge.get("/v1/callbacks/msg_nothing")).json()["code"] == "not_found"


async def test_a_keys_life(edge: Edge) -> None:
    given = {"app": "cnc", "scopes": ["submit", "read"], "note": "line 4"}
    made = await edge.post("/v1/keys", given, key="admin")
    key = made.json()
    text = key.pop("key")
    assert made.status_code == 201
    assert (await edge.get("/v1/jobs", key=text)).status_code == 200
    listed = (await edge.get("/v1/keys", key="admin")).json()["items"]
    assert key in listed
    assert text.split("_", 2)[2] not in str(listed)
    assert (await edge.call("DELETE", f"/v1/keys/{key['id']}", key="admin")).status_code == 204
    assert (await edge.get("/v1/jobs", key=text)).status_code == 401
    assert (await edge.call("DELETE", f"/v1/keys/{key['id']}", key="admin")).status_code == 404


async def test_an_apps_administrator_stays_in_its_app(edge: Edge) -> None:
    made = await edge.post("/v1/keys", {"app": "etyde", "scopes": ["read"]}, key="app-admin")
    assert made.status_code == 201
    for app in ("govejle", "*"):
        foreign = await edge.post("/v1/keys", {"app": app, "scopes": ["read"]}, key="app-admin")
        assert foreign.status_code == 403
    listed = (await edge.get("/v1/keys", key="app-admin")).json()["items"]
    assert {key["app"] for key in listed} == {"etyde"}
    foreign_id = edge.keys["other"].split("_")[1]
    reply = await edge.call("DELETE", f"/v1/keys/{foreign_id}", key="app-admin")
    assert reply.status_code == 404


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"app": "Not An App"}, "$.app"),
        ({"scopes": []}, "$.scopes"),
        ({"scopes": ["everything"]}, "$.scopes[0]"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "$.expires_at"),
    ],
)
async def test_keys_that_cannot_be(edge: Edge, change: dict[str, Any], path: str) -> None:
    given = {"app": "cnc", "scopes": ["read"]} | change
    reply = await edge.post("/v1/keys", given, key="admin")
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, path)


async def test_processors_with_their_schemas(edge: Edge) -> None:
    (listed,) = (await edge.get("/v1/processors")).json()["items"]
    read = (await edge.get("/v1/processors/echo")).json()
    assert read == listed
    assert (read["name"], read["resource_class"], read["timeout_s"]) == ("echo", "io", 60.0)
    assert read["input_schema"]["$defs"]["EchoInput"]["required"] == ["text"]
    assert (await edge.get("/v1/processors/resize")).json()["code"] == "not_found"


async def test_workers(edge: Edge) -> None:
    worker = WorkerCard(
        id="mac-1-a",
        host="mac",
        pid=1,
        version="1",
        pools={"io": "io"},
        slots={"io": 10},
        running={"io": 0},
        processors=("echo",),
        seen_ms=CLOCK.now_ms(),
    )
    await edge.parts.directory.announce_worker(worker)
    (found,) = (await edge.get("/v1/workers")).json()["items"]
    assert (found["id"], found["slots"]) == ("mac-1-a", {"io": 10})
