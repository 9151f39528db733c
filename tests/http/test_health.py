"""Health, metrics and the API's own description."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from gateway.app import MODULES, build_app
from gateway.settings import GatewaySettings
from tests.http.edge import Edge, echo, started_edge


async def test_alive_without_a_key(edge: Edge) -> None:
    reply = await edge.get("/healthz", key="")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok", "dependencies": {}})


async def test_ready_names_each_dependency(edge: Edge) -> None:
    reply = await edge.get("/readyz", key="")
    names = {"redis": "ok", "keys": "ok", "processors": "ok", "endpoints": "ok"}
    assert (reply.status_code, reply.json()) == (200, {"status": "ok", "dependencies": names})


async def test_a_failing_dependency_is_named_and_nothing_more_is_said(edge: Edge) -> None:
    async def fails() -> None:
        raise ConnectionError("10.0.0.7:6379 refused")

    edge.parts.checks = {"redis": fails, "disk": edge.parts.inspector.counts}
    reply = await edge.get("/readyz", key="")
    assert reply.status_code == 503
    assert reply.json()["dependencies"]["redis"] == "failing"
    assert reply.json()["dependencies"]["disk"] == "ok"
    assert "10.0.0.7" not in reply.text


async def test_metrics_count_requests_and_jobs(edge: Edge) -> None:
    await edge.submit(priority="high")
    await edge.submit()
    await edge.succeed()
    await edge.get("/nothing/here")
    await edge.get("/v1/jobs/0-unknown")
    text = (await edge.get("/metrics", key="")).text
    found = samples(text)
    assert found["roughneck_jobs", ("io", "succeeded")] == 1
    assert found["roughneck_jobs", ("io", "waiting")] == 1
    assert found["roughneck_jobs_submitted_total", ("high", "echo", "io")] == 1
    assert found["roughneck_lanes_waiting", ("normal", "io")] == 1
    assert found["roughneck_class_paused", ("io",)] == 0
    assert found["roughneck_pool_leases", ("io", "io")] == 0
    assert found["roughneck_redis_up", ()] == 1
    assert found["roughneck_gateway_requests_total", ("202", "POST", "/v1/jobs")] == 2
    assert found["roughneck_gateway_requests_total", ("404", "GET", "/v1/jobs/{id}")] == 1
    assert found["roughneck_gateway_requests_total", ("404", "unknown", "unknown")] == 1
    assert found["roughneck_gateway_request_seconds_count", ("POST", "/v1/jobs")] == 2
    assert "0-unknown" not in text


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("client", "headers", "key", "status"),
    [
        ("127.0.0.1", {}, "", 200),
        ("::1", {}, "", 200),
        ("192.0.2.7", {}, "", 401),
        ("192.0.2.7", {}, "app", 403),
        ("192.0.2.7", {}, "metrics", 200),
        ("192.0.2.7", {}, "admin", 200),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, "", 401),
        ("127.0.0.1", {"forwarded": "for=192.0.2.7"}, "", 401),
    ],
)
async def test_who_may_scrape(
    edge: Edge, client: str, headers: dict[str, str], key: str, status: int
) -> None:
    transport = httpx.ASGITransport(app=build_app(edge.parts), client=(client, 1))
    bearer = {"authorization": f"Bearer {edge.keys[key]}"} if key else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        reply = await http.get("/metrics", headers=headers | bearer)
    assert reply.status_code == status


async def test_loopback_can_be_closed_too(redis: Redis, redis_url: str) -> None:
    settings = GatewaySettings(metrics_open_to_loopback=False)
    async with started_edge(redis, redis_url, settings) as edge:
        assert (await edge.get("/metrics", key="")).status_code == 401
        assert (await edge.get("/metrics", key="metrics")).status_code == 200


async def test_the_description_names_every_operation(edge: Edge) -> None:
    reply = await edge.get("/openapi.json", key="")
    document = reply.json()
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    known = {(one.method, one.path) for module in MODULES for one in module.OPERATIONS}
    assert document["openapi"] == "3.1.0"
    assert described == known | {("GET", "/openapi.json"), ("GET", "/docs")}
    names = [item[method]["operationId"] for item in document["paths"].values() for method in item]
    assert len(names) == len(set(names))


async def test_every_reference_of_the_description_resolves(edge: Edge) -> None:
    document = (await edge.get("/openapi.json", key="")).json()
    schemas = document["components"]["schemas"]
    used = {reference.rpartition("/")[2] for reference in references(document)}
    assert used <= schemas.keys()
    assert {"JobRequest", "JobView", "Problem", "ClassDetail", "Fault"} <= used


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


async def test_a_submit_is_described_with_its_answers(edge: Edge) -> None:
    submit = (await edge.get("/openapi.json", key="")).json()["paths"]["/v1/jobs"]["post"]
    assert submit["security"] == [{"key": ["submit"]}]
    assert {"200", "202", "400", "401", "403", "413", "415", "422", "503"} <= set(
        submit["responses"]
    )
    assert "unknown_processor" in submit["responses"]["422"]["description"]
    headers = [one["name"] for one in submit["parameters"] if one["in"] == "header"]
    assert headers == ["Idempotency-Key", "Prefer", "traceparent"]


async def test_the_page_loads_nothing_from_elsewhere(edge: Edge) -> None:
    reply = await edge.get("/docs", key="")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"(src|href)=.?(https?:)?//", reply.text)
    assert "default-src 'self'" in reply.headers["content-security-policy"]


async def test_answers_of_the_description_are_the_answers_given(edge: Edge) -> None:
    """What a submit really answers has the fields that the description promises."""
    schemas = (await edge.get("/openapi.json", key="")).json()["components"]["schemas"]
    body = (await edge.post("/v1/jobs", echo())).json()
    assert set(schemas["JobAccepted"]["required"]) <= body.keys()
    assert body.keys() <= schemas["JobAccepted"]["properties"].keys()
    job = (await edge.get(f"/v1/jobs/{body['id']}")).json()
    assert set(schemas["JobView"]["required"]) <= job.keys()
    assert job.keys() <= schemas["JobView"]["properties"].keys()
