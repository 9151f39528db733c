"""Dead letters: seen, counted, run again by id and by filter."""

from typing import Any

import pytest

from tests.http.edge import Edge


async def dead(edge: Edge, *codes: str, **fields: Any) -> list[str]:
    found = []
    for code in codes:
        job_id = await edge.submit(**fields)
        assert await edge.die(code) == job_id
        found.append(job_id)
    return found


async def replay(edge: Edge, key: str = "app-operator", **selection: Any) -> dict[str, Any]:
    reply = await edge.post("/v1/dead-letters:replay", selection, key=key)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def test_the_newest_is_first(edge: Edge) -> None:
    first, second = await dead(edge, "a", "b")
    items = (await edge.get("/v1/dead-letters")).json()["items"]
    assert {job["id"]: job["error"]["code"] for job in items} == {first: "a", second: "b"}
    assert (await edge.get("/v1/dead-letters", key="other")).json()["items"] == []


async def test_replay_by_id(edge: Edge) -> None:
    first, second = await dead(edge, "a", "b")
    assert await replay(edge, ids=[first]) == {"matched": 1, "replayed": 1, "more": False}
    items = (await edge.get("/v1/dead-letters")).json()["items"]
    assert [job["id"] for job in items] == [second]
    assert await edge.succeed() == first


async def test_replay_by_filter(edge: Edge) -> None:
    await dead(edge, "timed_out", "boom", "timed_out")
    answer = await replay(edge, code="timed_out", processor="echo")
    assert answer == {"matched": 2, "replayed": 2, "more": False}
    assert len((await edge.get("/v1/dead-letters")).json()["items"]) == 1


async def test_a_dry_run_only_counts(edge: Edge) -> None:
    await dead(edge, "a", "a")
    assert await replay(edge, dry_run=True) == {"matched": 2, "replayed": 0, "more": False}
    assert (await edge.parts.inspector.counts())["io|dead"] == 2


async def test_the_limit_says_that_there_is_more(edge: Edge) -> None:
    await dead(edge, "a", "a", "a")
    assert await replay(edge, limit=2) == {"matched": 2, "replayed": 2, "more": True}
    assert await replay(edge, limit=2) == {"matched": 1, "replayed": 1, "more": False}


async def test_an_empty_body_replays_all_of_the_app(edge: Edge) -> None:
    await dead(edge, "a")
    await dead(edge, "a", key="other")
    reply = await edge.post("/v1/dead-letters:replay", key="app-operator")
    assert reply.json()["replayed"] == 1
    assert (await replay(edge, key="operator"))["replayed"] == 1


async def test_another_apps_dead_letters_are_not_touched(edge: Edge) -> None:
    (job_id,) = await dead(edge, "a")
    answer = await replay(edge, key="other", ids=[job_id, "0-unknown"])
    assert answer == {"matched": 0, "replayed": 0, "more": False}


@pytest.mark.parametrize(
    ("selection", "path"),
    [
        ({"ids": ["x"], "code": "boom"}, "$.ids"),
        ({"limit": 1_001}, "$.limit"),
        ({"state": "dead"}, "$.state"),
    ],
)
async def test_selections_that_are_none(edge: Edge, selection: Any, path: str) -> None:
    reply = await edge.post("/v1/dead-letters:replay", selection, key="operator")
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, path)
