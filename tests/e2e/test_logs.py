"""One job followed by its id through the logs of gateway, worker and courier."""

import json
from typing import Any

from tests.e2e.platform import Command, Platform, accepted, ended
from tests.support.waiting import until
from tests.web.local_server import local_server, response

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


async def test_a_job_is_followed_through_three_processes(bare: Platform) -> None:
    async with local_server(response(200)) as outside:
        outside.routes = {"/page": response(200, b"hello"), "/robots.txt": response(404)}
        bare.environment |= {
            "ROUGHNECK_NETWORK__ALLOW_PORTS": str(outside.port),
        }
        await bare.gateway("--no-courier")
        courier = bare.command("courier", "courier")
        worker = await bare.worker("w")
        http = await bare.app("web")
        hook = f"{outside.origin}/hooks"
        assert (await http.post("/v1/endpoints", json={"url": hook})).status_code == 201

        http.headers["traceparent"] = PARENT
        job_id = await accepted(
            http, "visit", {"url": f"{outside.origin}/page"}, callback={"url": hook}
        )
        http.headers["traceparent"] = f"00-{'0' * 32}-b7ad6b7169203331-01"
        other = await accepted(http, "visit", {"url": f"{outside.origin}/none"})
        assert (await ended(http, job_id))["result"] == f"hello {PARENT}"
        await ended(http, other)
        await until(lambda: courier.said("callback delivered"), what="the callback", limit_s=15)

        http.headers["traceparent"] = PARENT
        stages = [
            {"name": "first", "processor": "gate", "payload": {"ms": 1}},
            {"name": "then", "processor": "gate", "payload": {"ms": 1}, "after": ["first"]},
        ]
        reply = await http.post("/v1/flows", json={"stages": stages, "callback": {"url": hook}})
        assert reply.status_code == 202, reply.text
        flow = reply.json()["id"]
        told = "callback delivered"
        await until(lambda: len(courier.said(told)) == 2, what="the flow's callback", limit_s=15)
        parts = [one for one in worker.said("attempt succeeded") if one.get("flow") == flow]
        assert [one["stage"] for one in parts] == ["first", "then"]
        ends = [one for one in courier.said(told) if one.get("flow") == flow]
        assert {one["trace_id"] for one in (*parts, *ends)} == {TRACE}

        gateway = bare.commands[0]
        story = {one.name: lines_of(one, job_id) for one in (gateway, worker, courier)}
        assert [line["message"] for line in story["gateway"]] == ["job accepted"]
        assert [line["message"] for line in story["w"]] == [
            "the page is there",
            "a library knows of no job",
            "attempt succeeded",
        ]
        assert [line["message"] for line in story["courier"]] == ["callback delivered"]
        for line in (line for lines in story.values() for line in lines):
            assert (line["app"], line["processor"], line["trace_id"]) == ("web", "visit", TRACE)
            assert line.get("attempt", 1) == 1
        assert all("trace_id" not in line for line in lines_of(worker, other))

        sent = {one.path: one.headers for one in outside.received}
        assert sent["/page"]["traceparent"] == sent["/hooks"]["traceparent"] == PARENT
        assert "traceparent" not in sent["/none"]


def lines_of(command: Command, job_id: str) -> list[dict[str, Any]]:
    """The records of a process's log that name the job; every line is a record."""
    records = map(json.loads, command.log().splitlines())
    return [record for record in records if record.get("job_id") == job_id]
