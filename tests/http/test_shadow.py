"""Shadows over HTTP: submitted beside their job, never in its way; and the report on them."""

import json
from asyncio import to_thread

import msgspec
import pytest

from ops.cli.program import run
from streams.model import Done, State
from tests.http.edge import Edge, card, echo
from tests.redis.scenes import settle


@pytest.fixture(autouse=True)
async def _published(edge: Edge) -> None:
    await edge.parts.directory.publish_processor(card("echo-next"))
    await edge.parts.processors.refresh()


async def test_a_job_and_its_shadow(edge: Edge) -> None:
    body = echo(shadow={"processor": "echo-next"}, tags=["t"], callback=None)
    reply = await edge.post("/v1/jobs", body, headers={"idempotency-key": "k"})
    answer = reply.json()
    assert reply.status_code == 202
    one, shadow = [await edge.parts.inspector.job(answer[name]) for name in ("id", "shadow")]
    assert one is not None
    assert shadow is not None
    assert (shadow.lane.app, shadow.state) == ("shadow.etyde", State.WAITING)
    assert shadow.tags == (f"shadow:{one.id}", "t")
    assert (await edge.get(f"/v1/jobs/{shadow.id}")).status_code == 404  # another app's
    again = await edge.post("/v1/jobs", body, headers={"idempotency-key": "k"})
    assert (again.json()["created"], again.json()["shadow"]) == (False, None)
    assert len((await edge.parts.inspector.jobs()).items) == 2


async def test_a_shadow_that_cannot_be_had_harms_nobody(edge: Edge) -> None:
    without = await edge.post("/v1/jobs", echo(shadow={"processor": "none"}))
    assert (without.status_code, without.json()["shadow"]) == (202, None)
    assert "shadow" not in (await edge.post("/v1/jobs", echo())).json()
    for wrong in ({"processor": "echo-next", "share": 0}, {"processor": "UP"}, "echo-next"):
        assert (await edge.post("/v1/jobs", echo(shadow=wrong))).status_code == 422


async def test_items_of_a_batch_have_their_own(edge: Edge) -> None:
    items = [echo(shadow={"processor": "echo-next"}), echo(), {"processor": "none"}]
    answers = (await edge.post("/v1/jobs:batch", {"jobs": items})).json()["jobs"]
    assert answers[0]["job"]["shadow"]
    assert "shadow" not in answers[1]["job"]
    assert answers[2]["status"] == 422
    assert len((await edge.parts.inspector.jobs()).items) == 3


async def test_the_report_compares_results(
    edge: Edge, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for says in ("same", "same", "other"):
        reply = await edge.post("/v1/jobs", echo(shadow={"processor": "echo-next"}))
        one, shadow = reply.json()["id"], reply.json()["shadow"]
        for lease in await edge.hand.take(2, processors=["echo", "echo-next"]):
            value = "same" if lease.job_id == one else says
            result = msgspec.json.encode({"said": value, "took": lease.job_id})
            await settle(edge.broker, lease, Done(result))
        assert shadow
    capsys.readouterr()
    command = ["--redis", redis_url, "shadow", "report", "--app", "etyde", "--ignore", "$.took"]
    assert await to_thread(run, [*command, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"], found["equal"], found["different"]) == (3, 2, 1)
    (path,) = found["paths"]
    assert (path["path"], path["example"]["shadow"]) == ("$.said", '"other"')
    assert await to_thread(run, [*command, "--different-max", "0.5"]) == 0
    assert "$.said" in capsys.readouterr().out
    assert await to_thread(run, [*command, "--different-max", "0.1"]) == 1
    assert "33.3% of 3 pairs" in capsys.readouterr().err
    assert await to_thread(run, [*command, "--processor", "x", "--different-max", "0.1"]) == 1
