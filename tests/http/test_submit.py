"""POST /v1/jobs: what is accepted, with what defaults, and what is refused with what path."""

from typing import Any

import msgspec
import pytest

from gateway.settings import GatewaySettings
from streams.model import CallbackRequest, Lane, Priority, ResourceClass, State
from tests.http.edge import CLOCK, KEYS, Edge, card, echo, started_edge

DAY_MS = 86_400_000


async def test_an_accepted_job(edge: Edge) -> None:
    reply = await edge.post("/v1/jobs", echo())
    body = reply.json()
    here = f"/v1/jobs/{body['id']}"
    assert reply.status_code == 202
    assert reply.headers["location"] == here
    assert body == {
        "id": body["id"],
        "state": "waiting",
        "created": True,
        "links": {"self": here, "result": f"{here}/result", "cancel": f"{here}:cancel"},
    }


async def test_defaults_come_from_the_manifest(edge: Edge) -> None:
    job = await edge.parts.inspector.job(await edge.submit())
    assert job is not None
    assert job.lane == Lane(ResourceClass.IO, "etyde", Priority.NORMAL, "echo")
    assert (job.state, job.attempts_max, job.timeout_ms) == (State.WAITING, 3, 60_000)


async def test_what_the_request_says_wins(edge: Edge) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = await edge.post(
        "/v1/jobs",
        echo(priority="high", attempts_max=7, timeout_s=1.5, tags=["a", "b:c"], delay_s=3600),
        headers={"traceparent": trace},
    )
    job = await edge.parts.inspector.job(reply.json()["id"])
    assert job is not None
    assert (job.lane.priority, job.attempts_max, job.timeout_ms) == (Priority.HIGH, 7, 1_500)
    assert (job.tags, job.trace, job.state) == (("a", "b:c"), trace, State.DELAYED)
    assert 3_500_000 < job.due_ms - CLOCK.now_ms() <= 3_600_000


async def test_the_model_of_a_class_with_affinity_comes_from_the_manifest(edge: Edge) -> None:
    ask = card("ask", resource_class=ResourceClass.OLLAMA, model="llama3.1:8b")
    await edge.parts.directory.publish_processor(ask)
    await edge.parts.processors.refresh()
    job = await edge.parts.inspector.job(await edge.submit(processor="ask"))
    assert job is not None
    assert job.lane == Lane(ResourceClass.OLLAMA, "etyde", Priority.NORMAL, "ask", "llama3.1:8b")


async def test_the_payload_is_stored_byte_for_byte(edge: Edge) -> None:
    payload = b'{ "text":"\\u00e6","times": 12345678901234567 }'
    reply = await edge.post(
        "/v1/jobs",
        content=b'{"processor":"echo","payload":' + payload + b"}",
        headers={"content-type": "application/json"},
    )
    assert reply.status_code == 202
    assert await edge.parts.inspector.payload(reply.json()["id"]) == payload


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"processor": 3}, "$.processor"),
        ({"processor": "Not A Name"}, "$.processor"),
        ({"priority": "urgent"}, "$.priority"),
        ({"attempts_max": 0}, "$.attempts_max"),
        ({"attempts_max": True}, "$.attempts_max"),
        ({"timeout_s": -1}, "$.timeout_s"),
        ({"delay_s": -1}, "$.delay_s"),
        ({"run_at": "tomorrow"}, "$.run_at"),
        ({"run_at": "2026-01-01T00:00:00"}, "$.run_at"),
        ({"tags": ["with space"]}, "$.tags[0]"),
        ({"callback": {"url": "ftp://x"}}, "$.callback.url"),
        ({"callback": {"url": "https://user:pw@x/"}}, "$.callback.url"),
        ({"callback": {"url": "https://x/", "events": []}}, "$.callback.events"),
        ({"uniqe_key": "later"}, "$.uniqe_key"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "$.expires_at"),
        ({"run_at": "2999-01-01T00:00:00Z", "delay_s": 1}, "$.delay_s"),
        ({"payload": {"text": 3}}, "$.payload.text"),
        ({"payload": {}}, "$.payload.text"),
        ({"payload": []}, "$.payload"),
        ({"payload": {"text": "", "more": 1}}, "$.payload.more"),
        ({"payload": {"text": "", "pages": [{"url": ""}, {"url": 1}]}}, "$.payload.pages[1].url"),
    ],
)
async def test_the_path_of_the_bad_field(edge: Edge, change: dict[str, Any], path: str) -> None:
    reply = await edge.post("/v1/jobs", echo(**change))
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (422, "invalid_input")
    assert [error["path"] for error in problem["errors"]] == [path]
    assert problem["errors"][0]["message"]


