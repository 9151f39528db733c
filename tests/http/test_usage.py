"""What models were used for, over HTTP: sums, and only of one's own app."""

import pytest

from streams.model import Done, Settlement
from streams.usage import Usage
from tests.http.edge import Edge
from tests.support.build import Hand, new_job

USED = Usage(asks=2, repairs=1, swaps=1, prompt_tokens=90, completion_tokens=30, eval_s=1.5)


async def use(edge: Edge, app: str, model: str) -> str:
    job = new_job(app=app, resource_class="ollama", processor="ask", model=model)
    broker = edge.parts.broker
    await broker.submit([job])
    hand = Hand(broker, f"{app}-{model}", "ollama", pool="ollama@mac", models=["gen", "small"])
    (lease,) = await hand.take()
    await broker.settle(hand.id, [Settlement(job.id, lease.token, Done(b"1"), USED)])
    return job.id


async def test_usage_is_summed_as_asked_and_by_whom(edge: Edge) -> None:
    for app, model in (("etyde", "gen"), ("etyde", "small"), ("govejle", "gen")):
        await use(edge, app, model)
    every = (await edge.get("/v1/usage", key="operator")).json()
    assert len(every["rows"]) == 3
    assert every["from"] < every["to"] == every["rows"][0]["day"]
    assert every["total"]["asks"] == 6
    by_model = (await edge.get("/v1/usage?by=model", key="operator")).json()["rows"]
    assert [(row["model"], row["prompt_tokens"], row["app"]) for row in by_model] == [
        ("gen", 180, None),
        ("small", 90, None),
    ]
    own = (await edge.get("/v1/usage?by=none")).json()
    assert (own["total"]["asks"], own["total"]["tokens_per_s"], len(own["rows"])) == (4, 20, 1)
    past = (await edge.get("/v1/usage?from=2020-01-01&to=2020-01-31")).json()
    assert (past["rows"], past["total"]["asks"]) == ([], 0)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("by=colour", "$.by"),
        ("from=2026-02-30", "$.from"),
        ("from=2026-02-02&to=2026-02-01", "$.from"),
        ("from=0001-01-01", "$.from"),
        ("since=2026-01-01", "$.since"),
    ],
)
async def test_what_cannot_be_summed_is_refused(edge: Edge, query: str, path: str) -> None:
    refused = await edge.get(f"/v1/usage?{query}")
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, path)
    assert (await edge.get("/v1/usage?app=govejle")).status_code == 403


async def test_a_job_shows_what_it_used(edge: Edge) -> None:
    shown = (await edge.get(f"/v1/jobs/{await use(edge, 'etyde', 'gen')}")).json()["usage"]
    assert (shown["asks"], shown["repairs"], shown["eval_s"]) == (2, 1, 1.5)
    assert (await edge.get("/v1/usage?to=0001-01-02")).status_code == 200
