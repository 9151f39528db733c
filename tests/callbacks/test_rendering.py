"""The bytes of a callback."""

import msgspec

from gateway.rendering import CallbackBody, render
from streams.model import Fault, State
from tests.callbacks.records import record

SUCCEEDED = (
    b'{"type":"job.succeeded","timestamp":"2026-11-18T11:06:41.500Z","data":'
    b'{"job_id":"0-06cz1v3k5hn8r2tq4wy7x9bdfg","app":"govejle","processor":"govejle-enrichment",'
    b'"state":"succeeded","sequence":1,"attempt":2,"submitted_at":"2026-11-18T11:06:40.000Z",'
    b'"started_at":"2026-11-18T11:06:40.250Z","ended_at":"2026-11-18T11:06:41.500Z","error":null,'
    b'"result":{"title":"K\xc3\xb8ng Svend","price":150.0},"result_bytes":37,"result_url":null,'
    b'"tags":["weekly"],"trace":null}}'
)


def test_the_bytes_are_these_for_ever() -> None:
    assert render(record()) == SUCCEEDED


def test_a_large_result_is_a_link() -> None:
    data = msgspec.json.decode(render(record(result=None, result_bytes=20_000)))["data"]
    assert data["result"] is None
    assert data["result_bytes"] == 20_000
    assert data["result_url"] == "/v1/jobs/0-06cz1v3k5hn8r2tq4wy7x9bdfg/result"


def test_a_dead_job_says_why_and_has_neither_result_nor_link() -> None:
    fault = Fault("rejected", 'no event on "the page"')
    dead = record(state=State.DEAD, fault=fault, result=None, result_bytes=0, started_ms=0)
    body = msgspec.json.decode(render(dead))
    assert body["type"] == "job.dead"
    assert body["data"]["error"] == {"code": "rejected", "message": 'no event on "the page"'}
    assert (body["data"]["result"], body["data"]["result_url"]) == (None, None)
    assert body["data"]["started_at"] is None


def test_a_body_can_be_read_back_as_what_it_was_written_from() -> None:
    for one in (record(), record(result=None, result_bytes=20_000), record(test=True)):
        body = msgspec.json.decode(render(one), type=CallbackBody)
        assert msgspec.json.encode(body) == render(one)
    assert bytes(body.data.result) == one.result


def test_a_test_says_that_it_is_one() -> None:
    assert msgspec.json.decode(render(record(test=True)))["type"] == "endpoint.test"