async def test_all_bad_fields_of_a_payload_are_named(edge: Edge) -> None:
    bad = {"text": 1, "times": "x", "pages": [{}]}
    problem = (await edge.post("/v1/jobs", echo(payload=bad))).json()
    assert {error["path"] for error in problem["errors"]} == {
        "$.payload.text",
        "$.payload.times",
        "$.payload.pages[0].url",
    }


async def test_an_unknown_processor_is_named(edge: Edge) -> None:
    reply = await edge.post("/v1/jobs", echo(processor="resize"))
    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_processor")
    assert "resize" in reply.json()["detail"]


async def test_a_processor_published_just_now_is_found(edge: Edge) -> None:
    edge.parts.processors._asked_at = float("-inf")
    await edge.parts.directory.publish_processor(card("fresh"))
    await edge.submit(processor="fresh")


async def test_a_new_manifest_brings_its_new_schema(edge: Edge) -> None:
    class Changed(msgspec.Struct, forbid_unknown_fields=True):
        words: list[str]

    await edge.submit()
    await edge.parts.directory.publish_processor(card(kind=Changed, version="2"))
    await edge.parts.processors.refresh()
    assert (await edge.post("/v1/jobs", echo())).status_code == 422
    await edge.submit(payload={"words": []})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"processor":"echo","payload":{"text":"\xff"}}',
        b"nope",
        b'{"processor":',
    ],
)
async def test_what_is_not_json(edge: Edge, body: bytes) -> None:
    reply = await edge.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_json")


async def test_a_body_not_declared_as_json(edge: Edge) -> None:
    reply = await edge.post("/v1/jobs", content=b"{}", headers={"content-type": "text/plain"})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


async def test_a_body_over_the_limit(edge: Edge) -> None:
    reply = await edge.post("/v1/jobs", echo(payload={"text": "x" * 1_048_576}))
    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")


