"""Flows that cannot go well: refused before anything is stored, by stage and field; or warned."""

from typing import Any

import pytest
from redis.asyncio import Redis

from streams.flow import ITEMS_MAX
from tests.http.edge import Edge, card
from tests.http.staged import Act, ad_hoc, one, publish, read


@pytest.fixture
async def staged(edge: Edge) -> Edge:
    Act.reset()
    await publish(edge)
    return edge


def stage(name: str, processor: str, payload: Any = None, **fields: Any) -> dict[str, Any]:
    return {"name": name, "processor": processor, "payload": payload, **fields}


LIST = stage("list", "list-pages", {"count": 1})
TITLE = {"$result": "list", "path": "/title"}
PAGES = {"result": "list", "path": "/pages"}

REFUSED: list[tuple[str, Any, str, str]] = [
    ("nothing", {}, "$.stages", "either the name of a flow, or its stages"),
    ("both", {"name": "weekly", "stages": []}, "$.stages", "either the name"),
    ("no stage", one(), "$.stages", "at least one stage"),
    ("two of a name", one(read("a"), read("a")), "$.stages", "two stages are named a"),
    ("an unknown stage", one(read("a", after=["b"])), "$.stages", "after b, which is no stage"),
    (
        "a cycle",
        one(read("a", after=["c"]), read("b", after=["a"]), read("c", after=["b"])),
        "$.stages",
        "a cycle: a, b, c",
    ),
    ("after itself", one(read("a", after=["a"])), "$.stages", "a comes after itself"),
    ("no such result", one(read("a"), result="b"), "$.stages", "there is no stage b"),
    ("a bad name", one(read("A")), "$.stages[0].name", ""),
    ("an unknown field", one(read("a", later=1)), "$.stages[0].later", "unknown field"),
    ("an unknown policy", one(read("a", on_failure="hope")), "$.stages[0].on_failure", ""),
    (
        "a payload that does not fit",
        one(read("a"), stage("b", "read-page", {"url": 7, "n": 1})),
        "$.stages[1].payload.url",
        "stage b: the value is not of type",
    ),
    (
        "a field that is missing beside a reference",
        one(LIST, stage("b", "join-pages", {"title": TITLE})),
        "$.stages[1].payload.parts",
        'stage b: "parts" is a required property',
    ),
    (
        "a field that is unknown beside a reference",
        one(LIST, stage("b", "read-page", {"url": TITLE, "n": 1})),
        "$.stages[1].payload.n",
        "stage b",
    ),
    (
        "a result of another type",
        one(LIST, stage("b", "read-page", {"url": {"$result": "list", "path": "/pages"}})),
        "$.stages[1].payload.url",
        "the result of list at /pages is a list, and a text is wanted",
    ),
    (
        "a whole result of another type",
        one(
            LIST,
            stage(
                "b", "join-pages", {"title": "t", "parts": [{"$result": "list", "path": "/title"}]}
            ),
        ),
        "$.stages[1].payload.parts[0]",
        "is a text, and an object or null is wanted",
    ),
    (
        "a fan-out's list where one thing is wanted",
        one(read("a", each={}), stage("b", "read-page", {"url": {"$result": "a"}}), input=[1]),
        "$.stages[1].payload.url",
        "the result of a is a list, and a text is wanted",
    ),
    (
        "nothing below a text",
        one(LIST, stage("b", "read-page", {"url": {"$result": "list", "path": "/title/x"}})),
        "$.stages[1].payload.url",
        "there can be nothing in the result of list at /title/x",
    ),
    (
        "an item of another type",
        one(LIST, stage("b", "read-page", {"url": {"$item": "/number"}}, each=PAGES)),
        "$.stages[1].payload.url",
        "an item at /number is a whole number, and a text is wanted",
    ),
    (
        "a fan-out over no list",
        one(LIST, read("b", each={"result": "list", "path": "/title"})),
        "$.stages[1].each",
        "the result of list at /title is no list",
    ),
    (
        "a fan-out over nothing",
        one(LIST, read("b", each={"result": "list", "path": "/title/0"})),
        "$.stages[1].each",
        "there can be nothing",
    ),
    (
        "a fan-out over an input that is no list",
        one(read("a", each={"path": "/n"}), input={"n": 3}),
        "$.stages[0].each",
        "the flow's input at /n is no list",
    ),
    (
        "a fan-out over too long a list",
        one(read("a", each={}), input=[0] * (ITEMS_MAX + 1)),
        "$.stages[0].each",
        f"at most {ITEMS_MAX} can be fanned out",
    ),
    (
        "an item that does not fit",
        one(stage("a", "read-page", {"url": {"$item": ""}}, each={}), input=["u", 7]),
        "$.stages[0].payload.url",
        "(item 1)",
    ),
    (
        "an input that has it not",
        one(stage("a", "read-page", {"url": {"$input": "/where"}}), input={}),
        "$.stages[0].payload",
        "stage a: the flow's input has nothing at /where",
    ),
    (
        "an item where there is none",
        one(stage("a", "read-page", {"url": {"$item": ""}})),
        "$.stages",
        "a refers to an item but has no `each`",
    ),
    (
        "a reference with more in it",
        one(stage("a", "read-page", {"url": {"$input": "", "or": 1}})),
        "$.stages",
        "$input takes a text and nothing else",
    ),
    (
        "a path that is no pointer",
        one(stage("a", "read-page", {"url": {"$input": "where"}}), input={"where": "x"}),
        "$.stages",
        "is no JSON Pointer",
    ),
    ("a deadline of none", ad_hoc(deadline_s=0), "$.deadline_s", ""),
    ("an input of a named flow", {"name": "weekly", "input": {"count": "x"}}, "$.input.count", ""),
    ("no input of a named flow", {"name": "weekly"}, "$.input.count", "required"),
    (
        "a result of a named flow",
        {"name": "weekly", "input": {"count": 1}, "result": "list"},
        "$.result",
        "has its own",
    ),
]


