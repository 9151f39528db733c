"""Input that is legal and hostile: each has one answer, and it is never 500."""

import json
from typing import Any

import httpx
import pytest

from gateway.wire import moment
from tests.http.edge import Edge, echo

JSON = {"content-type": "application/json"}


async def send(edge: Edge, body: bytes, path: str = "/v1/jobs") -> httpx.Response:
    return await edge.call("POST", path, content=body, headers=JSON)


def submit(payload: str, **fields: str) -> bytes:
    """A submit with values as they stand on the wire."""
    given = "".join(f',"{name}":{value}' for name, value in fields.items())
    return f'{{"processor":"echo","payload":{payload}{given}}}'.encode()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (submit('{"text":"a\\u0000b"}'), 202, ""),
        (submit('{"text":"x","times":9223372036854775807}'), 202, ""),
        (submit('{"text":"x","times":123456789012345678901234567890}'), 202, ""),
        (submit('{"text":"x","times":1.5}'), 422, "invalid_input"),
        (submit('{"text":"x","times":1e400}'), 400, "malformed_json"),
        (submit('{"text":"x","times":NaN}'), 400, "malformed_json"),
        (submit('{"text":"x","times":Infinity}'), 400, "malformed_json"),
        (submit('{"text":"x","times":' + "9" * 5_000 + "}"), 400, "malformed_json"),
        (submit('{"text":"\\ud800"}'), 400, "malformed_json"),
        (submit('{"text":"\\udc00\\ud800"}'), 400, "malformed_json"),
        (submit('{"text":"\\ud83e\\udd80"}'), 202, ""),
        (b"\xef\xbb\xbf" + submit("{}"), 400, "malformed_json"),
        (submit('{"text":"x"}').decode().encode("utf-16"), 400, "malformed_json"),
        (submit('{"text":"x"}') + b" x", 400, "malformed_json"),
        (submit('{"text":"x"}') + b"\0", 400, "malformed_json"),
        (submit('{"text":"\xff"}').decode().encode("latin-1"), 400, "malformed_json"),
        (submit("[" * 70 + "]" * 70), 413, "too_large"),
        (submit('{"text":"x"}', processor='"echo\\n"'), 422, "invalid_input"),
        (submit('{"text":"x"}', tags='["a\\n"]'), 422, "invalid_input"),
        (submit('{"text":"x"}', idempotency_key='"a\\n"'), 422, "invalid_input"),
        (submit('{"text":"x"}', delay_s="1e308"), 422, "invalid_input"),
        (submit('{"text":"x"}', delay_s="-0.0"), 202, ""),
        (submit('{"text":"x"}', attempts_max="9007199254740993"), 422, "invalid_input"),
        (submit('{"text":"x"}', run_at='"2026-03-29T02:30:00"'), 422, "invalid_input"),
        (submit('{"text":"x"}', run_at='"2026-02-30T00:00:00Z"'), 422, "invalid_input"),
        (submit('{"text":"x"}', run_at="4102444800"), 422, "invalid_input"),
        (submit('{"text":"x"}', expires_at='"1970-01-01T00:00:00Z"'), 422, "invalid_input"),
    ],
)
async def test_each_has_its_answer(edge: Edge, body: bytes, status: int, code: str) -> None:
    reply = await send(edge, body)
    assert (reply.status_code, reply.json().get("code", "")) == (status, code), reply.text


@pytest.mark.parametrize(
    "run_at", ["9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
async def test_the_ends_of_time_can_be_read_again(edge: Edge, run_at: str) -> None:
    reply = await send(edge, submit('{"text":"x"}', run_at=f'"{run_at}"'))
    assert reply.status_code == 202
    job = await edge.get(f"/v1/jobs/{reply.json()['id']}")
    assert job.status_code == 200
    assert (await edge.get("/v1/jobs?state=delayed")).status_code == 200


def test_a_time_beyond_all_time_is_the_last() -> None:
    for ms in (253_402_300_799_999, 2**53, 2**80):
        assert str(moment(ms)) == "9999-12-31 23:59:59.999000+00:00"


async def test_of_a_name_that_stands_twice_the_last_counts_for_check_and_run(edge: Edge) -> None:
    """The schema is checked on what the processor will read: one decoder on both sides."""
    assert (await send(edge, submit('{"text":1,"text":"x"}'))).status_code == 202
    lease = await edge.take()
    assert json.loads(lease.payload) == {"text": "x"}
    assert (await send(edge, submit('{"text":"x","text":1}'))).status_code == 422


async def test_a_batch_has_a_limit_of_items_and_of_each_item(edge: Edge) -> None:
    many = await edge.post("/v1/jobs:batch", {"jobs": [echo()] * 1_001})
    assert many.status_code == 422
    none = await edge.post("/v1/jobs:batch", {"jobs": []})
    assert none.status_code == 422
    big = {"jobs": [echo(payload={"text": "x" * 1_100_000}), echo()]}
    answers = (await edge.post("/v1/jobs:batch", big)).json()["jobs"]
    assert [one["status"] for one in answers] == [413, 202]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=1.0", "limit=nan", "limit=٣", "limit=" + "9" * 5_000),
        *("limit=1&limit=2", "cursor=%00", "cursor=LTE", "cursor=" + "A" * 5_000, "state=Dead"),
        *("cursor=MTAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw", "nothing=1", "state=", "limit="),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/dead-letters", "/v1/callbacks"])
async def test_queries_that_make_no_sense(edge: Edge, path: str, query: str) -> None:
    reply = await edge.get(f"{path}?{query}", key="app")
    known: Any = reply.json().get("code")
    fits = reply.status_code == 422 and known == "invalid_input"
    empty = reply.status_code == 200 and reply.json()["items"] == []
    assert fits or (empty and query.startswith("cursor=MTAw")), reply.text


async def test_a_time_of_a_query_is_a_time(edge: Edge) -> None:
    for text, status in [
        ("2026-11-23T00:00:00Z", 200),
        ("0.5", 422),
        ("1e300", 422),
        ("2026-11-23", 422),
    ]:
        assert (await edge.get(f"/v1/callbacks?until={text}")).status_code == status


@pytest.mark.parametrize(
    "name", ["%00", "%0d%0aset-cookie:x", "%F0%9F%A6%80", "*", "a" * 5_000, "%ff"]
)
async def test_names_that_nobody_has(edge: Edge, name: str) -> None:
    for path in ("jobs", "endpoints", "callbacks", "keys", "processors", "classes", "apps"):
        reply = await edge.get(f"/v1/{path}/{name}", key="admin")
        assert reply.status_code in (404, 405) or (path, name) == ("apps", "*")
        assert "set-cookie" not in reply.headers
        assert len(reply.content) < 2_000