async def test_a_body_nested_too_deeply(edge: Edge) -> None:
    deep = b'{"processor":"echo","payload":' + b"[" * 70 + b"]" * 70 + b"}"
    reply = await edge.post("/v1/jobs", content=deep, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")


async def test_a_path_that_does_not_exist(edge: Edge) -> None:
    for path in ("/", "/v1", "/v1/nothing", "/v1/jobs/", "/v1/jobs/x:explode"):
        reply = await edge.get(path)
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found"), path
        assert reply.headers["content-type"] == "application/problem+json"


async def test_a_method_that_does_not_exist(edge: Edge) -> None:
    reply = await edge.call("DELETE", "/v1/jobs")
    assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, HEAD, POST"


async def test_an_answer_nobody_accepts(edge: Edge) -> None:
    reply = await edge.get("/v1/jobs", headers={"accept": "image/png"})
    assert (reply.status_code, reply.json()["code"]) == (406, "not_acceptable")


async def test_the_same_idempotency_key_is_the_same_job(edge: Edge) -> None:
    headers = {"idempotency-key": "order-17"}
    first = await edge.post("/v1/jobs", echo(), headers=headers)
    await edge.take()
    again = await edge.post("/v1/jobs", echo(), headers=headers)
    assert first.json()["created"] is True
    assert again.status_code == 202
    assert again.json() == first.json() | {"created": False, "state": "active"}


async def test_an_idempotency_key_belongs_to_its_app(edge: Edge) -> None:
    headers = {"idempotency-key": "order-17"}
    first = await edge.post("/v1/jobs", echo(), headers=headers)
    other = await edge.post("/v1/jobs", echo(), headers=headers, key="other")
    assert first.json()["id"] != other.json()["id"]
    assert other.json()["created"] is True


async def test_an_idempotency_key_with_another_payload_is_refused(edge: Edge) -> None:
    headers = {"idempotency-key": "order-17"}
    await edge.post("/v1/jobs", echo(), headers=headers)
    reply = await edge.post("/v1/jobs", echo(payload={"text": "else"}), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["x" * 256, "with space", ""])
async def test_idempotency_keys_that_are_none(edge: Edge, key: str) -> None:
    reply = await edge.post("/v1/jobs", echo(), headers={"idempotency-key": key})
    if key:
        assert reply.json()["errors"][0]["path"] == "$.headers.idempotency-key"
    else:
        assert reply.json()["created"] is True


async def test_a_callback_under_an_endpoint_is_bound_to_it(edge: Edge) -> None:
    endpoint = await edge.post(
        "/v1/endpoints", {"url": "https://etyde.example/hooks"}, key="app-operator"
    )
    target = {"url": "https://etyde.example/hooks/jobs?x=1", "events": ["dead"]}
    job = await edge.parts.inspector.job(await edge.submit(callback=target))
    assert job is not None
    assert job.callback == CallbackRequest(target["url"], endpoint.json()["id"], (State.DEAD,))


@pytest.mark.parametrize(
    "url",
    [
        "https://etyde.example/",
        "https://etyde.example/hooksmith",
        "https://etyde.example/hooks/../admin",
        "https://evil.example/hooks",
        "http://etyde.example/hooks",
        "https://etyde.example:8443/hooks",
    ],
)
async def test_a_callback_outside_any_endpoint(edge: Edge, url: str) -> None:
    await edge.post("/v1/endpoints", {"url": "https://etyde.example/hooks"}, key="app-operator")
    reply = await edge.post("/v1/jobs", echo(callback={"url": url}))
    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_endpoint")


async def test_a_callback_to_another_apps_endpoint(edge: Edge) -> None:
    await edge.post("/v1/endpoints", {"url": "https://govejle.example/"}, key="other")
    reply = await edge.post("/v1/jobs", echo(callback={"url": "https://govejle.example/"}))
    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_endpoint")


async def test_an_expiring_job(edge: Edge) -> None:
    job = await edge.parts.inspector.job(await edge.submit(expires_at="2999-01-01T00:00:00Z"))
    assert job is not None
    assert job.expires_at_ms == 32_472_144_000_000


async def test_a_batch(edge: Edge) -> None:
    given = [
        echo(),
        echo(payload={"text": 3}),
        echo(processor="resize"),
        "not a job",
        echo(priority="low"),
    ]
    reply = await edge.post("/v1/jobs:batch", {"jobs": given})
    body = reply.json()
    assert (reply.status_code, body["accepted"], body["refused"]) == (200, 2, 3)
    assert [(one["index"], one["status"]) for one in body["jobs"]] == [
        (0, 202),
        (1, 422),
        (2, 422),
        (3, 422),
        (4, 202),
    ]
    assert [one["problem"]["code"] for one in body["jobs"] if "problem" in one] == [
        "invalid_input",
        "unknown_processor",
        "invalid_input",
    ]
    assert body["jobs"][1]["problem"]["errors"][0]["path"] == "$.payload.text"
    assert await edge.parts.inspector.counts() == {"io|waiting": 2, "io|submitted": 2}


async def test_a_batch_sent_twice_makes_its_jobs_once(edge: Edge) -> None:
    headers = {"idempotency-key": "batch-1"}
    batch = {"jobs": [echo(), echo(), echo(idempotency_key="own")]}
    first = (await edge.post("/v1/jobs:batch", batch, headers=headers)).json()
    again = (await edge.post("/v1/jobs:batch", batch, headers=headers)).json()
    assert [one["job"]["id"] for one in again["jobs"]] == [
        one["job"]["id"] for one in first["jobs"]
    ]
    assert not any(one["job"]["created"] for one in again["jobs"])
    single = await edge.post("/v1/jobs", echo(), headers={"idempotency-key": "own"})
    assert single.json()["id"] == first["jobs"][2]["job"]["id"]


async def test_a_key_reused_inside_a_batch_harms_only_its_item(edge: Edge) -> None:
    given = [echo(idempotency_key="k"), echo(idempotency_key="k", payload={"text": "else"})]
    body = (await edge.post("/v1/jobs:batch", {"jobs": given})).json()
    assert (body["accepted"], body["refused"]) == (1, 1)
    assert body["jobs"][1]["problem"]["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("jobs", [[], [echo()] * 1_001])
async def test_a_batch_of_none_or_too_many(edge: Edge, jobs: list[Any]) -> None:
    reply = await edge.post("/v1/jobs:batch", {"jobs": jobs})
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, "$.jobs")


async def test_a_full_batch(edge: Edge) -> None:
    body = (await edge.post("/v1/jobs:batch", {"jobs": [echo()] * 1_000})).json()
    assert body["accepted"] == 1_000
    assert (await edge.parts.inspector.counts())["io|waiting"] == 1_000


async def test_a_payload_of_a_batch_may_not_be_larger_than_alone(
    redis: Any, redis_url: str
) -> None:
    async with started_edge(redis, redis_url, GatewaySettings(body_max_bytes=1_000)) as edge:
        given = [echo(payload={"text": "x" * 1_001}), echo()]
        body = (await edge.post("/v1/jobs:batch", {"jobs": given})).json()
        assert [one["status"] for one in body["jobs"]] == [413, 202]
        assert await redis.exists(KEYS.job(body["jobs"][1]["job"]["id"]))