@pytest.mark.parametrize(("body", "path", "why"), [row[1:] for row in REFUSED], ids=lambda _: "")
async def test_what_cannot_be_is_refused_and_leaves_nothing(
    staged: Edge, redis: Redis, body: Any, path: str, why: str
) -> None:
    before = await redis.dbsize()
    reply = await staged.post("/v1/flows", body)
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (422, "invalid_input"), problem
    assert problem["errors"][0]["path"] == path
    assert why in problem["errors"][0]["message"]
    assert await redis.dbsize() == before


async def test_a_processor_that_nobody_published_is_named_with_its_stage(staged: Edge) -> None:
    reply = await staged.post("/v1/flows", one(read("a"), stage("b", "nowhere")))
    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_processor")
    assert "stage b: no worker has published a processor nowhere" in reply.json()["detail"]
    for path, body in (
        ("/v1/flows", {"name": "nowhere"}),
        ("/v1/flows", one(stage("a", "weekly", {"count": 1}))),
        ("/v1/flows", one(stage("a", "flow", {}))),
        ("/v1/jobs", {"processor": "flow", "payload": {"stages": []}}),
    ):
        assert (await staged.post(path, body)).json()["code"] == "unknown_processor"


async def test_too_many_stages_are_refused(staged: Edge) -> None:
    stages = [read(f"s{number}") for number in range(10_001)]
    reply = await staged.post("/v1/flows", one(*stages))
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, "$.stages")


async def test_a_body_over_the_limit_is_refused(staged: Edge) -> None:
    limit = staged.parts.settings.batch_body_max_bytes
    reply = await staged.post("/v1/flows", ad_hoc(input="x" * limit))
    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")


async def test_the_payload_of_a_job_that_is_a_flow_is_checked(staged: Edge) -> None:
    reply = await staged.post("/v1/jobs", {"processor": "weekly", "payload": {"count": "x"}})
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, "$.payload.count")
    batch = {"jobs": [{"processor": "weekly", "payload": {"count": n}} for n in (1, "x")]}
    items = (await staged.post("/v1/jobs:batch", batch)).json()["jobs"]
    assert [item["status"] for item in items] == [202, 422]


WARNED: list[tuple[Any, list[str]]] = [
    (ad_hoc(), []),
    (
        one(stage("a", "echo", {"text": "hi"}), stage("b", "ask", {"text": "why"})),
        ["no live worker has ask: b will wait"],
    ),
    (
        one(LIST, stage("b", "read-page", {"url": {"$result": "list", "path": "/titel"}})),
        ["stage b: nothing is declared of the result of list at /titel"],
    ),
    (
        one(
            {**LIST, "on_failure": "continue"},
            stage("b", "join-pages", {"title": "t", "parts": []}, after=["list"]),
            stage("c", "read-page", {"url": TITLE}),
        ),
        ["stage c: the result of list at /title may be null, which it does not take"],
    ),
    (
        one(
            read("a", on_failure="continue"),
            stage("b", "join-pages", {"title": "t", "parts": [{"$result": "a"}]}),
        ),
        [],  # that takes null
    ),
    (
        one(
            read("a", each={}, on_failure="continue"),
            stage("b", "read-page", {"url": {"$item": "/text"}}, each={"result": "a"}),
            input=[1],
        ),
        [],  # what failed is no item
    ),
]


@pytest.mark.parametrize(("body", "warnings"), WARNED)
async def test_what_may_not_go_well_is_accepted_with_a_warning(
    staged: Edge, body: Any, warnings: list[str]
) -> None:
    await staged.parts.directory.publish_processor(card("ask"))
    accepted = (await staged.post("/v1/flows", body)).json()
    assert accepted.get("warnings") == warnings, accepted
